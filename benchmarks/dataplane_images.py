"""Disk images to measure with: how they are made, how they change, and what a copy of them needs of memory."""

import os
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.dataplane_hosts import MIB

PAGE = 4096
VOLUMES = b"/srv/bench/"  # in every command line of a benchmark's own: others may run here
# Words of a command line by which the processes of the mover are found, at the source and at the replica.
AGENTS = {"source": b"agent.py\0serve", "replica": b'"do": "pull"'}


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


def pages_with_data(path: Path) -> list[int]:
    pages: list[int] = []
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        position = 0
        while position < size:
            try:
                start = os.lseek(stream.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(stream.fileno(), start, os.SEEK_HOLE)
            pages += range(start // PAGE, position // PAGE)
    return pages


def change_pages(paths: Sequence[Path], count: int) -> int:
    """Write so many 4 KiB pages that hold data, chosen at random, the same into each image; gives back the bytes."""
    chosen = random.sample(pages_with_data(paths[0]), count)
    for path in paths:
        with path.open("r+b") as stream:
            for page in chosen:
                os.pwrite(stream.fileno(), os.urandom(PAGE), page * PAGE)
    return count * PAGE


@contextmanager
def memory_watched() -> Iterator[dict[str, float]]:
    """MiB that all processes of the mover held at most, at the source and at the replica, filled in at the end.

    What several processes share counts for each, so that the truth is rather less.
    """
    peaks: dict[tuple[str, str], int] = {}
    found: dict[str, float] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for place in Path("/proc").glob("[0-9]*"):
                try:
                    words = (place / "cmdline").read_bytes()
                    side = next((side for side, mark in AGENTS.items() if mark in words), None)
                    if side and words.startswith(b"python3\0") and VOLUMES in words:
                        peaks[side, place.name] = peak_kib((place / "status").read_text())
                except (OSError, StopIteration):
                    continue  # it has ended meanwhile

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        for side in AGENTS:
            found[side] = sum(kib for (of, _), kib in peaks.items() if of == side) / 1024


def peak_kib(status: str) -> int:
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])
