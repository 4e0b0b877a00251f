"""Looks at points of a tree, each against the one before it: what changed, and whether it became noise.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only. It changes
nothing. A file is changed when its size or mtime is another, or, in points that are copies, how it begins: who encrypts
sets times back. Content is read of what changed, and the beginnings of copies.
"""

from __future__ import annotations

import collections
import hashlib
import json
import math
import os
import stat
import sys
from typing import Any

SAMPLE_BYTES = 64 * 1024
SAMPLE_BYTES_MIN = 512
LARGE_SAMPLE_BYTES = 4096
# Bits per byte from which on a sample looks like noise; a small one cannot show all of 8.
NOISE_BITS, NOISE_BITS_SMALL = 7.9, 7.4
EXAMPLES_MAX = 5

Files = dict[str, tuple[int, int, int]]


def files_of(top: str) -> Files:
    if not os.path.isdir(top):
        raise OSError(2, "there is no such point", top)
    found: Files = {}
    for place, _, names in os.walk(top):
        for name in names:
            path = os.path.join(place, name)
            seen = os.lstat(path)
            if stat.S_ISREG(seen.st_mode):
                found[os.path.relpath(path, top)] = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
    return found


def is_noise(path: str) -> bool | None:
    """None for what is too small to tell."""
    with open(path, "rb") as stream:
        sample = stream.read(SAMPLE_BYTES)
    if len(sample) < SAMPLE_BYTES_MIN:
        return None
    shares = [count / len(sample) for count in collections.Counter(sample).values()]
    bits = -sum(share * math.log2(share) for share in shares)
    return bits >= (NOISE_BITS if len(sample) >= LARGE_SAMPLE_BYTES else NOISE_BITS_SMALL)


def begins_otherwise(one: str, other: str) -> bool:
    with open(one, "rb") as first, open(other, "rb") as second:
        return first.read(LARGE_SAMPLE_BYTES) != second.read(LARGE_SAMPLE_BYTES)


def is_changed(name: str, before: Files, now: Files, before_top: str, top: str) -> bool:
    if before[name] == now[name]:
        return False
    same_times = before[name][1:] == now[name][1:]
    return not same_times or begins_otherwise(os.path.join(before_top, name), os.path.join(top, name))


def changed_names(
    before: Files, now: Files, before_top: str, top: str
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """(name before, name now) of what changed; and of files that got a suffix, name now → suffix."""
    pairs = [(name, name) for name in now if name in before and is_changed(name, before, now, before_top, top)]
    suffixes = {}
    for name in now.keys() - before.keys():
        stem, suffix = os.path.splitext(name)
        if stem in before and stem not in now:
            suffixes[name] = suffix
            pairs.append((stem, name))
    return sorted(pairs), suffixes


def wrong_canaries(top: str, canaries: dict[str, str]) -> list[str]:
    wrong = []
    for name, digest in sorted(canaries.items()):
        try:
            with open(os.path.join(top, name), "rb") as stream:
                found = "sha256:" + hashlib.sha256(stream.read()).hexdigest()
        except OSError as error:
            wrong.append("%s: %s" % (name, error.strerror))
            continue
        if found != digest:
            wrong.append("%s is %s" % (name, found))
    return wrong


def look(
    point: dict[str, str], before_top: str, before: Files, canaries: dict[str, str]
) -> tuple[Files, dict[str, Any]]:
    top = point["path"]
    now = files_of(top)
    pairs, suffixes = changed_names(before, now, before_top, top) if before_top else ([], {})
    most = collections.Counter(suffixes.values()).most_common(1)
    compared, noise, examples = 0, 0, []
    for old, new in pairs:
        was, is_now = is_noise(os.path.join(before_top, old)), is_noise(os.path.join(top, new))
        if was is None or is_now is None:
            continue
        compared += 1
        if is_now and not was:
            noise += 1
            examples.append(new)
    told = {
        "point": point["id"], "files_before": len(before), "files": len(now), "changed": len(pairs),
        "compared": compared, "noise": noise, "renamed": most[0][1] if most else 0,
        "suffix": most[0][0] if most else "", "canaries": wrong_canaries(top, canaries),
        "examples": examples[:EXAMPLES_MAX],
    }  # fmt: skip
    return now, told


def main() -> None:
    request = json.loads(sys.argv[1])
    looks = []
    before_top = ""
    before: Files = {}
    try:
        for point in request["points"]:
            before, told = look(point, before_top, before, request["canaries"])
            before_top = point["path"]
            looks.append(told)
        result: dict[str, Any] = {"looks": looks}
    except OSError as error:
        result = {"failed": "%s: %s" % (error.filename or "", error.strerror)}
    sys.stdout.write("result " + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
