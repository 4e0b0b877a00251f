"""Snapshots of a file tree that is the top of a ZFS dataset: taken and marked at the source, received at the replica.

Snapshots and bookmarks of ours begin with `skerrysend-`; nothing else is destroyed. What both sides have is known by
its GUID alone. A broken receive is kept by ZFS, with a token by which the source goes on where it ended.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

from orchestrator.movers.host_programs.snapshot_send.piping import Broken, lock, refuse_open, run_tool, stream

SENT = "skerrysend-"


def zfs(*words: str) -> str:
    return run_tool("zfs", *words)


def top_at(path: str) -> str:
    """The dataset that is mounted at `path`; refused where the path is only a folder within one."""
    try:
        name, mounted_at = zfs("list", "-H", "-o", "name,mountpoint", path).strip().split("\t")
    except Broken as error:
        raise Broken("cannot", f"{path} does not lie on ZFS: {error}") from None
    if mounted_at != path:
        raise Broken("cannot", f"{path} is not the top of a ZFS dataset, it lies within {name} at {mounted_at}")
    return name


def versions(dataset: str) -> list[dict[str, Any]]:
    """Snapshots and bookmarks of a dataset, oldest first."""
    columns = "name,guid,createtxg"
    words = ["list", "-H", "-p", "-t", "snapshot,bookmark", "-d", "1", "-s", "createtxg", "-o", columns, dataset]
    rows = [line.split("\t") for line in zfs(*words).splitlines()]
    return [{"name": name, "guid": guid, "order": int(order)} for name, guid, order in rows]


def is_ours(name: str, dataset: str) -> bool:
    return name.startswith((f"{dataset}@{SENT}", f"{dataset}#{SENT}"))


def zfs_hold(request: dict[str, Any]) -> dict[str, Any]:
    """At the source: the snapshot to send (a point, or one taken now), and what the difference can be made from.

    What earlier transfers to this replica took and never finished is let go of, but for what it `has`.
    """
    dataset = top_at(request["live"])
    for each in versions(dataset):
        if each["name"].startswith(f"{dataset}@{SENT}{request['replica']}-") and each["guid"] != request["has"]:
            zfs("destroy", each["name"])
    name = f"{dataset}@{request['point'] or request['name']}"
    if not request["point"]:
        zfs("snapshot", name)
    known = versions(dataset)
    found = next((each for each in known if each["name"] == name), None)
    if found is None:
        raise Broken("source", f"there is no snapshot {name}")
    return {**found, "dataset": dataset, "earlier": [each for each in known if each["order"] < found["order"]]}


def zfs_look(request: dict[str, Any]) -> dict[str, Any]:
    """At the replica: the dataset to receive into, what it has, and the token of a receive that broke off."""
    target = request["target"]
    if os.path.lexists(target):
        dataset = top_at(target)
    else:
        dataset = f"{top_at(os.path.dirname(target))}/{os.path.basename(target)}"
        if dataset not in zfs("list", "-H", "-o", "name", "-t", "filesystem").splitlines():
            return {"dataset": dataset, "versions": [], "token": None}
    told = zfs("get", "-H", "-o", "value", "receive_resume_token", dataset).strip()
    found = [each for each in versions(dataset) if "@" in each["name"]]
    return {"dataset": dataset, "versions": found, "token": None if told == "-" else told}


def zfs_token(request: dict[str, Any]) -> dict[str, Any]:
    """At the source: the GUID of the snapshot that a token resumes; none where it cannot be resumed any more."""
    try:
        said = zfs("send", "-n", "-v", "-t", request["token"])
    except Broken:
        return {"guid": ""}
    words = [line.split() for line in said.splitlines()]
    found = [line[2] for line in words if line[:2] == ["toguid", "="]]
    return {"guid": str(int(found[0], 16)) if found else ""}


def zfs_abort(request: dict[str, Any]) -> dict[str, Any]:
    """At the replica: let go of what a broken receive left."""
    zfs("receive", "-A", request["dataset"])
    return {"aborted": True}


def zfs_rollback(request: dict[str, Any]) -> dict[str, Any]:
    """At the replica, which has the snapshot already: what was written there since does not stay."""
    refuse_open(request)
    zfs("rollback", request["name"])
    return {"bytes_wire": 0, "seconds": 0.0}


def zfs_receive(request: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    dataset, name = request["dataset"], f"{request['dataset']}@{SENT}{request['guid']}"
    guard = lock("/run/skerry-zfs-" + hashlib.sha256(dataset.encode()).hexdigest()[:16])
    refuse_open(request)
    # -F gives up what was written there since the last snapshot; ZFS itself refuses to destroy a snapshot for it.
    bytes_wire = stream(request, ["zfs", "receive", "-s", "-F", name])
    here = {each["name"]: each["guid"] for each in versions(dataset)}
    if here.get(name) != request["guid"]:
        raise Broken("target", f"what was received is not the snapshot {request['guid']} that was sent")
    for each in here:
        if is_ours(each, dataset) and each != name:
            zfs("destroy", each)
    os.close(guard)
    return {"bytes_wire": bytes_wire, "seconds": round(time.monotonic() - started, 4)}


def zfs_settle(request: dict[str, Any]) -> dict[str, Any]:
    """At the source: a bookmark stands for what was sent, so that no snapshot must be kept for the next difference."""
    dataset, mark = request["dataset"], f"{request['dataset']}#{SENT}{request['replica']}-"
    known = versions(dataset)
    if f"{mark}{request['guid']}" not in [each["name"] for each in known]:
        (sent,) = [each["name"] for each in known if each["guid"] == request["guid"] and "@" in each["name"]]
        zfs("bookmark", sent, f"{mark}{request['guid']}")
    old = [each["name"] for each in known if each["name"].startswith(mark) and each["guid"] != request["guid"]]
    taken = f"{dataset}@{SENT}{request['replica']}-"
    for name in old + [each["name"] for each in known if each["name"].startswith(taken)]:
        zfs("destroy", name)
    return {"settled": True}


def zfs_drop(request: dict[str, Any]) -> dict[str, Any]:
    """At the source: a snapshot that was taken for a transfer that came to nothing."""
    if request["name"] in [each["name"] for each in versions(request["dataset"])]:
        zfs("destroy", request["name"])
    return {"dropped": True}
