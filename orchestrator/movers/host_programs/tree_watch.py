"""Keeps the digest of a tree (tree/v1) current while the tree changes, on the host that holds it.

Joined with parts of tree_digest and answering.py, sent to hosts and run by their own Python (3.9 or newer). It reads
the whole tree once, under inotify watches that are older than the reading, and from then on reads again only what the
kernel names. So the digest after the last write costs what that write costs, not what the tree does.

What it relies on: every change of a name is an event at its folder, events are queued before the call that made them
returns, and a lost event is told (then everything is read again). A write through a mapping is no event: only trees
whose files are written aside and renamed may be watched (their inventory says `changes: replaced`).

Usage: python3 - REQUEST, a JSON object {path, seconds}. Answers {do: settle} with the digest and the names that changed
since it began, or since it was last told {do: begin}; `all` instead of the names where they are too many, or were lost.
`unread` says how many of them were still to be read: what changed long before the question was read already.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import stat
import struct
import sys

from orchestrator.movers.host_programs.answering import Asked, say, stay
from orchestrator.movers.host_programs.tree_digest.entries import Reader, file_record, open_folder, other_record
from orchestrator.movers.host_programs.tree_digest.links import links_digest
from orchestrator.movers.host_programs.tree_digest.records import (
    FOLDER_MAGIC,
    TREE_MAGIC,
    Moved,
    join,
    named,
    record,
    text,
    xattr_digest,
)

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Callable
    from typing import Any

    Identity = tuple[int, int, bool]  # device, inode, and whether it has several names

CHANGED_MAX, ROUNDS_MAX = 5000, 5
EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name
IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE = 0x2, 0x4, 0x8
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_Q_OVERFLOW, IN_IGNORED, IN_ISDIR = 0x4000, 0x8000, 0x40000000
IN_ONLYDIR = 0x01000000
NAMES_CHANGED = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
WATCHED = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | NAMES_CHANGED | IN_ONLYDIR
IN_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


class CannotWatch(Exception):
    """The kernel gives no watch, or something in the tree cannot be read."""


class Kept:
    """A folder as it was last read. `whole` is its part of the digest, None when it is to be made anew."""

    __slots__ = ("files", "folders", "head", "whole")

    def __init__(self) -> None:
        self.files: dict[bytes, tuple[bytes, Identity]] = {}
        self.folders: set[bytes] = set()
        self.head = b""
        self.whole: bytes | None = None


class Watch:
    """The tree in memory, and what the kernel says of it."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.inotify = self.libc.inotify_init1(IN_NONBLOCK_CLOEXEC)
        if self.inotify < 0:
            raise CannotWatch(os.strerror(ctypes.get_errno()))
        self.reader = Reader(scrub=False)
        self.kept: dict[bytes, Kept] = {}
        self.path_of: dict[int, bytes] = {}
        self.watch_of: dict[bytes, int] = {}
        self.dirty: set[tuple[bytes, bytes]] = set()  # folder and name; no name: the folder itself
        self.renewed: set[tuple[bytes, bytes]] = set()  # names that became folders, or other folders
        self.being_written: set[tuple[bytes, bytes]] = set()  # folder and name
        self.changed: set[bytes] = set()
        self.known: set[bytes] = set()  # of what changed: what had been there, and is removed where it is no more
        self.lost = False  # events, or more names than are kept
        self.linked = False  # a file with several names was seen
        self.read_tree(b"")
        self.begin()

    def begin(self) -> None:
        """Names are those of what changes from now on: not those of a first reading, of which there may be too many."""
        self.changed.clear()
        self.known.clear()
        self.lost = False

    # --- reading

    def read_tree(self, path: bytes) -> None:
        """Read a folder and all below it."""
        stack = [path]
        while stack:
            here = stack.pop()
            try:
                stack += [join(here, name) for name in self.read_folder(here)]
            except FileNotFoundError:
                parent, _, name = here.rpartition(b"/")
                self.dirty.add((parent, name))  # it vanished meanwhile; its event says so too

    def read_folder(self, path: bytes) -> set[bytes]:
        """Read one folder under a watch that is set before; names of the folders in it."""
        kept = self.kept[path] = Kept()
        self.note(path)
        folder = open_folder(self.top, path)
        try:
            self.put_watch(path, folder)
            with os.scandir(folder) as entries:
                names = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
            for name, is_folder in names:
                if is_folder:
                    kept.folders.add(name)
                else:
                    self.read_entry(path, kept, folder, name)
            self.read_head(path, kept, folder)
        finally:
            os.close(folder)
        return kept.folders

    def read_head(self, path: bytes, kept: Kept, folder: int) -> None:
        found = os.fstat(folder)
        kept.head = record(b"d", found, path.rsplit(b"/", 1)[-1], xattr_digest(folder, follow=True), b"")

    def read_entry(self, path: bytes, kept: Kept, folder: int, name: bytes) -> None:
        """Read one name that is no folder; one that is gone, or moves while it is read, is looked at again."""
        self.note(join(path, name))
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                made, found = file_record(self.reader, folder, name, share_big=False)
            else:
                made = other_record(folder, name, found)
        except Moved:
            self.dirty.add((path, name))
            return
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                raise CannotWatch("%s: %s" % (text(join(path, name)), os.strerror(error.errno or 0))) from None
            self.dirty.add((path, name))
            return
        self.linked = self.linked or found.st_nlink > 1
        kept.files[name] = (made or b"", (found.st_dev, found.st_ino, found.st_nlink > 1))

    def put_watch(self, path: bytes, folder: int) -> None:
        made = self.libc.inotify_add_watch(self.inotify, b"/proc/self/fd/%d" % folder, WATCHED)
        if made < 0:
            raise CannotWatch("no more watches: " + os.strerror(ctypes.get_errno()))
        self.path_of[made] = path
        self.watch_of[path] = made

    def forget_tree(self, path: bytes) -> None:
        """A folder that is gone, or is another one now."""
        stack = [path]
        while stack:
            here = stack.pop()
            kept = self.kept.pop(here, None)
            if kept is None:
                continue
            stack += [join(here, name) for name in kept.folders]
            watch = self.watch_of.pop(here, None)
            if watch is not None and self.path_of.get(watch) == here:
                del self.path_of[watch]
                self.libc.inotify_rm_watch(self.inotify, watch)

    def note(self, path: bytes) -> None:
        if len(self.changed) < CHANGED_MAX:
            self.changed.add(path or b".")
        else:
            self.lost = True

    # --- what the kernel says

    def take_events(self) -> None:
        while True:
            try:
                data = os.read(self.inotify, 1 << 16)
            except BlockingIOError:
                return
            place = 0
            while place < len(data):
                watch, mask, _, length = EVENT.unpack_from(data, place)
                name = data[place + EVENT.size : place + EVENT.size + length].rstrip(b"\0")
                place += EVENT.size + length
                self.take_event(watch, mask, name)

    def take_event(self, watch: int, mask: int, name: bytes) -> None:
        if mask & IN_Q_OVERFLOW:
            self.distrust()
            return
        path = self.path_of.get(watch)
        if path is None or mask & IN_IGNORED:
            return
        if mask & (IN_CLOSE_WRITE | NAMES_CHANGED):
            self.being_written.discard((path, name))
        elif mask & IN_MODIFY:
            self.being_written.add((path, name))
        if not name:
            self.dirty.add((path, b""))
        elif mask & IN_ISDIR and not mask & NAMES_CHANGED:
            self.dirty.add((join(path, name), b""))
        else:
            self.dirty.add((path, name))
        if mask & NAMES_CHANGED:
            self.dirty.add((path, b""))
            if mask & IN_ISDIR:
                self.renewed.add((path, name))

    def distrust(self) -> None:
        """All of it is read again with the next question."""
        self.lost = True
        self.being_written.clear()
        self.dirty.add((b"", b""))
        self.renewed.add((b"", b""))

    def read_ahead(self) -> None:
        """Read what changed while nobody asks: who asks has clients waiting. Nothing is read while it is written."""
        self.take_events()
        if not self.dirty or self.being_written or (b"", b"") in self.renewed:
            return
        try:
            self.settle()
            self.digest()
        except (CannotWatch, OSError):
            self.distrust()  # who asks next is told what it is

    def settle(self) -> None:
        """Read again what changed, until nothing did while it was read."""
        for _ in range(ROUNDS_MAX):
            self.take_events()
            if not self.dirty and not self.renewed:
                return
            dirty, self.dirty = self.dirty, set()
            renewed, self.renewed = self.renewed, set()
            if (b"", b"") in renewed:
                self.forget_tree(b"")
                self.read_tree(b"")
                continue
            # What is gone goes first: a folder that moved keeps its watch, which then belongs to its new name.
            for path, name in renewed:
                self.forget_tree(join(path, name))
                self.note(join(path, name))
            names_of: dict[bytes, set[bytes]] = {path: set() for path, _ in dirty}
            for path, name in dirty:
                names_of[path].add(name)
            for path, names in names_of.items():
                self.read_again(path, names - {b""})
            for path, name in renewed:
                kept = self.kept.get(path)
                if kept is not None and name in kept.folders:
                    self.read_tree(join(path, name))

    def read_again(self, path: bytes, names: set[bytes]) -> None:
        kept = self.kept.get(path)
        if kept is None:
            return  # below a folder that is gone
        self.note(path)
        self.stale(path)
        try:
            folder = open_folder(self.top, path)
        except (FileNotFoundError, NotADirectoryError):
            return  # its own folder's event tells
        try:
            for name in names:
                self.note(join(path, name))
                if name in kept.files or name in kept.folders:
                    self.known |= self.changed & {join(path, name)}
                kept.files.pop(name, None)
                kept.folders.discard(name)
                try:
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                except FileNotFoundError:
                    self.forget_tree(join(path, name))
                    continue
                if stat.S_ISDIR(found.st_mode):
                    kept.folders.add(name)
                    if join(path, name) not in self.kept:
                        self.renewed.add((path, name))
                else:
                    self.forget_tree(join(path, name))
                    self.read_entry(path, kept, folder, name)
            self.read_head(path, kept, folder)
        finally:
            os.close(folder)

    def is_there(self, path: bytes) -> bool:
        folder, _, name = path.rpartition(b"/")
        kept = self.kept.get(folder)
        return path == b"." or (kept is not None and (name in kept.files or name in kept.folders))

    # --- the digest

    def stale(self, path: bytes) -> None:
        while True:
            kept = self.kept.get(path)
            if kept is not None:
                kept.whole = None
            if not path:
                return
            path = path.rpartition(b"/")[0]

    def digest(self) -> str:
        for path in [path for path, kept in self.kept.items() if kept.whole is None]:
            self.stale(path)
        for path in sorted((path for path, kept in self.kept.items() if kept.whole is None), key=depth, reverse=True):
            kept = self.kept[path]
            made = hashlib.sha256(FOLDER_MAGIC)
            made.update(b"".join(kept.files[name][0] for name in sorted(kept.files)))
            for name in sorted(kept.folders):
                made.update(self.kept[join(path, name)].whole or b"")
            kept.whole = kept.head + made.digest()
        made = hashlib.sha256(TREE_MAGIC + (self.kept[b""].whole or b""))
        made.update(links_digest(self.link_groups()))
        return "sha256:" + made.hexdigest()

    def link_groups(self) -> list[list[bytes]]:
        """A name that a file gains is an event, but not at its other names: so identity counts, not their number."""
        if not self.linked:
            return []
        groups: dict[tuple[int, int], list[bytes]] = {}
        for path, kept in self.kept.items():
            for name, (_, (device, inode, _)) in kept.files.items():
                groups.setdefault((device, inode), []).append(join(path, name))
        return sorted(sorted(paths) for paths in groups.values() if len(paths) > 1)

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        if question["do"] == "begin":
            # What is still to be read again is noted when it is read: later, never too early.
            self.begin()
            return {}
        self.take_events()
        unread = len(self.dirty)
        try:
            self.settle()
        except (CannotWatch, OSError) as error:
            return {"cannot": str(error)}
        if self.dirty or self.renewed:
            return {"cannot": "it changes while it is read", "moved": named([(path, "") for path, _ in self.dirty][:5])}
        read, self.reader.bytes_read = self.reader.bytes_read, 0
        return {
            "digest": self.digest(),
            "entries": sum(1 + len(kept.files) for kept in self.kept.values()),
            "bytes": read,
            "unread": unread,
            "all": self.lost,
            "linked": self.linked and any(self.has_other_names(path) for path in self.changed),
            "changed": [] if self.lost else [text(path) for path in sorted(self.changed)],
            "gone": [] if self.lost else [text(path) for path in sorted(self.known) if not self.is_there(path)],
        }

    def has_other_names(self, path: bytes) -> bool:
        parent, _, name = path.rpartition(b"/")
        kept = self.kept.get(parent)
        return kept is not None and name in kept.files and kept.files[name][1][2]


def depth(path: bytes) -> int:
    return path.count(b"/") + 1 if path else 0


def main() -> None:
    request = json.loads(sys.argv[1])
    path = request["path"].encode("utf-8", "surrogateescape")
    watches: list[Watch] = []

    def prepare(_folder: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        watches.append(Watch(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)))
        watches[0].digest()
        return watches[0].answer

    def asked_of(asked: Asked) -> None:
        # Events are taken as they come, or a busy tree would overrun the kernel's queue.
        asked.besides(watches[0].inotify, watches[0].take_events)
        asked.idle = watches[0].read_ahead

    try:
        stay(prepare, asked_of, request["seconds"])
    except CannotWatch as error:
        say("failed", {"why": str(error)})
    except OSError as error:
        say("failed", {"why": os.strerror(error.errno or 0)})


if __name__ == "__main__":
    main()
