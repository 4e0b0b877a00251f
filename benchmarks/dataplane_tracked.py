"""Disk images whose file system or QEMU tells what changed, beside rsync and btrfs send.

Each host has a file system of its own on a loop device (this needs root). Every tracked copy must say that it was one.
"""

import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.dataplane_hosts import ROUNDS, RSYNC, SSH, Bench, bench_hosts, beside, middle, seconds, wire_row
from benchmarks.dataplane_images import PAGE, change_pages, make_image
from benchmarks.row import BenchmarkFailed
from orchestrator.model.dataset import BlockVolume, DirtyBitmap

COMMAND = "make bench BENCH=dataplane_tracked"
IMAGE_GIB = int(os.environ.get("SKERRY_BENCH_TRACKED_GIB", "4"))
CHANGED_PAGES = IMAGE_GIB * (1 << 30) // 2 // PAGE // 100  # 1 % of those with data
BITMAP = BlockVolume(
    name="bitmap",
    path="/srv/bench/bitmap.img",
    dirty_bitmap=DirtyBitmap(qmp="/srv/bench/qmp", node="disk0", nbd="/srv/bench/nbd"),
)
Row = dict[str, Any]


def volume(name: str, kind: str) -> BlockVolume:
    return BlockVolume(name=name, path=f"/srv/bench/{kind}/{name}.img")


def tracked_copy(bench: Bench, which: BlockVolume, by: str) -> tuple[float, float]:
    """Seconds of a copy that must have been told what changed by `by`, and bytes on the wire beside those changed."""
    begin = time.perf_counter()
    report = bench.volumes.copy(which, bench.source, bench.replica)
    taken = time.perf_counter() - begin
    if report.detail["tracked"] != by:
        raise BenchmarkFailed(f"the copy of {which.path} was not tracked by {by}: {report.detail['tracked']}")
    return taken, report.bytes_wire / (CHANGED_PAGES * PAGE)


def proved(bench: Bench, which: BlockVolume) -> None:
    if bench.volumes.differences(which, bench.source, bench.replica):
        raise BenchmarkFailed(f"{which.path} at the replica differs from its source")


def on_xfs(bench: Bench) -> list[Row]:
    """Ours and the default of rsync bring the same changes of the same image."""
    own, other = volume("own", "xfs"), "/srv/bench/xfs/r.img"
    image = bench.at_source(own.path)
    make_image(image, IMAGE_GIB * 1024)
    bench.volumes.copy(own, bench.source, bench.replica)
    bench.run(f"cp --sparse=always {own.path} {other}")
    pull = f"{RSYNC} -I --inplace --no-whole-file {bench.source.address}:{own.path} {other}"
    taken: dict[str, list[float]] = {"ours": [], "rsync": []}
    shares = []
    for _ in range(ROUNDS):
        change_pages([image], CHANGED_PAGES)
        os.sync()
        seconds_taken, share = tracked_copy(bench, own, "extent maps")
        taken["ours"].append(seconds_taken)
        shares.append(share)
        taken["rsync"].append(seconds(lambda: bench.run(pull)))
    proved(bench, own)
    name = f"image of {IMAGE_GIB} GiB on XFS, {CHANGED_PAGES} pages changed, extent maps"
    return [
        beside(name, middle(taken), "rsync", "rsync --inplace --no-whole-file", COMMAND, times_as_fast=6.0),
        wire_row(name, statistics.median(shares), COMMAND),
    ]


def on_btrfs(bench: Bench) -> list[Row]:
    """Ours and btrfs send bring the same changes of the same image."""
    own, top = volume("own", "btrfs"), "/srv/bench/btrfs"
    bench.run_at_source(f"btrfs -q subvolume create {top}/sent")
    bench.run(f"mkdir {top}/received")
    sent = bench.at_source(f"{top}/sent/sent.img")
    image = bench.at_source(own.path)
    make_image(image, IMAGE_GIB * 1024)
    bench.run_at_source(f"cp --sparse=always {own.path} {top}/sent/sent.img")
    bench.volumes.copy(own, bench.source, bench.replica)
    snapshot = f"btrfs -q subvolume snapshot -r {top}/sent {top}/s{{number}}; btrfs filesystem sync {top}"
    pull = (
        f"{SSH} {bench.source.address} 'btrfs -q send {{parent}} {top}/s{{number}}' | btrfs -q receive {top}/received"
    )
    bench.run_at_source(snapshot.format(number=0))
    bench.run(pull.format(parent="", number=0))
    taken: dict[str, list[float]] = {"ours": [], "btrfs send": []}
    for number in range(1, ROUNDS + 1):
        change_pages([image, sent], CHANGED_PAGES)
        os.sync()
        taken["ours"].append(tracked_copy(bench, own, "extent maps")[0])

        def send(number: int = number) -> None:
            bench.run_at_source(snapshot.format(number=number))
            bench.run(pull.format(parent=f"-p {top}/s{number - 1}", number=number) + f"; sync -f {top}/received")

        taken["btrfs send"].append(seconds(send))
    proved(bench, own)
    name = f"image of {IMAGE_GIB} GiB on btrfs, {CHANGED_PAGES} pages changed, extent maps"
    return [beside(name, middle(taken), "btrfs send", "btrfs send -p over ssh, synced", COMMAND, times_as_fast=0.8)]


def with_bitmap(bench: Bench) -> list[Row]:
    """QEMU has the image open and its dirty bitmap tells; it is written to through QEMU, as a guest writes."""
    image = bench.at_source(BITMAP.path)
    make_image(image, IMAGE_GIB * 1024)
    daemon = (
        f"qemu-storage-daemon --daemonize --pidfile /srv/bench/pid --blockdev"
        f" driver=file,node-name=file0,filename={BITMAP.path} --blockdev driver=raw,node-name=disk0,file=file0"
        " --chardev socket,id=m,path=/srv/bench/qmp,server=on,wait=off --monitor chardev=m"
        " --nbd-server addr.type=unix,addr.path=/srv/bench/nbd"
        " --export nbd,id=guest,node-name=disk0,name=guest,writable=on"
    )
    bench.run_at_source(daemon)
    try:
        bench.volumes.copy(BITMAP, bench.source, bench.replica)
        bench.run(f"cp --sparse=always {BITMAP.path} /srv/bench/r.img")
        taken: dict[str, list[float]] = {"ours": [], "rsync": []}
        pull = f"{RSYNC} -I --inplace --no-whole-file {bench.source.address}:{BITMAP.path} /srv/bench/r.img"
        for _ in range(ROUNDS):
            write_as_guest(bench, image)
            os.sync()
            taken["ours"].append(tracked_copy(bench, BITMAP, "dirty bitmap")[0])
            taken["rsync"].append(seconds(lambda: bench.run(pull)))
        proved(bench, BITMAP)
    finally:
        bench.run_at_source("kill $(cat /srv/bench/pid)")
    name = f"image of {IMAGE_GIB} GiB open in QEMU, {CHANGED_PAGES} pages changed, dirty bitmap"
    return [beside(name, middle(taken), "rsync", "rsync --inplace --no-whole-file", COMMAND, times_as_fast=6.0)]


def write_as_guest(bench: Bench, image: Path) -> None:
    pages = random.sample(range(image.stat().st_size // PAGE), CHANGED_PAGES)
    words = "".join(f"write -q -P {random.randrange(1, 255)} {page * PAGE} {PAGE}\n" for page in pages)
    script = bench.at_source("/srv/bench/writes")
    script.write_text(words)
    bench.run_at_source("qemu-io -f raw 'nbd+unix:///guest?socket=/srv/bench/nbd' < /srv/bench/writes > /dev/null")


def rows() -> list[Row]:
    """Each part on hosts of its own, so that the room of one is free for the next."""
    parts: list[tuple[Callable[[Bench], list[Row]], dict[str, int]]] = [
        (on_xfs, {"xfs": 3 * IMAGE_GIB}),
        (on_btrfs, {"btrfs": 4 * IMAGE_GIB}),
        (with_bitmap, {}),
    ]
    found: list[Row] = []
    for part, disks_gib in parts:
        with bench_hosts(**disks_gib) as bench:
            found += part(bench)
    return found
