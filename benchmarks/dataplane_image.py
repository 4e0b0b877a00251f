"""Disk images between two hosts of the lab, beside the tools people would use: first copies and changes."""

import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.dataplane_hosts import MIB, ROUNDS, RSYNC, SSH, Bench, bench_hosts, medians, seconds, versus
from benchmarks.row import BenchmarkFailed, row
from orchestrator.model.dataset import BlockVolume

COMMAND = "make bench BENCH=dataplane_image"
IMAGE_MIB = int(os.environ.get("SKERRY_BENCH_IMAGE_MIB", "4096"))
VOLUME = BlockVolume(name="disk", path="/srv/bench/disk.img")


def make_image(path: Path, mebibytes: int) -> int:
    """An image, half of it holes in runs of 1 to 64 MiB; gives back the bytes of data."""
    chosen = random.Random(7)
    data = position = 0
    with path.open("wb") as stream:
        stream.truncate(mebibytes * MIB)
        while position < mebibytes:
            run = min(chosen.randint(1, 64), mebibytes - position)
            if data * 2 <= position:
                stream.seek(position * MIB)
                for _ in range(run):
                    stream.write(chosen.randbytes(MIB))
                data += run
            position += run
    return data * MIB


def touch_pages(path: Path, share: float) -> int:
    """Write that share of the 4 KiB pages that hold data, at random; gives back the bytes."""
    with path.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        pages: list[int] = []
        position = 0
        while position < size:
            try:
                start = os.lseek(stream.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(stream.fileno(), start, os.SEEK_HOLE)
            pages += range(start // 4096, position // 4096)
        chosen = random.sample(pages, int(len(pages) * share))
        for page in chosen:
            os.pwrite(stream.fileno(), os.urandom(4096), page * 4096)
    return len(chosen) * 4096


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
        },
    )
    fresh("c.img")()
    dense.unlink()
    return found


def delta_copies(bench: Bench, image: Path) -> tuple[dict[str, float], float]:
    """Seconds after 1 % of the pages changed, and what ours put on the wire beside those pages."""
    bench.run("cp --sparse=always /srv/bench/r.img /srv/bench/r4.img")
    shares: list[float] = []
    delta = f"{RSYNC} --inplace --no-whole-file {{}} {bench.source.address}:{VOLUME.path} /srv/bench/"
    taken: dict[str, list[float]] = {"ours": [], "rsync": [], "rsync 4096": []}
    for _ in range(ROUNDS):
        changed = touch_pages(image, 0.01)
        begin = time.perf_counter()
        report = bench.volumes.copy(VOLUME, bench.source, bench.replica)
        taken["ours"].append(time.perf_counter() - begin)
        shares.append(report.bytes_wire / changed)
        taken["rsync"].append(seconds(lambda: bench.run(delta.format("") + "r.img")))
        taken["rsync 4096"].append(seconds(lambda: bench.run(delta.format("-B 4096") + "r4.img")))
    if bench.volumes.differences(VOLUME, bench.source, bench.replica):
        raise BenchmarkFailed("the image at the replica differs from its source")
    return {name: statistics.median(values) for name, values in taken.items()}, statistics.median(shares)


def image_rows(bench: Bench) -> list[dict[str, Any]]:
    image = bench.at_source(VOLUME.path)
    data = make_image(image, IMAGE_MIB)
    first = first_copies(bench, data)
    delta, share = delta_copies(bench, image)
    what = f"image of {IMAGE_MIB} MiB, {data // MIB} MiB of data"
    digests = "digests at both ends"
    return [
        versus(f"{what}: first copy, {digests}", first, "rsync", "rsync -W --inplace, aes128-gcm", 1.6, COMMAND),
        versus(f"{what}: first copy, {digests}, beside cat", first, "cat", "ssh cat of the data alone", 0.85, COMMAND),
        versus(f"{what}: 1 % of pages changed", delta, "rsync", "rsync --inplace --no-whole-file", 3.0, COMMAND),
        versus(f"{what}: 1 % of pages changed, -B 4096", delta, "rsync 4096", "rsync -B 4096", 1.7, COMMAND),
        row(
            f"{what}: 1 % of pages changed, on the wire",
            ours=share,
            peer=1.0,
            peer_name="the changed pages",
            unit="times",
            goal="at most 1.15",
            met=share <= 1.15,
            command=COMMAND,
        ),
    ]


def rows() -> list[dict[str, Any]]:
    with bench_hosts() as bench:
        return image_rows(bench)
