"""Disk images between two hosts of the lab, beside the tools of others: first copies, and changes found by hash."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.dataplane_hosts import (
    MIB,
    ROUNDS,
    RSYNC,
    SSH,
    Bench,
    bench_hosts,
    beside,
    medians,
    middle,
    seconds,
    wire_row,
)
from benchmarks.dataplane_images import change_pages, make_image, pages_with_data
from benchmarks.row import BenchmarkFailed
from orchestrator.model.dataset import BlockVolume

COMMAND = "make bench BENCH=dataplane_image"
IMAGE_MIB = int(os.environ.get("SKERRY_BENCH_IMAGE_MIB", "4096"))
VOLUME = BlockVolume(name="disk", path="/srv/bench/disk.img")


def first_copies(bench: Bench, data: int) -> dict[str, float]:
    """Seconds of a first copy: ours, rsync at its quickest, and cat of as much data without holes."""
    dense = bench.at_source("/srv/bench/dense.img")
    with dense.open("wb") as stream:
        for _ in range(data // MIB):
            stream.write(os.urandom(MIB))
    address = bench.source.address

    def fresh(name: str) -> Callable[[], None]:
        return lambda: bench.run(f"rm -rf /srv/bench/{name} /srv/bench/.skerry-points/{name}.volume")

    pull = f"{RSYNC} -W --inplace {address}:{VOLUME.path} /srv/bench/r.img"
    cat = f"{SSH} {address} cat /srv/bench/dense.img > /srv/bench/c.img"
    found = medians(
        ROUNDS,
        {
            "ours": (fresh("disk.img"), lambda: bench.volumes.copy(VOLUME, bench.source, bench.replica)),
            "rsync": (fresh("r.img"), lambda: bench.run(pull)),
            "cat": (fresh("c.img"), lambda: bench.run(cat)),
            "cat, sync": (fresh("c.img"), lambda: bench.run(f"{cat}; sync /srv/bench/c.img")),
        },
    )
    fresh("c.img")()
    dense.unlink()
    return found


def delta_copies(bench: Bench, image: Path) -> tuple[dict[str, float], float]:
    """Seconds after 1 % of the pages changed, and what ours put on the wire beside those pages."""
    bench.run("cp --sparse=always /srv/bench/r.img /srv/bench/r4.img")
    shares: list[float] = []
    delta = f"{RSYNC} -I --inplace --no-whole-file {{}} {bench.source.address}:{VOLUME.path} /srv/bench/"
    taken: dict[str, list[float]] = {"ours": [], "rsync": [], "rsync 4096": []}
    for _ in range(ROUNDS):
        changed = change_pages([image], len(pages_with_data(image)) // 100)
        os.sync()
        begin = time.perf_counter()
        report = bench.volumes.copy(VOLUME, bench.source, bench.replica)
        taken["ours"].append(time.perf_counter() - begin)
        shares.append(report.bytes_wire / changed)
        taken["rsync"].append(seconds(lambda: bench.run(delta.format("") + "r.img")))
        taken["rsync 4096"].append(seconds(lambda: bench.run(delta.format("-B 4096") + "r4.img")))
    if bench.volumes.differences(VOLUME, bench.source, bench.replica):
        raise BenchmarkFailed("the image at the replica differs from its source")
    return middle(taken), statistics.median(shares)


def image_rows(bench: Bench) -> list[dict[str, Any]]:
    image = bench.at_source(VOLUME.path)
    data = make_image(image, IMAGE_MIB)
    first = first_copies(bench, data)
    delta, share = delta_copies(bench, image)
    what = f"image of {IMAGE_MIB} MiB, {data // MIB} MiB of data"
    copied = f"{what}: first copy, durable, digests at both ends"
    changed = f"{what}: 1 % of pages changed, found by hash"
    cat, default = "ssh cat of the data alone", "rsync --inplace --no-whole-file"
    return [
        beside(copied, first, "rsync", "rsync -W --inplace, aes128-gcm", COMMAND, times_as_fast=1.6),
        beside(f"{copied}, beside cat", first, "cat", cat, COMMAND, times_as_fast=0.85),
        beside(f"{copied}, beside cat and sync", first, "cat, sync", f"{cat}, then sync", COMMAND),
        beside(changed, delta, "rsync", default, COMMAND, times_as_fast=3.0),
        beside(f"{changed}, -B 4096", delta, "rsync 4096", "rsync -B 4096", COMMAND, times_as_fast=1.7),
        wire_row(changed, share, COMMAND),
    ]


def rows() -> list[dict[str, Any]]:
    with bench_hosts() as bench:
        return image_rows(bench)
