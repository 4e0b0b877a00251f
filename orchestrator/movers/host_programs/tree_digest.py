"""Digest of a file tree (tree/v1), made on the host that holds it.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only.

The form. Every entry of a folder is one record: kind, permission bits, owner and group by number, mtime in
nanoseconds, raw name, digest of its extended attributes (ACLs and capabilities are such), then
  regular file   size, content digest          symbolic link   target
  device         major, minor                  folder          digest of the folder
The digest of a folder is SHA-256 over the records of all that is no folder, by raw name, then those of its folders, by
raw name. The digest of the tree is SHA-256 over the record of its top (with an empty name) and over its hard-link
groups. Content up to 4 MiB is digested as it is; longer content as the digests of its 4 MiB pieces one after the
other, so that all cores share one big file and holes need not be read. Holes are content (zeros), never a difference.

With `known`, a file is not read again when inode, size, mtime and ctime are those of its last reading. Nobody can set
a ctime, and what could slip past it is excluded: entries younger than two seconds are never kept (two changes may fall
into one tick of the clock), and everything is written back first (a write through a mapping shows in ctime only when
its page was clean). What the disk itself loses does not show; `scrub` reads everything from the disk, believes nothing,
and names the files whose content changed though nothing else did.

Rules: what cannot be read is an error, never left out; what changed while it was read is named; memory does not grow
with the size of files, and with their number only by some tens of bytes each.
"""

from __future__ import annotations

import base64
import ctypes
import errno
import hashlib
import json
import marshal
import os
import selectors
import socket
import stat
import struct
import sys
import time
import zlib

MYPY = False  # true for the type checker alone: importing typing would double the start of this program
if MYPY:
    from collections.abc import Callable
    from typing import Any

    Answer = dict[str, Any]  # of a worker: what it found, by name; marshal carries it
    Task = tuple[tuple[Any, ...], "Folder", Any, Any]  # words for a worker, and where its answer belongs

PIECE_BYTES = 4 * 1024 * 1024
BIG_FILE_BYTES = 64 * 1024 * 1024  # from here on, pieces of one file are shared out
PIECES_PER_TASK = 8
CHUNK_ENTRIES = 256
CHUNK_BYTES = 32 * 1024 * 1024
NAMES_REPORTED_MAX = 50
KNOWN_BYTES_MIN = 64 * 1024  # smaller files are read as quickly as they are looked up
KNOWN_ENTRIES_MAX = 500_000
YOUNG_NS = 2_000_000_000
READ_BYTES = 256 * 1024  # fits into the second-level cache, so that hashing does not read memory twice
TRIES_MAX = 3
# Labels that belong to a host rather than to the data (security.selinux, security.ima, btrfs.*) are left out.
XATTR_PREFIXES = ("user.", "trusted.")
XATTR_NAMES = ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
XATTR_LEFT_OUT = ("trusted.overlay.",)

FOLDER_MAGIC = b"skerry tree/v1 folder\n"
TREE_MAGIC = b"skerry tree/v1\n"
ZERO_PIECE = hashlib.sha256(bytes(PIECE_BYTES)).digest()
KNOWN_MAGIC = b"skerry known files/v1\n"
KNOWN_KEY = struct.Struct("<QQ")  # device, inode
KNOWN_STAMP = struct.Struct("<Qqq")  # size, mtime, ctime
KNOWN_ENTRY_BYTES = KNOWN_KEY.size + KNOWN_STAMP.size + 32
HEAD = struct.Struct("<cIIIqH")
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NO_ATIME = getattr(os, "O_NOATIME", 0)


class Moved(Exception):
    """An entry changed or vanished while it was read."""


# --- one entry ------------------------------------------------------------------------------------------------------


def xattr_digest(target: int | bytes, follow: bool) -> bytes:
    """b"" without attributes, else the digest over names and values."""
    try:
        names = os.listxattr(target, follow_symlinks=follow)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return b""
        raise
    if not names:
        return b""
    parts = []
    for name in sorted(names):
        if (name.startswith(XATTR_PREFIXES) and not name.startswith(XATTR_LEFT_OUT)) or name in XATTR_NAMES:
            value = os.getxattr(target, name, follow_symlinks=follow)
            raw = os.fsencode(name)
            parts.append(struct.pack("<HI", len(raw), len(value)) + raw + value)
    return hashlib.sha256(b"".join(parts)).digest() if parts else b""


def record(kind: bytes, found: os.stat_result, name: bytes, attributes: bytes, payload: bytes) -> bytes:
    head = HEAD.pack(kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns, len(name))
    return head + name + bytes((len(attributes),)) + attributes + payload


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
        if total >= length_expected and total < READ_BYTES:
            self.bytes_read += total
            return made.digest(), total
        while True:
            count = os.readv(descriptor, (self.buffer,))
            if not count:
                self.bytes_read += total
                return made.digest(), total
            made.update(self.view[:count])
            total += count

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
        for _ in range(TRIES_MAX):
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


# --- a worker -------------------------------------------------------------------------------------------------------
# Names travel between processes as one blob of a chunk: name NUL kind NUL name NUL kind ("f" regular file, "o" other).


class Worker:
    """Does tasks: a folder with its first files, a chunk of files, some pieces of a big file."""

    def __init__(self, top: int, scrub: bool, listing: bool = False, share_big: bool = True) -> None:
        self.top = top
        self.reader = Reader(scrub=scrub)
        self.listing = listing
        self.share_big = share_big

    def chunk(self, folder: int, path: bytes, blob: bytes, answer: Answer) -> None:
        """Records of the named files, in order; gives back the rest at a big file or after enough bytes."""
        parts = blob.split(b"\0")
        records = []
        links = []
        began = self.reader.bytes_read
        for index in range(0, len(parts), 2):
            name = parts[index]
            if self.reader.bytes_read - began > CHUNK_BYTES:
                answer["rest"] = b"\0".join(parts[index:])
                break
            try:
                if parts[index + 1] == b"f":
                    made, found = file_record(self.reader, folder, name, share_big=self.share_big)
                    if self.reader.decayed:
                        self.reader.decayed = False
                        answer["decayed"].append((join(path, name), "changed, but neither its size nor its times did"))
                    if made is None:
                        answer["big"] = self.big_head(folder, name, found)
                        answer["rest"] = b"\0".join(parts[index + 2 :])
                        break
                else:
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    made = other_record(folder, name, found)
            except (Moved, OSError) as error:
                blame(answer, join(path, name), error)
                continue
            if found.st_nlink > 1:
                links.append((found.st_dev, found.st_ino, join(path, name)))
            records.append(made)
        answer["entries"] += len(records)
        answer["records"] = records if self.listing else b"".join(records)
        if links:
            answer["links"] = pack_links(links)

    def big_head(self, folder: int, name: bytes, found: os.stat_result) -> tuple[Any, ...]:
        """All of a big file's record but its content, and what must still hold when its pieces were read."""
        descriptor = open_file(name, folder)
        try:
            attributes = xattr_digest(descriptor, follow=True)
        finally:
            os.close(descriptor)
        links = (found.st_dev, found.st_ino) if found.st_nlink > 1 else ()
        stamp = b""
        if found.st_ctime_ns < self.reader.keep_before_ns:
            stamp = KNOWN_KEY.pack(found.st_dev, found.st_ino)
            stamp += KNOWN_STAMP.pack(found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        head = record(b"f", found, name, attributes, b"")
        return name, found.st_size, found.st_mtime_ns, found.st_ino, head, links, stamp, found.st_ctime_ns

    def folder(self, path: bytes, answer: Answer) -> None:
        """List a folder; digest its files as far as one chunk goes, and name the others chunk by chunk."""
        folder = open_folder(self.top, path)
        try:
            before = os.fstat(folder)
            files, folders = [], []
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                    else:
                        files.append(name + (b"\0f" if entry.is_file(follow_symlinks=False) else b"\0o"))
            after = os.fstat(folder)
            if before.st_mtime_ns != after.st_mtime_ns:
                raise Moved("gained or lost names while it was read")
            files.sort()
            folders.sort()
            answer["head"] = record(b"d", after, path.rsplit(b"/", 1)[-1], xattr_digest(folder, follow=True), b"")
            answer["folders"] = folders
            answer["entries"] += 1
            blobs = [b"\0".join(files[start : start + CHUNK_ENTRIES]) for start in range(0, len(files), CHUNK_ENTRIES)]
            del files
            answer["chunks"] = blobs[1:]
            if blobs:
                self.chunk(folder, path, blobs[0], answer)
        finally:
            os.close(folder)

    def pieces(
        self, path: bytes, name: bytes, first: int, last: int, size: int, mtime_ns: int, inode: int, answer: Answer
    ) -> None:
        folder = open_folder(self.top, path)
        try:
            descriptor = open_file(name, folder)
            try:
                answer["pieces"] = self.reader.pieces(descriptor, first, last, size)
                after = os.fstat(descriptor)
                answer["ctime_ns"] = after.st_ctime_ns
                if (after.st_size, after.st_mtime_ns, after.st_ino) != (size, mtime_ns, inode):
                    raise Moved("changed while it was read")
            finally:
                os.close(descriptor)
        finally:
            os.close(folder)

    def do(self, task: tuple[Any, ...]) -> Answer:
        answer: Answer = {"entries": 0, "moved": [], "errors": [], "decayed": []}
        read_before = self.reader.bytes_read
        kind, path = task[0], task[1]
        blamed = path or b"."
        try:
            if kind == "folder":
                self.folder(path, answer)
            elif kind == "chunk":
                folder = open_folder(self.top, path)
                try:
                    self.chunk(folder, path, task[2], answer)
                finally:
                    os.close(folder)
            else:
                blamed = join(path, task[2])
                name, first, last, size, mtime_ns, inode = task[2:]
                self.pieces(path, name, first, last, size, mtime_ns, inode, answer)
        except (Moved, OSError) as error:
            blame(answer, blamed, error)
        answer["bytes"] = self.reader.bytes_read - read_before
        answer["fresh"] = bytes(self.reader.fresh)
        self.reader.fresh.clear()
        return answer


def blame(answer: Answer, path: bytes, error: Moved | OSError) -> None:
    """Note an entry that moved (another try may help) or cannot be read (it will not)."""
    if isinstance(error, Moved):
        answer["moved"].append((path, str(error)))
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        answer["moved"].append((path, "vanished while the tree was read"))
    elif error.errno == errno.ELOOP:
        answer["moved"].append((path, "became a symbolic link while the tree was read"))
    else:
        answer["errors"].append((path, os.strerror(error.errno or 0)))


def join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def pack_links(links: list[tuple[int, int, bytes]]) -> tuple[bytes, bytes]:
    """64-bit keys, and the whole of it compressed: most files with two links have the other one outside of the tree."""
    keys = b"".join(struct.pack("<Q", (inode ^ (device << 44)) & 0xFFFFFFFFFFFFFFFF) for device, inode, _ in links)
    return keys, zlib.compress(marshal.dumps(links), 1)


def unpack_keys(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(packed) // 8}Q", packed)


def send(channel: socket.socket, value: Any) -> None:
    data = marshal.dumps(value)
    channel.sendall(struct.pack("<I", len(data)) + data)


def receive(channel: socket.socket) -> Any:
    head = receive_exactly(channel, 4)
    return marshal.loads(receive_exactly(channel, struct.unpack("<I", head)[0])) if head else None


def receive_exactly(channel: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        data = channel.recv(min(count - len(parts), 1 << 20))
        if not data:
            return b""
        parts += data
    return bytes(parts)


def start_workers(count: int, worker: Worker) -> list[socket.socket]:
    """Processes rather than threads: half of the work on small files is Python itself."""
    channels: list[socket.socket] = []
    for _ in range(count):
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            for other in channels:
                other.close()
            status = 1
            try:
                while True:
                    task = receive(theirs)
                    if task is None:
                        break
                    send(theirs, worker.do(task))
                status = 0
            except (BrokenPipeError, ConnectionResetError):
                status = 2  # the starter is gone
            finally:
                os._exit(status)
        theirs.close()
        channels.append(ours)
    return channels


# --- the whole tree -------------------------------------------------------------------------------------------------


class Slot:
    """Records of a stretch of one folder's files; None until they are there."""

    __slots__ = ("value", "after")

    def __init__(self, after: Slot | None) -> None:
        self.value: bytes | None = None
        self.after = after


class BigFile:
    """A big file of which some pieces are still being read."""

    __slots__ = ("ctime_ns", "head", "parts", "size", "slot", "stamp", "waiting")

    def __init__(self, slot: Slot, head: bytes, size: int, waiting: int) -> None:
        self.stamp = b""
        self.ctime_ns = 0
        self.slot = slot
        self.head = head
        self.size = size
        self.parts: dict[int, bytes] = {}
        self.waiting = waiting


class Folder:
    """A folder that is not finished. `first` is the earliest stretch of files that its hash has not taken in."""

    __slots__ = ("path", "parent", "head", "hash", "first", "waiting", "children")

    def __init__(self, path: bytes, parent: Folder | None) -> None:
        self.path = path
        self.parent = parent
        self.head = b""
        self.hash = hashlib.sha256(FOLDER_MAGIC)
        self.first: Slot | None = Slot(None)
        self.waiting = 0
        self.children: dict[bytes, bytes] = {}


class Tree:
    """Holds the tasks to give out, takes answers, and puts the digest together."""

    def __init__(self, shallow: bool) -> None:
        self.bytes = 0
        self.entries = 0
        self.moved: list[tuple[bytes, str]] = []
        self.fresh: list[bytes] = []
        self.decayed: list[tuple[bytes, str]] = []
        self.errors: list[tuple[bytes, str]] = []
        self.counts = {"moved": 0, "errors": 0, "decayed": 0}
        self.link_keys: list[bytes] = []
        self.link_blobs: list[bytes] = []
        self.shallow: list[tuple[bytes, bytes]] | None = [] if shallow else None
        self.root = Folder(b"", None)
        self.digest: bytes | None = None
        self.stack: list[Task] = [(("folder", b""), self.root, self.root.first, None)]

    def take(self, answer: Answer, folder: Folder, slot: Slot, big: tuple[BigFile, int] | None) -> None:
        self.bytes += answer["bytes"]
        self.entries += answer["entries"]
        self.fresh.append(answer.get("fresh", b""))
        for key, kept in (("moved", self.moved), ("errors", self.errors), ("decayed", self.decayed)):
            self.counts[key] += len(answer[key])
            kept.extend(answer[key][: NAMES_REPORTED_MAX - len(kept)])
        if big is not None:
            big_file, first = big
            if answer.get("ctime_ns") != big_file.ctime_ns:
                big_file.stamp = b""  # linked or worse meanwhile: not to be known again by its times
            self.take_pieces(folder, big_file, first, answer.get("pieces", b""))
            return
        if "links" in answer:
            self.link_keys.append(answer["links"][0])
            self.link_blobs.append(answer["links"][1])
        new_tasks: list[Task] = []
        after = slot
        if "big" in answer:
            after = self.share_out(folder, after, answer["big"], new_tasks)
        if answer.get("rest"):
            after = self.put_chunk(folder, after, answer["rest"], new_tasks)
        for blob in answer.get("chunks", ()):
            after = self.put_chunk(folder, after, blob, new_tasks)
        if "folders" in answer:
            folder.head = answer["head"]
            folder.waiting = len(answer["folders"])
            for name in answer["folders"]:
                child = Folder(join(folder.path, name), folder)
                new_tasks.append((("folder", child.path), child, child.first, None))
        # Last in, first out, and depth first: what is begun is finished before more is begun.
        self.stack.extend(reversed(new_tasks))
        slot.value = answer.get("records", b"")
        self.move_on(folder)

    def put_chunk(self, folder: Folder, after: Slot, blob: bytes, new_tasks: list[Task]) -> Slot:
        after.after = Slot(after.after)
        new_tasks.append((("chunk", folder.path, blob), folder, after.after, None))
        return after.after

    def share_out(self, folder: Folder, after: Slot, big: tuple[Any, ...], new_tasks: list[Task]) -> Slot:
        name, size, mtime_ns, inode, head, link, stamp, ctime_ns = big
        if link:
            keys, blob = pack_links([(link[0], link[1], join(folder.path, name))])
            self.link_keys.append(keys)
            self.link_blobs.append(blob)
        self.entries += 1
        after.after = Slot(after.after)
        firsts = range(0, piece_count(size), PIECES_PER_TASK)
        big_file = BigFile(after.after, head, size, len(firsts))
        big_file.stamp, big_file.ctime_ns = stamp, ctime_ns
        for first in firsts:
            last = min(first + PIECES_PER_TASK, piece_count(size))
            task = ("pieces", folder.path, name, first, last, size, mtime_ns, inode)
            new_tasks.append((task, folder, after.after, (big_file, first)))
        return after.after

    def take_pieces(self, folder: Folder, big_file: BigFile, first: int, digests: bytes) -> None:
        big_file.parts[first] = digests
        big_file.waiting -= 1
        if not big_file.waiting:
            whole = b"".join(big_file.parts[number] for number in sorted(big_file.parts))
            digest = hashlib.sha256(whole).digest()
            if big_file.stamp:
                self.fresh.append(big_file.stamp + digest)
            big_file.slot.value = big_file.head + struct.pack("<Q", big_file.size) + digest
            self.move_on(folder)

    def move_on(self, folder: Folder) -> None:
        """Take in what is there, in order; finish the folder, and those above it, when nothing is missing."""
        while folder is not None:
            while folder.first is not None and folder.first.value is not None:
                folder.hash.update(folder.first.value)
                folder.first = folder.first.after
            if folder.first is not None or folder.waiting:
                return
            if self.shallow is not None:
                own = hashlib.sha256(folder.head + folder.hash.digest()).digest()[:16]
                self.shallow.append((folder.path, own))
            for name in sorted(folder.children):
                folder.hash.update(folder.children[name])
            whole = folder.head + folder.hash.digest()
            parent = folder.parent
            if parent is None:
                self.digest = whole
                return
            parent.children[folder.path.rsplit(b"/", 1)[-1]] = whole
            parent.waiting -= 1
            folder.children = {}
            folder = parent

    def link_groups(self) -> list[list[bytes]]:
        """Sorted paths of every group of names that are one file."""
        keys = sorted(key for blob in self.link_keys for key in unpack_keys(blob))
        twice = {one for one, other in zip(keys, keys[1:]) if one == other}
        if not twice:
            return []
        groups: dict[tuple[int, int], list[bytes]] = {}
        for packed, blob in zip(self.link_keys, self.link_blobs):
            if twice.isdisjoint(unpack_keys(packed)):
                continue
            for device, inode, path in marshal.loads(zlib.decompress(blob)):
                if (inode ^ (device << 44)) & 0xFFFFFFFFFFFFFFFF in twice:
                    groups.setdefault((device, inode), []).append(path)
        return sorted(sorted(paths) for paths in groups.values() if len(paths) > 1)


def digest_tree(worker: Worker, processes: int, shallow: bool, on_progress: Callable[[Tree], None]) -> Tree:
    """Digest everything below the top of the worker, which is copied into each process."""
    tree = Tree(shallow)
    channels = start_workers(processes, worker)
    busy: dict[socket.socket, Any] = {}
    idle: list[Any] = list(channels)
    chooser = selectors.DefaultSelector()
    for channel in channels:
        chooser.register(channel, selectors.EVENT_READ, channel)
    while tree.stack or busy:
        while tree.stack and idle:
            task, *context = tree.stack.pop()
            channel = idle.pop()
            send(channel, task)
            busy[channel] = context
        for key, _ in chooser.select(timeout=0.5):
            channel = key.data
            answer = receive(channel)
            if answer is None:
                raise SystemExit("a process of the digest was killed (out of memory, or by hand)")
            tree.take(answer, *busy.pop(channel))
            idle.append(channel)
        on_progress(tree)
    for channel in channels:
        channel.close()
    for _ in channels:
        os.wait()
    return tree


def text(path: bytes) -> str:
    """A name of any bytes as text that JSON can carry: bytes that are not UTF-8 become surrogates."""
    return path.decode("utf-8", "surrogateescape")


def named(pairs: list[tuple[bytes, str]]) -> list[list[str]]:
    return [[text(path), why] for path, why in pairs]


def say(kind: str, value: Any) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


class ProgressLines:
    """At most two lines a second."""

    def __init__(self) -> None:
        self.next = time.monotonic() + 0.5

    def __call__(self, tree: Tree) -> None:
        now = time.monotonic()
        if now >= self.next:
            self.next = now + 0.5
            say("progress", {"bytes": tree.bytes, "entries": tree.entries})


def run_digest(top: int, request: dict[str, Any]) -> None:
    started = time.monotonic()
    processes = request.get("processes") or len(os.sched_getaffinity(0))
    shallow = request.get("shallow", False)
    worker = Worker(top, scrub=request.get("scrub", False))
    if request.get("known"):
        ctypes.CDLL(None).syncfs(top)
        worker.reader.known = load_known(request["known"])
        worker.reader.keep_before_ns = time.time_ns() - YOUNG_NS
    tree = digest_tree(worker, processes, shallow=shallow, on_progress=ProgressLines())
    if request.get("known") and not tree.counts["moved"] and not tree.counts["errors"]:
        save_known(request["known"], b"".join(tree.fresh))
    groups = tree.link_groups()
    made = hashlib.sha256(TREE_MAGIC + (tree.digest or b""))
    made.update(links_digest(groups))
    result = {
        "digest": "sha256:" + made.hexdigest(),
        "links": links_digest(groups).hex(),
        "bytes": tree.bytes,
        "entries": tree.entries,
        "moved": named(tree.moved),
        "moved_count": tree.counts["moved"],
        "errors": named(tree.errors),
        "errors_count": tree.counts["errors"],
        "decayed": named(tree.decayed),
        "decayed_count": tree.counts["decayed"],
        "seconds": round(time.monotonic() - started, 4),
    }
    if tree.shallow is not None:
        lines = b"".join(own + struct.pack("<H", len(path)) + path for path, own in sorted(tree.shallow))
        result["folders"] = base64.b85encode(zlib.compress(lines, 6)).decode()
        result["groups"] = [[text(path) for path in group] for group in groups[:1000]]
    say("result", result)


def load_known(path: str) -> dict[bytes, bytes]:
    """What was read before, by device and inode; nothing when the file is missing or not whole."""
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except FileNotFoundError:
        return {}
    body, check = data[:-32], data[-32:]
    if not body.startswith(KNOWN_MAGIC) or hashlib.sha256(body).digest() != check:
        return {}
    key, entry = KNOWN_KEY.size, KNOWN_ENTRY_BYTES
    starts = range(len(KNOWN_MAGIC), len(body), entry)
    return {body[start : start + key]: body[start + key : start + entry] for start in starts}


def save_known(path: str, entries: bytes) -> None:
    body = KNOWN_MAGIC + entries[: KNOWN_ENTRIES_MAX * KNOWN_ENTRY_BYTES]
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    aside = path + ".new"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(body + hashlib.sha256(body).digest())
    os.replace(aside, path)


def links_digest(groups: list[list[bytes]]) -> bytes:
    made = hashlib.sha256(b"skerry tree/v1 links\n")
    for group in groups:
        made.update(struct.pack("<I", len(group)))
        for path in group:
            made.update(struct.pack("<I", len(path)) + path)
    return made.digest()


def run_entries(top: int, request: dict[str, Any]) -> None:
    """Every record of the named folders, unpacked, for telling two trees apart."""
    worker = Worker(top, scrub=False, listing=True, share_big=False)
    out = {}
    for name in request["folders"]:
        path = name.encode("utf-8", "surrogateescape")
        answer: Answer = {"entries": 0, "moved": [], "errors": [], "decayed": []}
        records: list[bytes] = []
        try:
            worker.folder(path, answer)
            folder = open_folder(top, path)
            try:
                for child in answer["folders"]:
                    found = os.stat(child, dir_fd=folder, follow_symlinks=False)
                    attributes = xattr_digest(proc_path(folder, child), follow=False)
                    records.append(record(b"d", found, child, attributes, b""))
                blobs = [answer.pop("rest", b"")] + answer["chunks"]
                records.extend(answer.pop("records", []))
                while blobs:
                    blob = blobs.pop(0)
                    if blob:
                        worker.chunk(folder, path, blob, answer)
                        records.extend(answer.pop("records"))
                        blobs.insert(0, answer.pop("rest", b""))
            finally:
                os.close(folder)
        except (Moved, OSError) as error:
            blame(answer, path or b".", error)
        out[name] = {"records": [unpack(one) for one in records], "moved": named(answer["moved"] + answer["errors"])}
    packed = zlib.compress(json.dumps(out).encode(), 6)
    say("result", {"listing": base64.b85encode(packed).decode()})


def unpack(one: bytes) -> list[Any]:
    kind, mode, uid, gid, mtime_ns, length = HEAD.unpack_from(one)
    name = one[HEAD.size : HEAD.size + length]
    position = HEAD.size + length
    attributes = one[position + 1 : position + 1 + one[position]]
    payload = one[position + 1 + one[position] :]
    content = text(payload[2:]) if kind == b"l" else payload.hex()
    return [text(name), kind.decode(), mode, uid, gid, mtime_ns, attributes.hex(), content]


def main() -> None:
    request = json.loads(sys.argv[1])
    path = request["path"].encode("utf-8", "surrogateescape")
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        say("result", {"missing": os.strerror(error.errno or 0)})
        return
    if "folders" in request:
        run_entries(top, request)
    else:
        run_digest(top, request)


if __name__ == "__main__":
    main()
