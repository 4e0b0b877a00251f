"""At the source: what a dirty bitmap of QEMU says has changed, for raw images that it has open.

A bitmap is begun at the moment of each copy. It is believed for the next one only if it is there, enabled and
consistent, on the very image, and the replica is just what the source was when it began. Whatever else there is, is
said, and everything is read.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
from typing import Any

from orchestrator.movers.host_programs.block_delta.change_log import write_note
from orchestrator.movers.host_programs.block_delta.leaves import LEAF_BYTES, PAGE_BYTES, leaf_size

PREFIX = "skerry-"
QMP_SECONDS_MAX = 30.0
EXPORT = "skerry-changes"


class Unsure(Exception):
    """Why a bitmap is not to be believed, or cannot be asked."""


class Qmp:
    """A monitor of QEMU on a socket of this host."""

    def __init__(self, path: str) -> None:
        self.line = socket.socket(socket.AF_UNIX)
        self.line.settimeout(QMP_SECONDS_MAX)
        try:
            self.line.connect(path)
            self.stream = self.line.makefile("rb")
            self.stream.readline()
            self.ask("qmp_capabilities")
        except OSError as error:
            self.line.close()
            raise Unsure(f"no monitor answers at {path}: {error.strerror or error}") from None

    def ask(self, command: str, **arguments: Any) -> Any:
        self.line.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            said = self.stream.readline()
            if not said:
                raise Unsure("the monitor ended")
            answer = json.loads(said)
            if "error" in answer:
                raise Unsure(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def close(self) -> None:
        self.stream.close()
        self.line.close()


def begin_bitmap(request: dict[str, Any]) -> dict[str, Any]:
    """Begin a bitmap at this moment; tell what the one before says, or why everything must be read."""
    asked, work = request["bitmap"], request["work"]
    os.makedirs(work, mode=0o700, exist_ok=True)
    known = read_note(os.path.join(work, "bitmap.json"))
    try:
        monitor = Qmp(asked["qmp"])
    except Unsure as error:
        return {"bitmap": "", "why": str(error)}
    try:
        bitmaps = bitmaps_of(monitor, asked["node"], request["target"])
        # By the page, as far as the memory of QEMU for it stays small: 8 MiB at most.
        granularity = PAGE_BYTES * leaf_size(os.stat(request["target"]).st_size) // LEAF_BYTES
        return begun(monitor, asked, work, known, bitmaps, granularity)
    except (Unsure, OSError) as error:
        return {"bitmap": "", "why": str(error)}
    finally:
        monitor.close()


def begun(
    monitor: Qmp,
    asked: dict[str, Any],
    work: str,
    known: dict[str, Any],
    bitmaps: dict[str, dict[str, Any]],
    granularity: int,
) -> dict[str, Any]:
    node, before = asked["node"], str(known.get("bitmap", ""))
    for name in bitmaps:
        if name.startswith(PREFIX) and name != before:
            monitor.ask("block-dirty-bitmap-remove", node=node, name=name)  # of a copy that came to nothing
    why = unsure_of(before, bitmaps)
    begins, frozen = PREFIX + secrets.token_hex(8), PREFIX + secrets.token_hex(8)
    begin = {"node": node, "name": begins, "granularity": granularity}
    actions = [{"type": "block-dirty-bitmap-add", "data": begin}]
    if not why:
        merged = {"node": node, "target": frozen, "bitmaps": [before]}
        actions += [
            {"type": "block-dirty-bitmap-add", "data": {**begin, "name": frozen, "disabled": True}},
            {"type": "block-dirty-bitmap-merge", "data": merged},
        ]
    monitor.ask("transaction", actions=actions)
    if why:
        return {"bitmap": begins, "why": why}
    ranges = dirty_ranges(monitor, asked, work, frozen)
    monitor.ask("block-dirty-bitmap-remove", node=node, name=frozen)
    path = os.path.join(work, "changed.json")
    write_note(path, {"ranges": ranges})
    return {"bitmap": begins, "why": "", "ranges": path, "digest": known["digest"]}


def unsure_of(name: str, bitmaps: dict[str, dict[str, Any]]) -> str:
    if not name:
        return "no bitmap was begun before"
    found = bitmaps.get(name)
    if found is None:
        return f"the bitmap {name} is missing"
    if found.get("inconsistent"):
        return f"the bitmap {name} is inconsistent"
    return "" if found.get("recording") else f"the bitmap {name} did not record all the time"


def bitmaps_of(monitor: Qmp, node: str, path: str) -> dict[str, dict[str, Any]]:
    """Bitmaps of a node by name, if the node is the raw image at `path` from its first byte to its last."""
    for found in monitor.ask("query-named-block-nodes"):
        if found.get("node-name") == node:
            image = found["image"]
            if found["drv"] not in ("raw", "file"):
                raise Unsure(f"node {node} is {found['drv']}: only raw images lie in their file as guests see them")
            if not os.path.samefile(found["file"], path):
                raise Unsure(f"node {node} is {found['file']}")
            if image["virtual-size"] != os.stat(path).st_size:
                raise Unsure(f"node {node} shows only a part of its file")
            return {each["name"]: each for each in found.get("dirty-bitmaps", ()) if "name" in each}
    raise Unsure(f"QEMU has no node {node}")


def dirty_ranges(monitor: Qmp, asked: dict[str, Any], work: str, bitmap: str) -> list[list[int]]:
    """Ranges of bytes that a bitmap marks, over an NBD export of its own."""
    address = asked.get("nbd") or os.path.join(work, "nbd")
    if not asked.get("nbd"):
        if os.path.exists(address):
            os.unlink(address)
        monitor.ask("nbd-server-start", addr={"type": "unix", "data": {"path": address}})
    try:
        export = {"type": "nbd", "id": EXPORT, "node-name": asked["node"], "name": EXPORT, "bitmaps": [bitmap]}
        monitor.ask("block-export-add", **export)
        try:
            return mapped(address, bitmap)
        finally:
            monitor.ask("block-export-del", id=EXPORT, mode="hard")
    finally:
        if not asked.get("nbd"):
            monitor.ask("nbd-server-stop")


def mapped(address: str, bitmap: str) -> list[list[int]]:
    options = f"driver=nbd,server.type=unix,server.path={address},export={EXPORT}"
    options += f",x-dirty-bitmap=qemu:dirty-bitmap:{bitmap}"
    words = ["qemu-img", "map", "--output=json", "--image-opts", options]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        raise Unsure("qemu-img is not installed there") from None
    if done.returncode:
        raise Unsure(done.stderr.decode("utf-8", "replace").strip() or "qemu-img map failed")
    # What the bitmap marks is shown as what holds no data.
    return [[each["start"], each["start"] + each["length"]] for each in json.loads(done.stdout) if not each["data"]]


def settle_bitmap(request: dict[str, Any]) -> dict[str, Any]:
    """After the copy: the bitmap that was begun with it tells what the next one needs."""
    asked, note = request["bitmap"], os.path.join(request["work"], "bitmap.json")
    before = str(read_note(note).get("bitmap", ""))
    write_note(note, {"bitmap": request["begun"], "digest": request["digest"]})
    try:
        monitor = Qmp(asked["qmp"])
    except Unsure:
        return {"settled": True}  # the next copy finds what is left
    try:
        if before:
            monitor.ask("block-dirty-bitmap-remove", node=asked["node"], name=before)
    except Unsure:
        pass  # it is gone already
    finally:
        monitor.close()
    return {"settled": True}


def read_note(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            note = json.load(stream)
    except (FileNotFoundError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
