"""Takes, lists and deletes points of one file tree or block volume, on the host that has it.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only.

Rules: a point is made aside and renamed when it is durable, so a crash leaves a point or none; what a crash left aside
is removed by the next take; only folders with a `point.json` of ours are listed or deleted.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import secrets
import stat
import subprocess
import sys
import time
from typing import Any

FORMAT = "skerry point/v1"
MAKING = ".making-"
DELETING = ".deleting-"


def say(value: dict[str, Any]) -> None:
    sys.stdout.write("result " + json.dumps(value) + "\n")
    sys.stdout.flush()


class Refused(Exception):
    """Something of the host's refuses; the words are for the operator."""


def run(words: list[str]) -> bytes:
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=dict(os.environ, LC_ALL="C.UTF-8")
    )
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Refused(words[0] + ": " + (lines[-1] if lines else f"exit code {done.returncode}"))
    return done.stdout


def run_code(words: list[str]) -> int:
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode


def sync(path: str, *, whole_file_system: bool) -> None:
    """Make a folder, or all of its file system, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if whole_file_system:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), path)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_note(folder: str) -> dict[str, Any] | None:
    """What `point.json` of a folder says, None where it is not one of ours."""
    try:
        with open(os.path.join(folder, "point.json"), "rb") as stream:
            note = json.loads(stream.read(65536))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and note.get("format") == FORMAT else None


def write_note(folder: str, note: dict[str, Any]) -> None:
    aside = os.path.join(folder, "point.json.new")
    with open(aside, "w", encoding="utf-8") as stream:
        json.dump(note, stream, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(aside, os.path.join(folder, "point.json"))


# --- kinds: how a tree is held, and let go --------------------------------------------------------------------------


def hold_by_links(tree: str, held: str) -> None:
    """Files are shared with the tree: right only where a file is never written in place."""
    run(["cp", "-al", "--", tree, held])


def hold_by_copy(tree: str, held: str) -> None:
    """Blocks are shared where the file system can (reflink), else copied."""
    run(["cp", "-a", "--reflink=auto", "--sparse=auto", "--", tree, held])


def hold_by_reflink(tree: str, held: str) -> None:
    run(["cp", "-a", "--reflink=always", "--sparse=auto", "--", tree, held])


def hold_by_btrfs(tree: str, held: str) -> None:
    run(["btrfs", "subvolume", "snapshot", "-r", "--", tree, held])


def hold_image(image: str, held: str) -> None:
    """A file shares its blocks, which is one moment. Where it cannot, or for a device, nothing may change meanwhile."""
    keep = "--preserve=mode,ownership,timestamps"
    is_device = stat.S_ISBLK(os.stat(image).st_mode)
    if not is_device:
        try:
            run(["cp", "--reflink=always", keep, "--", image, held])
            return
        except Refused:
            if os.path.exists(held):
                os.unlink(held)
    before = os.stat(image)
    run(["cp", "--reflink=never", "--sparse=always", *([] if is_device else [keep]), "--", image, held])
    after = os.stat(image)
    # A device does not tell when it was written, so all of it is read again.
    moved = (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size)
    if moved or (is_device and run_code(["cmp", "-s", "--", image, held])):
        raise Refused(f"{image} changed while it was held, and its blocks cannot be shared here")


HOLD = {
    "links": hold_by_links,
    "copy": hold_by_copy,
    "reflink": hold_by_reflink,
    "btrfs": hold_by_btrfs,
    "image": hold_image,
}
# What holds the dataset within the folder of a point.
TREE, VOLUME = "tree", "volume"


def let_go(kind: str, held: str) -> None:
    if kind == "btrfs" and os.path.lexists(held):
        run(["btrfs", "subvolume", "delete", "-c", "--", held])


def remove(folder: str, kind: str) -> None:
    let_go(kind, os.path.join(folder, TREE))
    run(["rm", "-rf", "--one-file-system", "--", folder])


# --- requests -------------------------------------------------------------------------------------------------------


def sweep(points: str) -> None:
    """Remove what a crash left aside; its lock is ours, so nobody is at it."""
    for name in os.listdir(points):
        if name.startswith((MAKING, DELETING)):
            folder = os.path.join(points, name)
            kind = "btrfs" if is_subvolume(os.path.join(folder, TREE)) else ""
            remove(folder, kind)


def is_subvolume(path: str) -> bool:
    """Whether a folder is the top of a btrfs subvolume: its inode number is always 256."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return found.st_ino == 256 and os.path.isdir(path) and not os.path.islink(path)


def is_volume(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)


def take(request: dict[str, Any]) -> dict[str, Any]:
    tree, points, point, kind = request["tree"], request["points"], request["point"], request["kind"]
    if kind == "image":
        if not is_volume(tree):
            raise Refused(f"{tree} is neither a file nor a block device")
    elif not os.path.isdir(tree):
        raise Refused(f"{tree} is not a folder")
    final = os.path.join(points, point)
    note = read_note(final)
    if note is not None:
        return note
    if os.path.lexists(final):
        raise Refused(f"{final} is there and was not made by skerry")
    if os.lstat(tree).st_dev != os.lstat(points).st_dev and kind == "links":
        raise Refused(f"{tree} is the top of a file system of its own; points beside it cannot share its files")
    sweep(points)
    aside = os.path.join(points, MAKING + point)
    os.mkdir(aside, 0o700)
    started = time.monotonic()
    try:
        HOLD[kind](tree, os.path.join(aside, VOLUME if kind == "image" else TREE))
        note = {
            "format": FORMAT,
            "point": point,
            "dataset": request["dataset"],
            "tree": tree,
            "kind": kind,
            "made_at": request["made_at"],
            "seconds": round(time.monotonic() - started, 4),
        }
        write_note(aside, note)
        sync(points, whole_file_system=True)
        os.rename(aside, final)
        sync(points, whole_file_system=False)
    except BaseException:
        remove(aside, kind)
        raise
    return note


def known(request: dict[str, Any]) -> list[dict[str, Any]]:
    points = request["points"]
    found = []
    for name in sorted(os.listdir(points)) if os.path.isdir(points) else ():
        note = None if name.startswith(".") else read_note(os.path.join(points, name))
        if note is not None and note.get("point") == name:
            found.append(note)
    return sorted(found, key=lambda note: (note["made_at"], note["point"]))


def delete(request: dict[str, Any]) -> None:
    final = os.path.join(request["points"], request["point"])
    note = read_note(final)
    if note is None:
        return
    if note.get("holds"):
        raise Refused("it is held by " + ", ".join(note["holds"]))
    aside = os.path.join(request["points"], DELETING + request["point"] + "-" + secrets.token_hex(4))
    os.rename(final, aside)  # at once gone from the list; a crash meanwhile is swept
    remove(aside, note.get("kind", ""))
    sync(request["points"], whole_file_system=False)


def change_holds(request: dict[str, Any]) -> dict[str, Any] | None:
    """The point with the asked hold taken or released; None where there is no point."""
    final = os.path.join(request["points"], request["point"])
    note = read_note(final)
    if note is None:
        if request["do"] == "hold":
            raise Refused("there is no such point to hold")
        return None
    others = [name for name in note.get("holds", ()) if name != request["by"]]
    holds = sorted([*others, request["by"]] if request["do"] == "hold" else others)
    if holds != note.get("holds", []):
        note["holds"] = holds
        write_note(final, note)
        sync(final, whole_file_system=False)
    return note


def answer(request: dict[str, Any]) -> dict[str, Any]:
    points = request["points"]
    if request["do"] == "list":
        return {"points": known(request)}
    if request["do"] == "delete" and not os.path.isdir(points):
        return {"deleted": True}
    os.makedirs(points, mode=0o700, exist_ok=True)
    guard = os.open(points, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(guard, fcntl.LOCK_EX)
    if request["do"] == "take":
        return {"point": take(request)}
    if request["do"] in ("hold", "release"):
        return {"point": change_holds(request)}
    delete(request)
    return {"deleted": True}


def main() -> None:
    request = json.loads(sys.argv[1])
    try:
        say(answer(request))
    except Refused as error:
        no_room = "No space left on device" in str(error) or "quota exceeded" in str(error)
        say({"refused": str(error), "no_space": no_room})
    except OSError as error:
        no_room = error.errno in (errno.ENOSPC, errno.EDQUOT)
        say({"refused": f"{error.filename}: {os.strerror(error.errno or 0)}", "no_space": no_room})


if __name__ == "__main__":
    main()
