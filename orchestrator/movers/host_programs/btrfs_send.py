"""Holds, receives and puts in place snapshots of a file tree that is a btrfs subvolume, on the host that has it.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only.

Rules: only snapshots in a folder of ours are deleted; what a broken run received has no received UUID, is believed by
nobody and is removed by the next; the live tree is exchanged in one step for a writable snapshot of what was received.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

MYPY = False  # true for the type checker alone: importing typing would double the start of this program
if MYPY:
    from typing import Any

PIECE_BYTES = 1 << 20
RENAME_EXCHANGE = 2
AT_FDCWD = -100
OURS = "s-"  # every snapshot of ours is called so
LIVE_NEW = "live.new"


class Broken(Exception):
    """Something of the world refuses; kind and words go to whoever asked."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def say(kind: str, value: dict[str, Any]) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


def btrfs(*words: str) -> str:
    try:
        done = subprocess.run(
            ["btrfs", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env=dict(os.environ, LC_ALL="C"),
        )
    except FileNotFoundError:
        raise Broken("cannot", "btrfs-progs is not installed there") from None
    if done.returncode:
        raise Broken(*judged("target", done.stderr))
    return done.stdout.decode("utf-8", "replace")


def judged(kind: str, said: bytes) -> tuple[str, str]:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    text = "\n".join(lines)
    full = "No space left on device" in text or "quota exceeded" in text.lower()
    return "full" if full else kind, lines[-1].removeprefix("ERROR: ") if lines else "btrfs ended without a word"


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


def lock(folder: str) -> int:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Broken("busy", "another run copies to it") from None
    return descriptor


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


def hold(request: dict[str, Any]) -> dict[str, Any]:
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


def look(request: dict[str, Any]) -> dict[str, Any]:
    """At the replica: what was received whole, and is as it was received."""
    usable(request["target"], must_exist=False)
    found = [{"name": name, **identity(os.path.join(request["folder"], name))} for name in held(request["folder"])]
    return {"received": [each for each in found if each["received"] and each["readonly"]]}


def receive(request: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    folder, name, target = request["folder"], request["name"], request["target"]
    guard = lock(folder)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    delete(os.path.join(folder, LIVE_NEW))
    for left in held(folder):
        facts = identity(os.path.join(folder, left))
        if not facts["received"] or not facts["readonly"]:
            delete(os.path.join(folder, left))
    bytes_wire = stream(request, folder)
    path = os.path.join(folder, name)
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


def stream(request: dict[str, Any], folder: str) -> int:
    """What the source sends, into `btrfs receive`; the bytes that came."""
    source = subprocess.Popen(
        request["words"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lead_group,
    )
    sink = subprocess.Popen(
        ["btrfs", "receive", "-e", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ, LC_ALL="C"),
        preexec_fn=follow_parent,
    )
    if source.stdout is None or source.stderr is None or sink.stdin is None or sink.stderr is None:
        raise Broken("link", "programs were started without pipes")
    count, next_word, began = 0, time.monotonic() + 0.5, time.monotonic()
    rate = float(request.get("bytes_per_second") or 0)
    try:
        while True:
            piece = os.read(source.stdout.fileno(), PIECE_BYTES)
            if not piece:
                break
            count += len(piece)
            sink.stdin.write(piece)
            if rate and count / rate > time.monotonic() - began:
                time.sleep(count / rate - (time.monotonic() - began))
            if time.monotonic() >= next_word:
                next_word = time.monotonic() + 0.5
                say("progress", {"bytes": count})
        sink.stdin.close()
    except BrokenPipeError:
        os.killpg(source.pid, signal.SIGKILL)  # receive has ended, and says why below
    said, refused = source.stderr.read(), sink.stderr.read()
    codes = source.wait(), sink.wait()
    if codes[1] or codes[0]:
        delete(os.path.join(folder, request["name"]))
    if codes[1] and judged("target", refused)[0] == "full":
        raise Broken(*judged("target", refused))
    if codes[0] > 0:
        kind = "link" if codes[0] == 255 else "source"
        raise Broken(kind, said.decode("utf-8", "replace").strip().splitlines()[-1] if said.strip() else "ssh ended")
    if codes[1]:
        raise Broken(*judged("target", refused))
    if codes[0]:
        raise Broken("link", "the other side ended")
    return count


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


def settle(request: dict[str, Any]) -> dict[str, Any]:
    """At the source: of our snapshots only the one that the replica has as well is of use."""
    for name in held(request["folder"]):
        if name != request["keep"]:
            delete(os.path.join(request["folder"], name))
    return {"settled": True}


def drop(request: dict[str, Any]) -> dict[str, Any]:
    """At the source: what was held for a transfer that came to nothing."""
    delete(os.path.join(request["folder"], request["name"]))
    return {"dropped": True}


def lead_group() -> None:
    """It ends with us, and can be ended with all that it starts."""
    follow_parent()
    os.setpgid(0, 0)


def follow_parent() -> None:
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


def main() -> None:
    request = json.loads(sys.argv[1])
    deeds = {"hold": hold, "look": look, "receive": receive, "settle": settle, "drop": drop}
    try:
        say("result", deeds[request["do"]](request))
    except Broken as error:
        say("result", {"broken": error.kind, "why": str(error)})
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = f"{error.filename}: {os.strerror(error.errno or 0)}"
        say("result", {"broken": "full" if full else "target", "why": why})


if __name__ == "__main__":
    main()
