"""Digest of a file tree (tree/v1), made on the host that holds it.

The parts of this folder are joined into one file, sent to hosts and run by their own Python (3.9 or newer): standard
library only.

The form. Every entry of a folder is one record: kind, permission bits, owner and group by number, mtime in
nanoseconds, raw name, digest of its extended attributes (ACLs and capabilities are such), then
  regular file   size, content digest          symbolic link   target
  device         major, minor                  folder          digest of the folder
The digest of a folder is SHA-256 over the records of all that is no folder, by raw name, then those of its folders, by
raw name. The digest of the tree is SHA-256 over the record of its top (with an empty name) and over its hard-link
groups. Content up to 4 MiB is digested as it is; longer content as the digests of its 4 MiB pieces one after the
other, so that all cores share one big file and holes need not be read. Holes are content (zeros), never a difference.

With `known`, a file is not read again when inode, size, mtime and ctime are those of its last reading. Nobody can set
a ctime, and what could slip past it is excluded: entries younger than two seconds are never kept (two changes may fall
into one tick of the clock), and everything is written back first (a write through a mapping shows in ctime only when
its page was clean). What the disk itself loses does not show; `scrub` reads everything from the disk, believes nothing,
and names the files whose content changed though nothing else did.

Rules: what cannot be read is an error, never left out; what changed while it was read is named; memory does not grow
with the size of files, and with their number only by some tens of bytes each.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import os
import struct
import sys
import time
import zlib
from typing import Any

from orchestrator.movers.host_programs.tree_digest.entries import (
    open_folder,
    proc_path,
)
from orchestrator.movers.host_programs.tree_digest.known_files import (
    YOUNG_NS,
    load_known,
    save_known,
)
from orchestrator.movers.host_programs.tree_digest.links import (
    links_digest,
)
from orchestrator.movers.host_programs.tree_digest.records import (
    TREE_MAGIC,
    Moved,
    named,
    record,
    text,
    unpack,
    xattr_digest,
)
from orchestrator.movers.host_programs.tree_digest.whole_tree import (
    Tree,
    digest_tree,
)
from orchestrator.movers.host_programs.tree_digest.workers import (
    Worker,
    blame,
)


def say(kind: str, value: Any) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


class ProgressLines:
    """At most two lines a second."""

    def __init__(self) -> None:
        self.next = time.monotonic() + 0.5

    def __call__(self, tree: Tree) -> None:
        now = time.monotonic()
        if now >= self.next:
            self.next = now + 0.5
            say("progress", {"bytes": tree.bytes, "entries": tree.entries})


def run_digest(top: int, request: dict[str, Any]) -> None:
    started = time.monotonic()
    processes = request.get("processes") or len(os.sched_getaffinity(0))
    shallow = request.get("shallow", False)
    worker = Worker(top, scrub=request.get("scrub", False))
    if request.get("known"):
        ctypes.CDLL(None).syncfs(top)
        worker.reader.known = load_known(request["known"])
        worker.reader.keep_before_ns = time.time_ns() - YOUNG_NS
    tree = digest_tree(worker, processes, shallow=shallow, on_progress=ProgressLines())
    if request.get("known") and not tree.counts["moved"] and not tree.counts["errors"]:
        save_known(request["known"], b"".join(tree.fresh))
    groups = tree.link_groups()
    made = hashlib.sha256(TREE_MAGIC + (tree.digest or b""))
    made.update(links_digest(groups))
    result = {
        "digest": "sha256:" + made.hexdigest(),
        "links": links_digest(groups).hex(),
        "bytes": tree.bytes,
        "entries": tree.entries,
        "moved": named(tree.moved),
        "moved_count": tree.counts["moved"],
        "errors": named(tree.errors),
        "errors_count": tree.counts["errors"],
        "decayed": named(tree.decayed),
        "decayed_count": tree.counts["decayed"],
        "seconds": round(time.monotonic() - started, 4),
    }
    if tree.shallow is not None:
        lines = b"".join(own + struct.pack("<H", len(path)) + path for path, own in sorted(tree.shallow))
        result["folders"] = base64.b85encode(zlib.compress(lines, 6)).decode()
        result["groups"] = [[text(path) for path in group] for group in groups[:1000]]
    say("result", result)


def run_entries(top: int, request: dict[str, Any]) -> None:
    """Every record of the named folders, unpacked, for telling two trees apart."""
    worker = Worker(top, scrub=False, listing=True, share_big=False)
    out = {}
    for name in request["folders"]:
        path = name.encode("utf-8", "surrogateescape")
        answer: dict[str, Any] = {"entries": 0, "moved": [], "errors": [], "decayed": []}
        records: list[bytes] = []
        try:
            worker.folder(path, answer)
            folder = open_folder(top, path)
            try:
                for child in answer["folders"]:
                    found = os.stat(child, dir_fd=folder, follow_symlinks=False)
                    attributes = xattr_digest(proc_path(folder, child), follow=False)
                    records.append(record(b"d", found, child, attributes, b""))
                blobs = [answer.pop("rest", b"")] + answer["chunks"]
                records.extend(answer.pop("records", []))
                while blobs:
                    blob = blobs.pop(0)
                    if blob:
                        worker.chunk(folder, path, blob, answer)
                        records.extend(answer.pop("records"))
                        blobs.insert(0, answer.pop("rest", b""))
            finally:
                os.close(folder)
        except (Moved, OSError) as error:
            blame(answer, path or b".", error)
        out[name] = {"records": [unpack(one) for one in records], "moved": named(answer["moved"] + answer["errors"])}
    packed = zlib.compress(json.dumps(out).encode(), 6)
    say("result", {"listing": base64.b85encode(packed).decode()})


def main() -> None:
    request = json.loads(sys.argv[1])
    path = request["path"].encode("utf-8", "surrogateescape")
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        say("result", {"missing": os.strerror(error.errno or 0)})
        return
    if "folders" in request:
        run_entries(top, request)
    else:
        run_digest(top, request)


if __name__ == "__main__":
    main()
