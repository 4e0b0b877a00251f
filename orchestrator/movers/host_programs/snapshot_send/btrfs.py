"""Holds, receives and puts in place snapshots of a file tree that is a btrfs subvolume, on the host that has it.

Only snapshots in a folder of ours are deleted; what a broken run received has no received UUID, is believed by nobody
and is removed by the next; the live tree is exchanged in one step for a writable snapshot of what was received.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from typing import Any

from orchestrator.movers.host_programs.snapshot_send.piping import Broken, lock, refuse_open, run_tool, stream

RENAME_EXCHANGE = 2
AT_FDCWD = -100
OURS = "s-"  # every snapshot of ours is called so
LIVE_NEW = "live.new"


def btrfs(*words: str) -> str:
    return run_tool("btrfs", *words)


def shown(path: str) -> dict[str, str]:
    """UUID, Received UUID, Flags … of a subvolume."""
    facts = {}
    for line in btrfs("subvolume", "show", "--", path).splitlines():
        name, colon, value = line.strip().partition(":")
        if colon and name not in facts:
            facts[name] = value.strip()
    return facts


def is_subvolume(path: str) -> bool:
    """The top of a btrfs subvolume has the inode number 256, always."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return found.st_ino == 256 and os.path.isdir(path) and not os.path.islink(path)


def on_btrfs(path: str) -> bool:
    place = path
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    words = ["stat", "-f", "-c", "%T", "--", place]
    return subprocess.run(words, capture_output=True, check=False).stdout.strip() == b"btrfs"


def delete(path: str) -> None:
    if is_subvolume(path):
        btrfs("subvolume", "delete", "-c", "--", path)
    elif os.path.lexists(path):
        subprocess.run(["rm", "-rf", "--one-file-system", "--", path], check=True, capture_output=True)


def held(folder: str) -> list[str]:
    """Names of our snapshots in a folder, oldest first."""
    if not os.path.isdir(folder):
        return []
    names = [name for name in os.listdir(folder) if name.startswith(OURS) and is_subvolume(os.path.join(folder, name))]
    return sorted(names)


def usable(tree: str, *, must_exist: bool) -> None:
    """Refuse, as `cannot`, what only a copy file by file can move."""
    if must_exist and not is_subvolume(tree):
        raise Broken("cannot", f"{tree} is not a btrfs subvolume")
    if not on_btrfs(tree):
        raise Broken("cannot", f"{tree} does not lie on btrfs")
    if os.path.lexists(tree):
        if os.path.ismount(tree) and not is_plain_subvolume(tree):
            raise Broken("cannot", f"{tree} is mounted there itself, and cannot be exchanged")
        if is_subvolume(tree) and btrfs("subvolume", "list", "-o", "--", tree).strip():
            raise Broken("cannot", f"there are subvolumes within {tree}")


def is_plain_subvolume(path: str) -> bool:
    """A subvolume has a device number of its own, which looks like a mount; the table of mounts knows better."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        mounts = [line.split()[4].encode().decode("unicode_escape") for line in table]
    return is_subvolume(path) and os.path.realpath(path) not in mounts


def btrfs_hold(request: dict[str, Any]) -> dict[str, Any]:
    """At the source: a read-only snapshot to send, and what earlier ones are there to send the difference from."""
    usable(request["live"], must_exist=True)
    folder = request["folder"]
    os.makedirs(folder, mode=0o700, exist_ok=True)
    earlier = [{"name": name, **identity(os.path.join(folder, name))} for name in held(folder)]
    path = os.path.join(folder, request["name"])
    btrfs("subvolume", "snapshot", "-r", "--", request["tree"], path)
    btrfs("filesystem", "sync", "--", path)
    top = os.stat(path)
    return {"path": path, **identity(path), "earlier": earlier, "top_ns": [top.st_atime_ns, top.st_mtime_ns]}


def identity(path: str) -> dict[str, Any]:
    """What `btrfs send` calls this snapshot: its own UUID, or the one it was received with."""
    facts = shown(path)
    received = facts.get("Received UUID", "-")
    return {
        "uuid": facts["UUID"] if received in ("-", "") else received,
        "received": "" if received == "-" else received,
        "readonly": "readonly" in facts.get("Flags", ""),
    }


def btrfs_look(request: dict[str, Any]) -> dict[str, Any]:
    """At the replica: what was received whole, and is as it was received."""
    usable(request["target"], must_exist=False)
    found = [{"name": name, **identity(os.path.join(request["folder"], name))} for name in held(request["folder"])]
    return {"received": [each for each in found if each["received"] and each["readonly"]]}


def btrfs_receive(request: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    folder, name, target = request["folder"], request["name"], request["target"]
    guard = lock(folder)
    refuse_open(request)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    delete(os.path.join(folder, LIVE_NEW))
    for left in held(folder):
        facts = identity(os.path.join(folder, left))
        if not facts["received"] or not facts["readonly"]:
            delete(os.path.join(folder, left))
    path = os.path.join(folder, name)
    try:
        bytes_wire = stream(request, ["btrfs", "receive", "-e", folder])
    except Broken:
        delete(path)
        raise
    facts = identity(path) if is_subvolume(path) else {"received": "", "readonly": False}
    if facts["received"] != request["uuid"] or not facts["readonly"]:
        delete(path)
        raise Broken("target", f"what was received is not the snapshot {request['uuid']} that was sent")
    put_in_place(path, os.path.join(folder, LIVE_NEW), target, request["top_ns"])
    for old in held(folder):
        if old != name:
            delete(os.path.join(folder, old))
    os.close(guard)
    return {"bytes_wire": bytes_wire, "seconds": round(time.monotonic() - started, 4)}


def put_in_place(path: str, aside: str, target: str, top_ns: list[int]) -> None:
    """Exchange the live tree for a writable snapshot; a crash leaves the one or the other, and never half of any."""
    btrfs("subvolume", "snapshot", "--", path, aside)
    # New files are received at the top first and moved then, which leaves a time there that the source never had.
    os.utime(aside, ns=(top_ns[0], top_ns[1]))
    btrfs("filesystem", "sync", "--", aside)
    if os.path.lexists(target):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(AT_FDCWD, os.fsencode(aside), AT_FDCWD, os.fsencode(target), RENAME_EXCHANGE):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), target)
        sync_folder(os.path.dirname(target))
        delete(aside)
    else:
        os.rename(aside, target)
        sync_folder(os.path.dirname(target))


def sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def btrfs_settle(request: dict[str, Any]) -> dict[str, Any]:
    """At the source: of our snapshots only the one that the replica has as well is of use."""
    for name in held(request["folder"]):
        if name != request["keep"]:
            delete(os.path.join(request["folder"], name))
    return {"settled": True}


def btrfs_drop(request: dict[str, Any]) -> dict[str, Any]:
    """At the source: what was held for a transfer that came to nothing."""
    delete(os.path.join(request["folder"], request["name"]))
    return {"dropped": True}
