"""Moves a disk image or volume from its host to another's, and digests it there (block/v1).

The parts of this folder are joined into one file, sent to both hosts and run by their own Python (3.9 or newer):
standard library only. At the source it serves one volume, read only, as the forced command of a certificate; at the
replica it pulls, over several SSH streams, each served by a process of its own: all cores read, digest, encrypt and
write at once.

The way. Without a base every leaf that is not zero comes with its digest and goes, once the digest fits, into a side
file that takes the target's place when all of it is there. With a base the source tells its digests; where they differ
the replica sends checksums of its 4 KiB pages, gets the pages that differ, and checks the digest of the leaf that they
make with its own. Those go into a log beside the target; when every stream's digests fit, the log is committed and then
applied.

Where the source's file system shares blocks (XFS, btrfs), the source is served from a copy that shares them, and the
copy of the time before is kept. Then only what lies elsewhere is read, if the replica is just what that older copy was.
A digest of all of it can refute the maps.

Rules: the target is the last good state or, after a commit, becomes the new one, whatever dies when; checksums find
what may differ, digests alone prove that nothing does.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

from orchestrator.movers.host_programs.block_delta.change_log import finish_commit, hold_lock, remove_logs
from orchestrator.movers.host_programs.block_delta.dirty_bitmap import begin_bitmap, settle_bitmap
from orchestrator.movers.host_programs.block_delta.held_copy import hold, settle
from orchestrator.movers.host_programs.block_delta.leaves import (
    DIGEST,
    Broken,
    Counter,
    Volume,
    data_runs,
    open_volume,
    root_digest,
    scan_stripes,
    volume_size,
)
from orchestrator.movers.host_programs.block_delta.processes import processes, say, spread
from orchestrator.movers.host_programs.block_delta.replica import Plan
from orchestrator.movers.host_programs.block_delta.source import serve
from orchestrator.movers.host_programs.block_delta.stream import Stream
from orchestrator.movers.host_programs.obeyed import why_open


def pull(request: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    os.makedirs(os.path.dirname(request["target"]), exist_ok=True)
    lock = hold_lock(request["work"])
    if why := why_open(request["order"]):
        raise Broken("open", why)
    finish_commit(request["work"], request["target"])
    size = int(request["size"])
    plan = Plan(request, size)
    plan.prepare()
    if plan.base and not plan.side:
        plan.replay()
        # The maps tell what changed since the earlier copy, so the base must be just that.
        now = root_digest(size, plan.volume.leaf, plan.told())
        plan.since = not plan.resumed and not plan.rescanned and now == plan.earlier_digest
    else:
        remove_logs(plan.work)
    counters = mmap.mmap(-1, 8 * max(1, plan.streams))
    watch = words_about(counters, size)
    try:
        answers = spread(plan.streams, lambda number, _: Stream(number, plan, Counter(counters, number)).run(), watch)
    except Broken as error:
        if error.kind != "stopped":
            raise
        return {"stopped": True, "received": plan.received(), "seconds": round(time.monotonic() - started, 4)}
    plan.finish()
    os.close(lock)
    return {
        "digest": root_digest(size, plan.volume.leaf, plan.told()),
        "size": size,
        "base": plan.base,
        "received": plan.received(),
        "written": sum(answer["written"] for answer in answers),
        "rescanned": plan.rescanned,
        "since": plan.since,
        "resumed": plan.resumed,
        "seconds": round(time.monotonic() - started, 4),
    }


def digest(request: dict[str, Any]) -> dict[str, Any]:
    """Read all of a volume that may hold data, on all cores; nothing cached is believed."""
    started = time.monotonic()
    descriptor = open_volume(request["target"])
    before = os.fstat(descriptor)
    volume = Volume(descriptor, volume_size(descriptor))
    digests = mmap.mmap(-1, max(1, volume.leaves) * DIGEST)
    counters = mmap.mmap(-1, 8 * 64)
    scrub = bool(request.get("scrub"))
    runs = data_runs(descriptor, volume.size, 0, volume.leaves, volume.leaf)
    spread(
        processes(),
        lambda number, total: scan_stripes(volume, number, total, digests, Counter(counters, number), scrub=scrub),
        words_about(counters, sum(volume.length(start, stop - start) for start, stop in runs)),
    )
    after = os.fstat(descriptor)
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise Broken("moved", "changed while it was digested")
    result: dict[str, Any] = {
        "digest": root_digest(volume.size, volume.leaf, memoryview(digests)[: volume.leaves * DIGEST]),
        "size": volume.size,
        "entries": volume.leaves,
        "bytes": counted(counters),
        "seconds": round(time.monotonic() - started, 4),
    }
    if request.get("leaves"):
        result["leaves"] = zlib.compress(bytes(digests[: volume.leaves * DIGEST]), 1).hex()
    return result


def counted(counters: mmap.mmap) -> int:
    """Bytes done by all processes."""
    return sum(struct.unpack(f"<{len(counters) // 8}Q", counters[:]))


def words_about(counters: mmap.mmap, total: int) -> Callable[[], None]:
    """Says how many of `total` bytes are done, at most twice a second."""
    said_at = time.monotonic()

    def watch() -> None:
        nonlocal said_at
        if time.monotonic() >= said_at + 0.5:
            said_at = time.monotonic()
            say("progress", {"bytes": counted(counters), "total": total})

    return watch


def distrust(request: dict[str, Any]) -> dict[str, Any]:
    """Forget what was known of a volume: the sides differ although the last copy ended well, so a cache was a lie."""
    for name in ("signature", "held.json", "bitmap.json"):
        path = os.path.join(request["work"], name)
        if os.path.exists(path):
            os.unlink(path)
    return {"forgotten": True}


def main() -> None:
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
        return
    request = json.loads(sys.argv[1])
    try:
        deeds = {"pull": pull, "digest": digest, "hold": hold, "settle": settle, "distrust": distrust}
        deeds.update({"begin_bitmap": begin_bitmap, "settle_bitmap": settle_bitmap})
        say("result", deeds[request["do"]](request))
    except Broken as error:
        say("result", {"broken": error.kind, "why": str(error)})
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        say(
            "result",
            {"broken": "full" if full else "target", "why": f"{error.filename}: {os.strerror(error.errno or 0)}"},
        )


if __name__ == "__main__":
    main()
