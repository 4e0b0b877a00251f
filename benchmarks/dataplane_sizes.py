"""Disk images of 1, 4 and 16 GiB: the memory of the agent, and that as many changes cost as much in each.

Each host has an XFS of its own on a loop device (this needs root), whose extent maps tell what changed.
"""

import os
import statistics
from typing import Any

from benchmarks.dataplane_hosts import ROUNDS, bench_hosts, beside
from benchmarks.dataplane_images import change_pages, make_image, memory_watched
from benchmarks.dataplane_tracked import CHANGED_PAGES, proved, tracked_copy, volume
from benchmarks.row import BenchmarkFailed, below

COMMAND = "make bench BENCH=dataplane_sizes"
SIZES_GIB = [int(size) for size in os.environ.get("SKERRY_BENCH_GIB", "1 4 16").split()]
MEMORY_MIB_MAX = 200
Row = dict[str, Any]


def rows() -> list[Row]:
    """First copies of each size for the memory, then rounds of as many changes in each."""
    found: list[Row] = []
    taken: dict[str, float] = {}
    with bench_hosts(xfs=max(SIZES_GIB) + 4) as bench:
        for size in SIZES_GIB:
            which = volume(f"of{size}", "xfs")
            image = bench.at_source(which.path)
            make_image(image, size * 1024)
            with memory_watched() as peaks:
                bench.volumes.copy(which, bench.source, bench.replica)
            found += [memory_row(size, "first copy", side, mebibytes) for side, mebibytes in peaks.items()]
            rounds, held = [], []
            for _ in range(ROUNDS):
                change_pages([image], CHANGED_PAGES)
                os.sync()
                with memory_watched() as peaks:
                    rounds.append(tracked_copy(bench, which, "extent maps")[0])
                held.append(peaks)
            found += [memory_row(size, "changes", side, max(peaks[side] for peaks in held)) for side in peaks]
            taken[f"{size} GiB"] = statistics.median(rounds)
            proved(bench, which)
            for run in (bench.run_at_source, bench.run):
                run("rm -rf /srv/bench/xfs/* /srv/bench/xfs/.skerry-points")
    larger, smaller = (f"{size} GiB" for size in sorted(SIZES_GIB)[:-3:-1])
    name = f"{CHANGED_PAGES} pages changed on XFS, extent maps: image of {larger} beside one of {smaller}"
    sizes = {"ours": taken[larger], "smaller": taken[smaller]}
    return [*found, beside(name, sizes, "smaller", f"ours, {smaller}", COMMAND, times_as_long=1.25)]


def memory_row(size: int, what: str, side: str, mebibytes: float) -> Row:
    if not mebibytes:
        raise BenchmarkFailed(f"no process of the mover was seen at the {side}")
    name = f"image of {size} GiB, {what}: memory of the agent at the {side}, all its processes"
    return below(name, mebibytes, "MiB", MEMORY_MIB_MAX, command=COMMAND)
