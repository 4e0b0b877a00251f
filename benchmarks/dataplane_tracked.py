"""Disk images whose file system or QEMU tells what changed, beside rsync and btrfs send; memory from 1 to 16 GiB.

Each host has an XFS and a btrfs of its own on loop devices (this needs root). Every round changes as many pages,
however large the image, and every tracked copy must say that it was one.
"""

import os
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.chart import write_chart
from benchmarks.dataplane_hosts import ROUNDS, RSYNC, SSH, Bench, bench_hosts, seconds, versus
from benchmarks.dataplane_images import PAGE, change_pages, make_image, memory_watched
from benchmarks.row import BenchmarkFailed, row
from orchestrator.model.dataset import BlockVolume, DirtyBitmap

COMMAND = "make bench BENCH=dataplane_tracked"
SMALL_GIB, MIDDLE_GIB, LARGE_GIB = (int(size) for size in os.environ.get("SKERRY_BENCH_GIB", "1 4 16").split())
# 1 % of the pages with data of the image in the middle.
CHANGED_PAGES = MIDDLE_GIB * (1 << 30) // 2 // PAGE // 100
MEMORY_MIB_MAX = 200
BITMAP = BlockVolume(
    name="bitmap",
    path="/srv/bench/bitmap.img",
    dirty_bitmap=DirtyBitmap(qmp="/srv/bench/qmp", node="disk0", nbd="/srv/bench/nbd"),
)
Row = dict[str, Any]


def volume(name: str, kind: str) -> BlockVolume:
    return BlockVolume(name=name, path=f"/srv/bench/{kind}/{name}.img")


def tracked_copy(bench: Bench, which: BlockVolume, by: str) -> float:
    """Seconds of a copy that must have been told what changed by `by`."""
    reports = []
    taken = seconds(lambda: reports.append(bench.volumes.copy(which, bench.source, bench.replica)))
    told = reports[0].detail["tracked"]
    if told != by:
        raise BenchmarkFailed(f"the copy of {which.path} was not tracked by {by}: {told}")
    return taken


def proved(bench: Bench, which: BlockVolume) -> None:
    if bench.volumes.differences(which, bench.source, bench.replica):
        raise BenchmarkFailed(f"{which.path} at the replica differs from its source")


def by_size(bench: Bench) -> list[Row]:
    """First copies of three sizes for the memory, then rounds of as many changes in each: the cost must be the same."""
    found: list[Row] = []
    taken: dict[int, float] = {}
    for size in (SMALL_GIB, MIDDLE_GIB, LARGE_GIB):
        which = volume(f"of{size}", "xfs")
        image = bench.at_source(which.path)
        make_image(image, size * 1024)
        with memory_watched() as peaks:
            bench.volumes.copy(which, bench.source, bench.replica)
        found += [memory_row(size, "first copy", side, mebibytes) for side, mebibytes in peaks.items()]
        rounds = []
        with memory_watched() as peaks:
            for _ in range(ROUNDS):
                change_pages([image], CHANGED_PAGES)
                os.sync()
                rounds.append(tracked_copy(bench, which, "extent maps"))
        found += [memory_row(size, "changes", side, mebibytes) for side, mebibytes in peaks.items()]
        taken[size] = statistics.median(rounds)
        proved(bench, which)
        if size == MIDDLE_GIB:
            found.append(beside_rsync(bench, which, taken[size]))
        bench.run_at_source("rm -rf /srv/bench/xfs/* /srv/bench/xfs/.skerry-points")
        bench.run("rm -rf /srv/bench/xfs/* /srv/bench/xfs/.skerry-points")
    what = f"{CHANGED_PAGES} pages changed on XFS, extent maps: image of {LARGE_GIB} GiB beside one of {MIDDLE_GIB}"
    found.append(
        row(
            what,
            ours=taken[LARGE_GIB],
            peer=taken[MIDDLE_GIB],
            peer_name=f"ours, {MIDDLE_GIB} GiB",
            unit="s",
            goal="at most 1.25 times as long",
            met=taken[LARGE_GIB] <= 1.25 * taken[MIDDLE_GIB],
            command=COMMAND,
        )
    )
    return found


def memory_row(size: int, what: str, side: str, mebibytes: float) -> Row:
    if not mebibytes:
        raise BenchmarkFailed(f"no process of the mover was seen at the {side}")
    return row(
        f"image of {size} GiB, {what}: memory of the agent at the {side}, all its processes",
        ours=mebibytes,
        unit="MiB",
        goal=f"below {MEMORY_MIB_MAX} MiB",
        met=mebibytes < MEMORY_MIB_MAX,
        command=COMMAND,
    )


def beside_rsync(bench: Bench, which: BlockVolume, ours: float) -> Row:
    """The default of rsync on the same image after as many changes."""
    place = str(Path(which.path).parent)
    bench.run(f"cp --sparse=always {which.path} {place}/r.img")
    pull = f"{RSYNC} -I --inplace --no-whole-file {bench.source.address}:{which.path} {place}/r.img"
    taken = []
    for _ in range(ROUNDS):
        change_pages([bench.at_source(which.path)], CHANGED_PAGES)
        os.sync()
        taken.append(seconds(lambda: bench.run(pull)))
    found = {"ours": ours, "rsync": statistics.median(taken)}
    name = f"image of {MIDDLE_GIB} GiB on XFS, {CHANGED_PAGES} pages changed, extent maps"
    return versus(name, found, "rsync", "rsync --inplace --no-whole-file", 6.0, COMMAND)


def on_btrfs(bench: Bench) -> list[Row]:
    """Ours and btrfs send bring the same changes of the same image."""
    own, top = volume("own", "btrfs"), "/srv/bench/btrfs"
    bench.run_at_source(f"btrfs -q subvolume create {top}/sent")
    bench.run(f"mkdir {top}/received")
    sent = bench.at_source(f"{top}/sent/sent.img")
    image = bench.at_source(own.path)
    make_image(image, MIDDLE_GIB * 1024)
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
        taken["ours"].append(tracked_copy(bench, own, "extent maps"))

        def send(number: int = number) -> None:
            bench.run_at_source(snapshot.format(number=number))
            bench.run(pull.format(parent=f"-p {top}/s{number - 1}", number=number) + f"; sync -f {top}/received")

        taken["btrfs send"].append(seconds(send))
    proved(bench, own)
    found = {name: statistics.median(values) for name, values in taken.items()}
    name = f"image of {MIDDLE_GIB} GiB on btrfs, {CHANGED_PAGES} pages changed, extent maps"
    return [versus(name, found, "btrfs send", "btrfs send -p over ssh, synced", 0.8, COMMAND)]


def with_bitmap(bench: Bench) -> list[Row]:
    """QEMU has the image open and its dirty bitmap tells; it is written to through QEMU, as a guest writes."""
    image = bench.at_source(BITMAP.path)
    make_image(image, MIDDLE_GIB * 1024)
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
            taken["ours"].append(tracked_copy(bench, BITMAP, "dirty bitmap"))
            taken["rsync"].append(seconds(lambda: bench.run(pull)))
        proved(bench, BITMAP)
    finally:
        bench.run_at_source("kill $(cat /srv/bench/pid)")
    found = {name: statistics.median(values) for name, values in taken.items()}
    name = f"image of {MIDDLE_GIB} GiB open in QEMU, {CHANGED_PAGES} pages changed, dirty bitmap"
    return [versus(name, found, "rsync", "rsync --inplace --no-whole-file", 6.0, COMMAND)]


def write_as_guest(bench: Bench, image: Path) -> None:
    pages = random.sample(range(image.stat().st_size // PAGE), CHANGED_PAGES)
    words = "".join(f"write -q -P {random.randrange(1, 255)} {page * PAGE} {PAGE}\n" for page in pages)
    script = bench.at_source("/srv/bench/writes")
    script.write_text(words)
    bench.run_at_source("qemu-io -f raw 'nbd+unix:///guest?socket=/srv/bench/nbd' < /srv/bench/writes > /dev/null")


def rows() -> list[Row]:
    parts: list[Callable[[Bench], list[Row]]] = [by_size, on_btrfs, with_bitmap]
    with bench_hosts(xfs=LARGE_GIB + 8, btrfs=4 * MIDDLE_GIB) as bench:
        found = [each for part in parts for each in part(bench)]
    write_chart("dataplane_tracked", "Disk images of which something tells what changed", found)
    return found
