"""Worker processes: what one does with a task, and how tasks and answers travel.

Names travel between processes as one blob of a chunk: name NUL kind NUL name NUL kind ("f" regular file, "o" other).
"""

from __future__ import annotations

import errno
import marshal
import os
import socket
import struct
from typing import Any

from orchestrator.movers.host_programs.tree_digest.entries import (
    Reader,
    file_record,
    open_file,
    open_folder,
    other_record,
)
from orchestrator.movers.host_programs.tree_digest.known_files import (
    KNOWN_KEY,
    KNOWN_STAMP,
)
from orchestrator.movers.host_programs.tree_digest.links import (
    pack_links,
)
from orchestrator.movers.host_programs.tree_digest.records import (
    Moved,
    join,
    record,
    xattr_digest,
)

CHUNK_ENTRIES = 256
CHUNK_BYTES = 32 * 1024 * 1024


class Worker:
    """Does tasks: a folder with its first files, a chunk of files, some pieces of a big file."""

    def __init__(self, top: int, scrub: bool, listing: bool = False, share_big: bool = True) -> None:
        self.top = top
        self.reader = Reader(scrub=scrub)
        self.listing = listing
        self.share_big = share_big

    def chunk(self, folder: int, path: bytes, blob: bytes, answer: dict[str, Any]) -> None:
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

    def folder(self, path: bytes, answer: dict[str, Any]) -> None:
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

    def pieces(self, path: bytes, what: tuple[bytes, int, int, int, int, int], answer: dict[str, Any]) -> None:
        """Digests of some pieces of a big file, which must be all the while what it was when it was shared out."""
        name, first, last, size, mtime_ns, inode = what
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

    def do(self, task: tuple[Any, ...]) -> dict[str, Any]:
        answer: dict[str, Any] = {"entries": 0, "moved": [], "errors": [], "decayed": []}
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
                self.pieces(path, task[2:], answer)
        except (Moved, OSError) as error:
            blame(answer, blamed, error)
        answer["bytes"] = self.reader.bytes_read - read_before
        answer["fresh"] = bytes(self.reader.fresh)
        self.reader.fresh.clear()
        return answer


def blame(answer: dict[str, Any], path: bytes, error: Moved | OSError) -> None:
    """Note an entry that moved (another try may help) or cannot be read (it will not)."""
    if isinstance(error, Moved):
        answer["moved"].append((path, str(error)))
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        answer["moved"].append((path, "vanished while the tree was read"))
    elif error.errno == errno.ELOOP:
        answer["moved"].append((path, "became a symbolic link while the tree was read"))
    else:
        answer["errors"].append((path, os.strerror(error.errno or 0)))


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
