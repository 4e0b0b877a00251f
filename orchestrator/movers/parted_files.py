"""What two trees hold differently, file by file, with what an account of writes needs: whose it is, bytes, times."""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.contracts.programs import printable
from orchestrator.contracts.transport import Transport
from orchestrator.contracts.trees import FileState, PartedFile
from orchestrator.movers.tree_digests import ask, unpack_folders, unpack_listing

FOLDERS_ASKED_AT_ONCE = 100


def parted_files(
    one: Transport, one_path: str, other: Transport, other_path: str, *, limit: int
) -> Sequence[PartedFile]:
    """At most `limit` of them, by folder. Only entries of folders that differ, or that one side has alone, are sent."""
    found: list[PartedFile] = []
    for folder, here, there in _parted_folders(one, one_path, other, other_path):
        for name in sorted(here.keys() | there.keys()):
            if here.get(name) != there.get(name):
                path = printable(f"{folder}/{name}" if folder else name)
                sides = here.get(name), there.get(name)
                found.append(PartedFile(path, *(None if record is None else _state(record) for record in sides)))
                if len(found) == limit:
                    return found
    return found


def _parted_folders(
    one: Transport, one_path: str, other: Transport, other_path: str
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each folder that is not the same at both, with the records of its files; folders themselves hold no writes."""
    first = ask(one, {"path": one_path, "shallow": True}, "")
    second = ask(other, {"path": other_path, "shallow": True}, "")
    if first["digest"] == second["digest"]:
        return
    left, right = dict(unpack_folders(first["folders"])), dict(unpack_folders(second["folders"]))
    parted = sorted(path for path in left.keys() | right.keys() if left.get(path) != right.get(path))
    for start in range(0, len(parted), FOLDERS_ASKED_AT_ONCE):
        some = parted[start : start + FOLDERS_ASKED_AT_ONCE]
        here = _listed(one, one_path, [folder for folder in some if folder in left])
        there = _listed(other, other_path, [folder for folder in some if folder in right])
        for folder in some:
            yield folder, here.get(folder, {}), there.get(folder, {})


def _listed(transport: Transport, path: str, folders: list[str]) -> dict[str, dict[str, Any]]:
    if not folders:
        return {}
    listing = unpack_listing(ask(transport, {"path": path, "folders": folders}, ""))
    return {
        folder: {record[0]: record for record in found["records"] if record[1] != "d"}
        for folder, found in listing.items()
    }


def _state(record: Sequence[Any]) -> FileState:
    _, kind, _, _, _, mtime_ns, _, content = record
    # Of a regular file the record's content is its size and then its digest, as the host packed them.
    size = struct.unpack("<Q", bytes.fromhex(content[:16]))[0] if kind == "f" else 0
    return FileState(size, mtime_ns)
