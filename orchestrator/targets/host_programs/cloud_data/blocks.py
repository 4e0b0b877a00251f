"""An image as EBS sees it: blocks of 512 KiB, their digests, and files on disk that remember these.

A file of digests is a row of lines: block number (4 bytes) and SHA-256 (32 bytes); the newest line of a number counts,
and a torn line at the end was never written.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import threading
from contextlib import suppress

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Iterable

BLOCK = 512 * 1024
LINE = struct.Struct("!I32s")
ZEROS = bytes(BLOCK)
ZEROS_DIGEST = hashlib.sha256(ZEROS).digest()
LEAF_BYTES = 64 * 1024
LEAVES_MAX = 4 * 1024 * 1024
LEAF_ZERO = bytes(32)


class Image:
    """A file or device, read by blocks; the last one is filled up with zeros."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        mode = os.fstat(self.descriptor).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise OSError(errno.EINVAL, "neither a file nor a block device", path)
        self.size = os.lseek(self.descriptor, 0, os.SEEK_END)
        self.count = -(-self.size // BLOCK)

    def is_hole(self, number: int) -> bool:
        """Whether nobody ever wrote there; False wherever that cannot be told."""
        start = number * BLOCK
        try:
            return os.lseek(self.descriptor, start, os.SEEK_DATA) >= min(start + BLOCK, self.size)
        except OSError as error:
            return error.errno == errno.ENXIO and start < self.size

    def read(self, number: int) -> bytes:
        start = number * BLOCK
        wanted = min(BLOCK, self.size - start)
        pieces = []
        while wanted:
            piece = os.pread(self.descriptor, wanted, start)
            if not piece:
                raise OSError(errno.EIO, f"became shorter than {self.size} bytes")
            pieces.append(piece)
            start += len(piece)
            wanted -= len(piece)
        content = b"".join(pieces) if len(pieces) > 1 else pieces[0]
        return content if len(content) == BLOCK else content.ljust(BLOCK, b"\0")

    def close(self) -> None:
        os.close(self.descriptor)


def digests_in(path: str) -> dict[int, bytes]:
    """What a file of digests remembers; nothing where there is none."""
    try:
        with open(path, "rb") as stream:
            raw = stream.read()
    except FileNotFoundError:
        return {}
    return dict(LINE.iter_unpack(raw[: len(raw) // LINE.size * LINE.size]))


class Journal:
    """Blocks that the service has acknowledged, remembered before they are counted."""

    def __init__(self, path: str) -> None:
        self.done = digests_in(path)
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self.descriptor, os.fstat(self.descriptor).st_size // LINE.size * LINE.size)
        os.lseek(self.descriptor, 0, os.SEEK_END)
        self.lock = threading.Lock()

    def add(self, number: int, digest: bytes) -> None:
        with self.lock:
            os.write(self.descriptor, LINE.pack(number, digest))
            self.done[number] = digest

    def close(self) -> None:
        os.fsync(self.descriptor)
        os.close(self.descriptor)


def write_digests(path: str, digests: dict[int, bytes]) -> None:
    write_whole(path, [LINE.pack(number, digests[number]) for number in sorted(digests)])


def write_whole(path: str, pieces: Iterable[bytes | bytearray]) -> None:
    """A whole file, or none."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as stream:
        stream.writelines(pieces)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def linear_digest(digests: dict[int, bytes]) -> bytes:
    """The aggregate that CompleteSnapshot checks: SHA-256 over the blocks' digests by ascending number."""
    return hashlib.sha256(b"".join(digests[number] for number in sorted(digests))).digest()


def leaf_bytes(size: int) -> int:
    leaf = LEAF_BYTES
    while leaf * LEAVES_MAX < size:
        leaf *= 2
    return leaf


class VolumeDigest:
    """block/v1 of a volume that comes in blocks and in any order; what does not come is zeros.

    Written for itself, so that what is read back is judged by other code than what was sent.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.leaf = leaf_bytes(size)
        if self.leaf > BLOCK:
            raise ValueError(f"a volume of {size} bytes is larger than can be compared by blocks")
        self.leaves = bytearray(32 * -(-size // self.leaf))

    def add(self, number: int, content: bytes) -> bool:
        """False where there is data beyond the end of the volume."""
        start = number * BLOCK
        inside = content[: max(0, self.size - start)]
        for place in range(0, len(inside), self.leaf):
            piece = inside[place : place + self.leaf]
            digest = LEAF_ZERO if piece == ZEROS[: len(piece)] else hashlib.sha256(piece).digest()
            leaf = (start + place) // self.leaf
            self.leaves[32 * leaf : 32 * leaf + 32] = digest
        beyond = content[len(inside) :]
        return beyond == ZEROS[: len(beyond)]

    def head(self) -> bytes:
        return b"skerry block/v1\n" + struct.pack("<QI", self.size, self.leaf)

    def text(self) -> str:
        made = hashlib.sha256(self.head())
        made.update(self.leaves)
        return "sha256:" + made.hexdigest()

    def keep(self, path: str) -> None:
        """Remember all leaves, for a later volume that is this one but for some blocks."""
        write_whole(path, [self.head(), self.leaves])

    def go_on_from(self, path: str) -> bool:
        """Begin with what `keep` wrote. False, and nothing changed, where that is missing, torn or of another size."""
        head = self.head()
        try:
            with open(path, "rb") as stream:
                if os.fstat(stream.fileno()).st_size != len(head) + len(self.leaves) or stream.read(len(head)) != head:
                    return False
                return stream.readinto(self.leaves) == len(self.leaves)
        except FileNotFoundError:
            return False

    def blocks_with_data(self) -> int:
        step = 32 * max(1, BLOCK // self.leaf)
        return sum(any(self.leaves[start : start + step]) for start in range(0, len(self.leaves), step))


def forget_but(folder: str, kept: Iterable[str]) -> None:
    """Remove what is remembered of snapshots that are not among `kept`."""
    names = set(kept)
    for name in os.listdir(folder):
        if name.startswith("snap-") and name.partition(".")[0] not in names:
            with suppress(FileNotFoundError):  # another run was faster
                os.unlink(os.path.join(folder, name))
