"""Reads one entry: content in pieces, with one buffer; files, links, devices; folders however deep."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct

from orchestrator.movers.host_programs.tree_digest.known_files import (
    KNOWN_BYTES_MIN,
    KNOWN_KEY,
    KNOWN_STAMP,
)
from orchestrator.movers.host_programs.tree_digest.records import (
    Moved,
    record,
    xattr_digest,
)

PIECE_BYTES = 4 * 1024 * 1024
BIG_FILE_BYTES = 64 * 1024 * 1024  # from here on, pieces of one file are shared out
READ_BYTES = 256 * 1024  # fits into the second-level cache, so that hashing does not read memory twice
TRIES_MAX = 3
ZERO_PIECE = hashlib.sha256(bytes(PIECE_BYTES)).digest()
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NO_ATIME = getattr(os, "O_NOATIME", 0)


class Reader:
    """Reads and digests content with one buffer."""

    def __init__(self, scrub: bool) -> None:
        self.scrub = scrub
        self.buffer = bytearray(READ_BYTES)
        self.view = memoryview(self.buffer)
        self.bytes_read = 0
        self.known: dict[bytes, bytes] = {}
        self.keep_before_ns = 0  # 0: keep nothing
        self.fresh = bytearray()
        self.decayed = False

    def recall(self, found: os.stat_result) -> bytes:
        """The content digest of the last reading, b"" when the file is not what it was then."""
        if self.scrub or found.st_size < KNOWN_BYTES_MIN:
            return b""
        kept = self.known.get(KNOWN_KEY.pack(found.st_dev, found.st_ino), b"")
        stamp = KNOWN_STAMP.pack(found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return kept[KNOWN_STAMP.size :] if kept.startswith(stamp) else b""

    def remember(self, found: os.stat_result, digest: bytes) -> None:
        if found.st_size < KNOWN_BYTES_MIN or found.st_ctime_ns >= self.keep_before_ns:
            return
        key = KNOWN_KEY.pack(found.st_dev, found.st_ino)
        stamp = KNOWN_STAMP.pack(found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        kept = self.known.get(key, b"")
        if kept.startswith(stamp) and kept[KNOWN_STAMP.size :] != digest:
            self.decayed = True
        self.fresh += key + stamp + digest

    def plain(self, descriptor: int, length_expected: int) -> tuple[bytes, int]:
        """SHA-256 of what is there, and its length."""
        if self.scrub:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        total = os.readv(descriptor, (self.buffer,))
        made = hashlib.sha256(self.view[:total])
        # Not read on to the end of file: whether it grew is seen by its size afterwards.
        while total < length_expected:
            count = os.readv(descriptor, (self.buffer,))
            if not count:
                break
            made.update(self.view[:count])
            total += count
        self.bytes_read += total
        return made.digest(), total

    def pieces(self, descriptor: int, first: int, last: int, size: int) -> bytes:
        """Digests of pieces first..last-1; pieces that lie in a hole are not read."""
        out: list[bytes] = []
        for number in range(first, last):
            start = number * PIECE_BYTES
            end = min(start + PIECE_BYTES, size)
            if end - start == PIECE_BYTES and next_data(descriptor, start, size) >= end:
                out.append(ZERO_PIECE)
                continue
            if self.scrub:
                os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_DONTNEED)
            made = hashlib.sha256()
            position = start
            while position < end:
                count = os.preadv(descriptor, (self.view[: min(READ_BYTES, end - position)],), position)
                if not count:
                    raise Moved("became shorter")
                made.update(self.view[:count])
                position += count
            self.bytes_read += end - start
            out.append(made.digest())
        return b"".join(out)

    def content(self, descriptor: int, size: int) -> tuple[bytes, int]:
        """(content digest, size) of a whole file."""
        if size <= PIECE_BYTES:
            return self.plain(descriptor, size)
        digests = self.pieces(descriptor, 0, piece_count(size), size)
        return hashlib.sha256(digests).digest(), size


def piece_count(size: int) -> int:
    return -(-size // PIECE_BYTES)


def next_data(descriptor: int, start: int, size: int) -> int:
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else start


def open_file(name: bytes, folder: int) -> int:
    try:
        return os.open(name, OPEN_FILE | NO_ATIME, dir_fd=folder)
    except PermissionError:
        return os.open(name, OPEN_FILE, dir_fd=folder)  # not the owner: O_NOATIME is refused


def same(one: os.stat_result, other: os.stat_result) -> bool:
    return one.st_size == other.st_size and one.st_mtime_ns == other.st_mtime_ns and one.st_ino == other.st_ino


def file_record(reader: Reader, folder: int, name: bytes, share_big: bool) -> tuple[bytes | None, os.stat_result]:
    """(record, stat) of a regular file; (None, stat) when it is big and to be shared out."""
    descriptor = open_file(name, folder)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise Moved("became something else")
        digest = reader.recall(before)
        if digest:
            reader.remember(before, digest)
            payload = struct.pack("<Q", before.st_size) + digest
            return record(b"f", before, name, xattr_digest(descriptor, follow=True), payload), before
        if share_big and before.st_size >= BIG_FILE_BYTES:
            return None, before
        last = None
        for attempt in range(TRIES_MAX):
            if attempt:
                os.lseek(descriptor, 0, os.SEEK_SET)
            digest, size = reader.content(descriptor, before.st_size)
            after = os.fstat(descriptor)
            # Making a hard-linked point changes ctime alone; then two equal readings settle it.
            settled = before.st_ctime_ns == after.st_ctime_ns or digest == last
            if size == after.st_size and same(before, after) and settled:
                payload = struct.pack("<Q", size) + digest
                reader.remember(after, digest)
                return record(b"f", after, name, xattr_digest(descriptor, follow=True), payload), after
            before, last = after, digest
        raise Moved("changed while it was read")
    finally:
        os.close(descriptor)


def proc_path(folder: int, name: bytes) -> bytes:
    """A name for calls that take no folder descriptor; it is never too long."""
    return b"/proc/self/fd/%d/%s" % (folder, name)


def other_record(folder: int, name: bytes, found: os.stat_result) -> bytes:
    """Record of a symbolic link, FIFO, socket or device."""
    attributes = xattr_digest(proc_path(folder, name), follow=False)
    if stat.S_ISLNK(found.st_mode):
        target = os.readlink(name, dir_fd=folder)
        return record(b"l", found, name, attributes, struct.pack("<H", len(target)) + target)
    if stat.S_ISFIFO(found.st_mode):
        return record(b"p", found, name, attributes, b"")
    if stat.S_ISSOCK(found.st_mode):
        return record(b"s", found, name, attributes, b"")
    kind = b"b" if stat.S_ISBLK(found.st_mode) else b"c"
    payload = struct.pack("<II", os.major(found.st_rdev), os.minor(found.st_rdev))
    return record(kind, found, name, attributes, payload)


def open_folder(top: int, path: bytes) -> int:
    """Open a folder below `top`, however deep: a path longer than the kernel takes is walked in parts."""
    if not path:
        return os.open(b".", OPEN_FOLDER, dir_fd=top)
    here = os.dup(top)
    parts = path.split(b"/")
    while parts:
        taken = [parts.pop(0)]
        length = len(taken[0])
        while parts and length + len(parts[0]) < 3500:
            length += len(parts[0]) + 1
            taken.append(parts.pop(0))
        try:
            below = os.open(b"/".join(taken), OPEN_FOLDER, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here
