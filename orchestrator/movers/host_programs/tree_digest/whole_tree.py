"""The whole tree: gives tasks out, takes answers in any order, puts the digest together in one."""

from __future__ import annotations

import hashlib
import marshal
import os
import selectors
import socket
import struct
import zlib
from collections.abc import Callable
from typing import Any

from orchestrator.movers.host_programs.tree_digest.entries import (
    piece_count,
)
from orchestrator.movers.host_programs.tree_digest.links import (
    pack_links,
    unpack_keys,
)
from orchestrator.movers.host_programs.tree_digest.records import (
    FOLDER_MAGIC,
    join,
)
from orchestrator.movers.host_programs.tree_digest.workers import (
    Worker,
    receive,
    send,
    start_workers,
)

PIECES_PER_TASK = 8
TASKS_MAX = 2  # of one process
PATH_AHEAD_BYTES_MAX = 16 * 1024
NAMES_REPORTED_MAX = 50


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
        self.stack: list[tuple[Any, ...]] = [(("folder", b""), self.root, self.root.first, None)]

    def take(self, answer: dict[str, Any], folder: Folder, slot: Slot, big: tuple[BigFile, int] | None) -> None:
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
        new_tasks: list[tuple[Any, ...]] = []
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

    def put_chunk(self, folder: Folder, after: Slot, blob: bytes, new_tasks: list[tuple[Any, ...]]) -> Slot:
        after.after = Slot(after.after)
        new_tasks.append((("chunk", folder.path, blob), folder, after.after, None))
        return after.after

    def share_out(self, folder: Folder, after: Slot, big: tuple[Any, ...], new_tasks: list[tuple[Any, ...]]) -> Slot:
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
    busy: dict[socket.socket, list[Any]] = {channel: [] for channel in channels}
    chooser = selectors.DefaultSelector()
    for channel in channels:
        chooser.register(channel, selectors.EVENT_READ, channel)
    while tree.stack or any(busy.values()):
        give_out(tree, busy)
        for key, _ in chooser.select(timeout=0.5):
            channel = key.data
            answer = receive(channel)
            if answer is None:
                raise SystemExit("a process of the digest was killed (out of memory, or by hand)")
            tree.take(answer, *busy[channel].pop(0))
        on_progress(tree)
    for channel in channels:
        channel.close()
    for _ in channels:
        os.wait()
    return tree


def give_out(tree: Tree, busy: dict[socket.socket, list[Any]]) -> None:
    """Tasks to the least busy, and one ahead to each, so that none waits for us while we take an answer in."""
    while tree.stack:
        channel = min(busy, key=lambda one: len(busy[one]))
        task, *context = tree.stack[-1]
        # What is ahead must fit the channel: its worker may be sending, and not listen before we did.
        if len(busy[channel]) == TASKS_MAX or (busy[channel] and len(task[1]) > PATH_AHEAD_BYTES_MAX):
            return
        tree.stack.pop()
        send(channel, task)
        busy[channel].append(context)
