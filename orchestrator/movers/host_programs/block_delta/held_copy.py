"""At the source: a copy that shares its blocks, served instead of the volume, beside the one of the time before."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from orchestrator.movers.host_programs.block_delta.change_log import write_note


def hold(request: dict[str, Any]) -> dict[str, Any]:
    """At the source: a copy that shares its blocks, to be served instead of the volume, beside the one of before."""
    work = request["work"]
    os.makedirs(work, mode=0o700, exist_ok=True)
    held, earlier = os.path.join(work, "held.new"), os.path.join(work, "held")
    words = ["cp", "--reflink=always", "--", request["target"], held]
    if os.path.exists(held):
        os.unlink(held)
    done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        if os.path.exists(held):
            os.unlink(held)
        return {"held": ""}
    try:
        with open(os.path.join(work, "held.json"), encoding="utf-8") as stream:
            note = json.load(stream)
    except (FileNotFoundError, ValueError):
        note = {}
    size = os.stat(held).st_size
    if not os.path.exists(earlier) or os.stat(earlier).st_size != size or "digest" not in note:
        return {"held": held, "size": size, "earlier": "", "digest": ""}
    return {"held": held, "size": size, "earlier": earlier, "digest": note["digest"]}


def settle(request: dict[str, Any]) -> dict[str, Any]:
    """At the source, after the copy: what was served is what the next one is compared with."""
    work = request["work"]
    note = os.path.join(work, "held.json")
    if os.path.exists(note):
        os.unlink(note)  # first, so that a crash leaves a copy without a note, and never a note of another copy
    os.replace(os.path.join(work, "held.new"), os.path.join(work, "held"))
    write_note(note, {"digest": request["digest"]})
    return {"settled": True}
