"""Changes that are proved and not yet applied: logs beside the target, the note that commits them, applying them.

Nothing that a broken run left is believed, it is digested again. From the commit on the new state is the one that
counts: applying may be done again and ends in the same state.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import json
import os
from collections.abc import Iterator
from typing import Any

from orchestrator.movers.host_programs.block_delta.frames import FRAME_HEAD, unpack_header
from orchestrator.movers.host_programs.block_delta.leaves import DIGEST, PAGE_BYTES, ZERO, Broken, Volume

RESUMED_LOG = "changes.0-resumed"


def pwrite_all(descriptor: int, data: Any, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done


def log_names(work: str) -> list[str]:
    """Logs in the order in which they count: what was resumed, then the streams', which have no leaf in common."""
    return [os.path.join(work, name) for name in sorted(os.listdir(work)) if name.startswith("changes.")]


def remove_logs(work: str) -> None:
    for name in log_names(work):
        os.unlink(name)


def log_entries(stream: Any) -> Iterator[tuple[int, int]]:
    """(leaf, where it begins) of every whole entry of a log; what follows a broken one is nothing."""
    while True:
        start = stream.tell()
        entry = read_entry(stream, start)
        if entry is None:
            return
        yield entry[0], start


def read_entry(stream: Any, start: int) -> tuple[int, bytes, Any, bytes] | None:
    """Leaf, digest, pages and their content of the entry at `start`; None where there is no whole one."""
    stream.seek(start)
    head = stream.read(FRAME_HEAD)
    if len(head) < FRAME_HEAD:
        return None
    try:
        _, leaf, count, length = unpack_header(head)
    except Broken:
        return None
    body = stream.read(length)
    if len(body) < length:
        return None
    return leaf, body[:DIGEST], array.array("H", body[DIGEST : DIGEST + 2 * count]), body[DIGEST + 2 * count :]


def latest_entries(work: str) -> Iterator[tuple[int, bytes, Any, bytes]]:
    """The last entry of every leaf: changes are against the base, so an earlier one must not shine through."""
    names = log_names(work)
    latest: dict[int, tuple[int, int]] = {}
    for number, name in enumerate(names):
        with open(name, "rb") as stream:
            for leaf, start in log_entries(stream):
                latest[leaf] = (number, start)
    streams = [open(name, "rb") for name in names]  # noqa: SIM115  (closed below, all together)
    try:
        for number, start in latest.values():
            entry = read_entry(streams[number], start)
            if entry is not None:
                yield entry
    finally:
        for stream in streams:
            stream.close()


def put_leaf(volume: Volume, leaf: int, digest: bytes, pages: Any, pieces: bytes) -> None:
    offset = leaf * volume.leaf
    if digest == ZERO:
        clear(volume.descriptor, offset, volume.length(leaf, 1))
    for number, page in enumerate(pages):
        piece = pieces[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]
        pwrite_all(volume.descriptor, piece, offset + page * PAGE_BYTES)


def apply_logs(work: str, target: int, size: int) -> None:
    """Write the committed changes; doing it again after a crash ends in the same state."""
    volume = Volume(target, size)
    for leaf, digest, pages, pieces in latest_entries(work):
        put_leaf(volume, leaf, digest, pages, pieces)
    os.fsync(target)
    # The note goes first: logs without it are changes that are digested anew, a note with some of them would be a lie.
    os.unlink(os.path.join(work, "commit"))
    sync_folder(work)
    remove_logs(work)


def clear(descriptor: int, offset: int, length: int) -> None:
    """Zeros, as a hole where that can be."""
    libc = ctypes.CDLL(None, use_errno=True)
    keep_size_punch_hole = 3
    if libc.fallocate(descriptor, keep_size_punch_hole, ctypes.c_int64(offset), ctypes.c_int64(length)):
        pwrite_all(descriptor, bytes(length), offset)


def write_note(path: str, note: dict[str, Any]) -> None:
    aside = path + ".new"
    with open(aside, "w", encoding="utf-8") as stream:
        json.dump(note, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(aside, path)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hold_lock(work: str) -> int:
    os.makedirs(work, mode=0o700, exist_ok=True)
    descriptor = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Broken("busy", "another run copies to it") from None
    return descriptor


def finish_commit(work: str, path: str) -> None:
    """What an earlier run committed and did not finish applying."""
    try:
        with open(os.path.join(work, "commit"), encoding="utf-8") as stream:
            note = json.load(stream)
    except FileNotFoundError:
        return
    target = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        apply_logs(work, target, note["size"])
    finally:
        os.close(target)
