"""Puts an image's blocks into a snapshot, reads a snapshot back, and keeps what later runs need."""

from __future__ import annotations

import base64
import hashlib
import os
from contextlib import suppress

from orchestrator.targets.host_programs.cloud_data.blocks import (
    BLOCK,
    ZEROS,
    ZEROS_DIGEST,
    Image,
    Journal,
    VolumeDigest,
    digests_in,
    forget_but,
    linear_digest,
    write_digests,
)
from orchestrator.targets.host_programs.cloud_data.calls import Refused
from orchestrator.targets.host_programs.cloud_data.crew import Crew, only_one
from orchestrator.targets.host_programs.cloud_data.ebs import DirectApis

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Callable
    from typing import Any


def put(request: dict[str, Any], service: DirectApis) -> dict[str, Any]:
    """Bring into the snapshot whatever differs from its parent, but what an earlier try brought already."""
    work, snapshot = request["work"], request["snapshot"]
    lock = only_one(work)
    image = Image(request["path"])
    journal = Journal(os.path.join(work, snapshot + ".put"))
    parent = digests_of(request["parent"], work, service)
    resumed = len(journal.done)
    found: dict[int, bytes] = {}
    counts = {"sent": 0}

    def one(number: int) -> int:
        content = ZEROS if image.is_hole(number) else image.read(number)
        digest = ZEROS_DIGEST if content == ZEROS else hashlib.sha256(content).digest()
        if digest != ZEROS_DIGEST:
            found[number] = digest
        if digest != journal.done.get(number, parent.get(number, ZEROS_DIGEST)):
            service.put_block(snapshot, number, content, digest)
            journal.add(number, digest)
            with crew.lock:
                counts["sent"] += 1
        return BLOCK

    crew = Crew(request["streams"], image.count * BLOCK)
    crew.work(iter(range(image.count)), one)
    # A parent that was longer would show through.
    crew.work(iter([number for number in parent if number >= image.count]), one_of_zeros(service, snapshot, journal))
    write_digests(os.path.join(work, snapshot + ".candidate"), found)
    journal.close()
    image.close()
    lock.close()
    return {
        "size": image.size,
        "blocks": image.count,
        "blocks_with_data": len(found),
        "blocks_written": len(journal.done),
        "blocks_sent": counts["sent"],
        "blocks_resumed": resumed,
        "aggregate": base64.b64encode(linear_digest(journal.done)).decode(),
    }


def digests_of(parent: str, work: str, service: DirectApis) -> dict[int, bytes]:
    """Of the parent's blocks, as they are remembered here; where that was forgotten, whatever it holds differs."""
    kept = os.path.join(work, parent + ".blocks")
    if not parent or os.path.exists(kept):
        return digests_in(kept) if parent else {}
    return {number: b"" for number, _ in service.listed(parent)}


def one_of_zeros(service: DirectApis, snapshot: str, journal: Journal) -> Callable[[int], int]:
    def one(number: int) -> int:
        if journal.done.get(number) != ZEROS_DIGEST:
            service.put_block(snapshot, number, ZEROS, ZEROS_DIGEST)
            journal.add(number, ZEROS_DIGEST)
        return BLOCK

    return one


def read_back(request: dict[str, Any], service: DirectApis) -> dict[str, Any]:
    """What the snapshot holds, as a digest of the volume; the image itself is not looked at.

    Of a parent that was read back here, its leaves are remembered: then only what differs from it is read.
    """
    work, snapshot, parent = request["work"], request["snapshot"], request["parent"]
    volume = VolumeDigest(request["size"])
    known_already = bool(parent) and volume.go_on_from(os.path.join(work, parent + ".leaves"))
    listed = list(service.changed(parent, snapshot) if known_already else service.listed(snapshot))

    def one(block: tuple[int, str]) -> int:
        number, token = block
        if not volume.add(number, service.get_block(snapshot, number, token) if token else ZEROS):
            raise Refused("BeyondTheEnd", f"block {number} holds data beyond the end of the volume", 0)
        return BLOCK

    Crew(request["streams"], len(listed) * BLOCK).work(iter(listed), one)
    os.makedirs(work, mode=0o700, exist_ok=True)
    volume.keep(os.path.join(work, snapshot + ".leaves-candidate"))
    return {"digest": volume.text(), "blocks_read": len(listed), "blocks_with_data": volume.blocks_with_data()}


def known(request: dict[str, Any]) -> dict[str, Any]:
    """Snapshots whose blocks are remembered here, and the image's size."""
    image = Image(request["path"])
    image.close()
    try:
        names = os.listdir(request["work"])
    except FileNotFoundError:
        names = []
    return {"size": image.size, "parents": sorted(name[:-7] for name in names if name.endswith(".blocks"))}


def settle(request: dict[str, Any]) -> dict[str, Any]:
    """The snapshot is proved: the next one may be its child."""
    work, snapshot = request["work"], request["snapshot"]
    for proved, name in (("candidate", "blocks"), ("leaves-candidate", "leaves")):
        with suppress(FileNotFoundError):  # the same run on another machine was faster
            os.replace(os.path.join(work, f"{snapshot}.{proved}"), os.path.join(work, f"{snapshot}.{name}"))
    forget_but(work, [snapshot])
    return {"settled": snapshot}
