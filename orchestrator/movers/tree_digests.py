"""Asks hosts for digests of their trees, and finds what two hosts differ in."""

import base64
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.contracts.programs import name_some, printable, root_user, run_program
from orchestrator.contracts.progress import Progress, ProgressSink, Rated
from orchestrator.contracts.transport import Transport
from orchestrator.contracts.trees import Reading
from orchestrator.foundation.errors import DataError, SourceChanged
from orchestrator.model.transfer import ContentDigest

PROGRAM = Path(__file__).with_name("host_programs") / "tree_digest"
DIGEST_SECONDS_MAX = 24 * 3600.0
FOLDERS_COMPARED_MAX = 200  # a mismatch is shown by its first paths; a tree that differs everywhere needs no list
KINDS = {
    "f": "file", "d": "folder", "l": "symbolic link", "p": "FIFO", "s": "socket", "b": "block device", "c": "device",
}  # fmt: skip


def tree_digest(
    transport: Transport,
    path: str,
    dataset: str,
    *,
    reading: Reading = "all",
    progress: ProgressSink | None = None,
) -> ContentDigest:
    """The digest of the tree at `path` of the host, as that host makes it.

    Raises SourceChanged, naming them, when entries moved while
    they were read; DataError when the tree or anything in it cannot be read: never a digest of a part.
    """
    request: dict[str, Any] = {"path": path}
    if reading != "all":
        request |= {"scrub": reading == "scrub", "known": known_file(path)}
    result = ask(transport, request, dataset, progress)
    if result["decayed_count"]:
        raise DataError(
            f"{transport.host.name}:{path}: {name_some(result['decayed'], result['decayed_count'])}",
            hint="The disk, or somebody below the file system, changed them. Restore them from another copy.",
        )
    return ContentDigest(
        dataset=dataset,
        host=transport.host.name,
        digest=result["digest"],
        algorithm="tree/v1",
        bytes_read=result["bytes"],
        entries=result["entries"],
        seconds=result["seconds"],
    )


def known_file(path: str) -> str:
    """Where a host keeps what it read of a tree: beside the tree, where its points lie too."""
    tree = PurePosixPath(path)
    return str(tree.parent / ".skerry-points" / f"{tree.name}.known")


def ask(
    transport: Transport, request: dict[str, Any], dataset: str, progress: ProgressSink | None = None
) -> dict[str, Any]:
    host, show = transport.host, Rated(progress)

    def hear(kind: str, value: dict[str, Any]) -> None:
        if kind == "progress":
            show(Progress(dataset=dataset, text=f"digest at {host.name}", bytes_done=value["bytes"]))

    result = run_program(
        transport,
        PROGRAM,
        request,
        user=root_user(host),
        timeout_seconds=DIGEST_SECONDS_MAX,
        on_event=hear if progress is not None else None,
    )
    where = f"{host.name}:{request['path']}"
    if "missing" in result:
        raise DataError(f"{where} cannot be digested: {result['missing']}")
    if result.get("errors_count"):
        raise DataError(
            f"{where} cannot be digested: {name_some(result['errors'], result['errors_count'])}",
            hint="Could not compare counts as failed. Mend the named entries, then run the same command again.",
        )
    if result.get("moved_count"):
        raise SourceChanged(
            f"{where} changed while it was digested: {name_some(result['moved'], result['moved_count'])}"
        )
    return result


def tree_differences(one: Transport, one_path: str, other: Transport, other_path: str, *, limit: int) -> list[str]:
    """Where two trees differ, with why; empty when they are equal.

    Each host digests every folder for itself; only the entries of folders that differ are sent here.
    """
    first = ask(one, {"path": one_path, "shallow": True}, "")
    second = ask(other, {"path": other_path, "shallow": True}, "")
    if first["digest"] == second["digest"]:
        return []
    left, right = dict(unpack_folders(first["folders"])), dict(unpack_folders(second["folders"]))
    names = one.host.name, other.host.name
    differing = sorted(path for path in left.keys() & right.keys() if left[path] != right[path])
    # A folder that is on one side only is named once, by its highest missing ancestor.
    found = [f"{printable(path) or '.'}: folder only at {names[0]}" for path in topmost(left.keys() - right.keys())]
    found += [f"{printable(path) or '.'}: folder only at {names[1]}" for path in topmost(right.keys() - left.keys())]
    compared = differing[: min(FOLDERS_COMPARED_MAX, limit)]
    if compared:
        entries = [
            unpack_listing(ask(transport, {"path": path, "folders": compared}, ""))
            for transport, path in ((one, one_path), (other, other_path))
        ]
        for folder in compared:
            found += entry_differences(folder, entries[0][folder], entries[1][folder], names)
            if len(found) >= limit:
                break
    if first["links"] != second["links"]:
        found += group_differences(first["groups"], second["groups"], names)
    return found[:limit] or [
        f"digests differ ({names[0]}, {names[1]}), but the trees moved on while they were compared"
    ]


def unpack_folders(packed: str) -> Iterator[tuple[str, bytes]]:
    data = zlib.decompress(base64.b85decode(packed))
    position = 0
    while position < len(data):
        digest = data[position : position + 16]
        (length,) = struct.unpack_from("<H", data, position + 16)
        path = data[position + 18 : position + 18 + length]
        yield path.decode("utf-8", "surrogateescape"), digest
        position += 18 + length


def unpack_listing(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    listing: dict[str, dict[str, Any]] = json.loads(zlib.decompress(base64.b85decode(result["listing"])))
    return listing


def topmost(paths: set[str]) -> list[str]:
    out: list[str] = []
    for path in sorted(paths):
        if not out or not path.startswith(out[-1] + "/"):
            out.append(path)
    return out


def entry_differences(folder: str, one: dict[str, Any], other: dict[str, Any], names: tuple[str, str]) -> list[str]:
    """What differs between the entries of one folder."""
    left = {entry[0]: entry for entry in one["records"]}
    right = {entry[0]: entry for entry in other["records"]}
    found = []
    for name in sorted(left.keys() | right.keys()):
        path = printable(f"{folder}/{name}" if folder else name)
        if name not in right or name not in left:
            present, kind = (names[0], left[name][1]) if name in left else (names[1], right[name][1])
            if kind != "d":  # folders are named by their own comparison
                found.append(f"{path}: {KINDS[kind]} only at {present}")
            continue
        why = aspects(left[name], right[name])
        if why:
            found.append(f"{path}: " + ", ".join(why))
    found += [
        f"{printable(path)}: {why} at {name}"
        for name, side in zip(names, (one, other), strict=True)
        for path, why in side["moved"]
    ]
    return found


def aspects(left: Sequence[Any], right: Sequence[Any]) -> list[str]:
    """The fields in which two records of one name differ, in words."""
    _, kind, mode, owner, group, mtime_ns, attributes, content = left
    _, kind2, mode2, owner2, group2, mtime2_ns, attributes2, content2 = right
    if kind != kind2:
        return [f"{KINDS[kind]} here, {KINDS[kind2]} there"]
    out = []
    if mode != mode2:
        out.append(f"mode {mode:04o} and {mode2:04o}")
    if (owner, group) != (owner2, group2):
        out.append(f"owner {owner}:{group} and {owner2}:{group2}")
    if mtime_ns != mtime2_ns:
        out.append(f"mtime {moment(mtime_ns)} and {moment(mtime2_ns)}")
    if attributes != attributes2:
        out.append("extended attributes or ACL")
    if content != content2:
        out.append({"l": f"target {printable(content)} and {printable(content2)}", "f": "content"}.get(kind, "device"))
    return out


def moment(mtime_ns: int) -> str:
    seconds, rest = divmod(mtime_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


def group_differences(one: list[list[str]], other: list[list[str]], names: tuple[str, str]) -> list[str]:
    left = {tuple(group) for group in one}
    right = {tuple(group) for group in other}
    return [
        f"{printable(group[0])}: one file with {', '.join(printable(path) for path in group[1:4])} only at {name}"
        for name, groups in ((names[0], left - right), (names[1], right - left))
        for group in sorted(groups)
    ]
