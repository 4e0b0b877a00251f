"""The form of a volume: leaves, their digests, the runs of them that may hold data.

A volume is a row of leaves of 64 KiB (more above 256 GiB, so that four million suffice); a leaf has a SHA-256, 32 zero
bytes where all of it is zero, hole or not. block/v1 is SHA-256 over size, leaf size and these.
"""

from __future__ import annotations

import array
import errno
import hashlib
import mmap
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import Any

LEAF_BYTES = 64 * 1024
LEAVES_MAX = 4 * 1024 * 1024
PAGE_BYTES = 4096
RUN_LEAVES = 16  # one reading, one frame
STRIPE_LEAVES = 1024  # neighbouring leaves go to one stream, so that files are written in long runs
DIGEST = 32
SHORT = 8
ZERO = bytes(DIGEST)
MAGIC = b"skerry block/v1\n"


class Broken(Exception):
    """Something of the world refuses; kind and words go to whoever asked."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def leaf_size(size: int) -> int:
    leaf = LEAF_BYTES
    while leaf * LEAVES_MAX < size:
        leaf *= 2
    return leaf


def open_volume(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "neither a file nor a block device", path)
    return descriptor


def volume_size(descriptor: int) -> int:
    return os.lseek(descriptor, 0, os.SEEK_END)


def root_digest(size: int, leaf: int, digests: Any) -> str:
    made = hashlib.sha256(MAGIC + struct.pack("<QI", size, leaf))
    made.update(digests)
    return "sha256:" + made.hexdigest()


def data_runs(descriptor: int, size: int, first: int, last: int, leaf: int) -> Iterator[tuple[int, int]]:
    """Runs of leaves within first..last-1 that may hold data, in order; between them are holes."""
    position = first * leaf
    end = min(last * leaf, size)
    done = first
    while position < end:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            yield done, last  # no such call here (a block device): all of it
            return
        if start >= end:
            return
        stop = os.lseek(descriptor, start, os.SEEK_HOLE)
        run = max(start // leaf, done), min(-(-stop // leaf), last)
        if run[1] > run[0]:
            yield run
            done = run[1]
        position = max(stop, start + 1)


class Volume:
    """A file or device that is read by leaves."""

    # Whom a volume that becomes shorter is told of: the source moved, or somebody is at the target.
    shrank = "moved"

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.size = size
        self.leaf = leaf_size(size)
        self.leaves = -(-size // self.leaf)
        self.buffer = memoryview(bytearray(self.leaf * RUN_LEAVES))
        self.zeros = bytes(self.leaf)

    def stripes(self, stream: int, streams: int) -> Iterator[tuple[int, int]]:
        for first in range(stream * STRIPE_LEAVES, self.leaves, streams * STRIPE_LEAVES):
            yield first, min(first + STRIPE_LEAVES, self.leaves)

    def length(self, first: int, count: int) -> int:
        return min((first + count) * self.leaf, self.size) - first * self.leaf

    def read(self, first: int, count: int) -> memoryview:
        """Leaves first..first+count-1; the view is good until the next reading."""
        wanted = self.length(first, count)
        got = 0
        while got < wanted:
            part = os.preadv(self.descriptor, [self.buffer[got:wanted]], first * self.leaf + got)
            if not part:
                raise Broken(self.shrank, f"became shorter than {self.size} bytes")
            got += part
        return self.buffer[:wanted]

    def digests(self, data: memoryview) -> list[bytes]:
        out = []
        for start in range(0, len(data), self.leaf):
            piece = data[start : start + self.leaf]
            # The first bytes tell nearly always; only a page that begins with zeros is looked at whole.
            if piece[:16] == self.zeros[:16] and piece == self.zeros[: len(piece)]:
                out.append(ZERO)
            else:
                out.append(hashlib.sha256(piece).digest())
        return out

    def page_checks(self, data: memoryview) -> bytes:
        checks = [zlib.crc32(data[start : start + PAGE_BYTES]) for start in range(0, len(data), PAGE_BYTES)]
        return array.array("I", checks).tobytes()


def scan_stripes(volume: Volume, stream: int, streams: int, digests: Any, counter: Counter, *, scrub: bool) -> None:
    for first, last in volume.stripes(stream, streams):
        for start, stop in data_runs(volume.descriptor, volume.size, first, last, volume.leaf):
            for leaf in range(start, stop, RUN_LEAVES):
                count = min(RUN_LEAVES, stop - leaf)
                if scrub:
                    offset = leaf * volume.leaf
                    os.posix_fadvise(volume.descriptor, offset, volume.length(leaf, count), os.POSIX_FADV_DONTNEED)
                data = volume.read(leaf, count)
                found = b"".join(volume.digests(data))
                digests[leaf * DIGEST : leaf * DIGEST + len(found)] = found
                counter.add(len(data))


class Counter:
    """Bytes done, kept where all processes see it."""

    def __init__(self, shared: mmap.mmap, place: int) -> None:
        self.shared = shared
        self.place = place * 8
        self.value = 0

    def add(self, count: int) -> None:
        self.value += count
        struct.pack_into("<Q", self.shared, self.place, self.value)
