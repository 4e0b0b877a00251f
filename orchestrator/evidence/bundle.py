"""A bundle: one run's evidence in a folder. What lies where, and how a folder is read without believing it.

log/checkpoint  log/events.ndjson  log/events.idx  log/tile/…  log/consistency/<size>     the core
anchors/<size>.note|.tsr  artifacts/sha256/…  disclosures.json  policy/trust-policy.json   the core
everything else                                                        reading copies, made from the core
manifest.sha256                                                        `sha256sum -c` of all of it
"""

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from orchestrator.evidence.merkle import TILE_WIDTH, tile_path
from orchestrator.foundation.errors import BrokenLog
from orchestrator.foundation.limits import BUNDLE_BYTES_MAX, BUNDLE_FILE_BYTES_MAX, BUNDLE_FILES_MAX

MANIFEST = "manifest.sha256"
_CORE_FOLDERS = ("log/", "artifacts/")
_CORE_FILES = ("disclosures.json", "policy/trust-policy.json")
_LOG_FILES = ("log/checkpoint", "log/events.ndjson", "log/events.idx")
_PROOF = re.compile(r"log/consistency/\d{12}")
_TILE = re.compile(r"log/tile/(\d{1,2})/((?:x\d{3}/)*\d{3})(?:\.p/\d{1,3})?")
_ANCHOR = re.compile(r"anchors/(\d{12}\.(note|tsr)|worm\.json)")
_PATH_CHARACTERS_MAX = 400


def is_bundle(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() and (folder / "log" / "events.ndjson").is_file()


def is_core(path: str) -> bool:
    """Whether a file of a bundle is evidence, and not a reading copy."""
    anchor = path.startswith("anchors/") and path.endswith((".note", ".tsr", ".json"))
    return anchor or path.startswith(_CORE_FOLDERS) or path in _CORE_FILES


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    lines = [f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in sorted(files.items())]
    return "".join(lines).encode()


def read_bundle(folder: Path) -> dict[str, bytes]:
    """Every file by its path. BrokenLog for links, devices, odd names, and anything beyond the limits.

    Nothing is followed out of the folder and nothing is written.
    """
    files: dict[str, bytes] = {}
    total = 0
    for place, folders, names in os.walk(folder, followlinks=False):
        for name in (*folders, *names):
            path = Path(place) / name
            below = path.relative_to(folder).as_posix()
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                continue
            if not stat.S_ISREG(status.st_mode):
                raise BrokenLog(f"{below!r} is not a plain file: a bundle holds no links and no devices")
            if len(below) > _PATH_CHARACTERS_MAX or not below.isprintable() or "\\" in below:
                raise BrokenLog(f"{below[:80]!r} is no name for a file of a bundle")
            total += status.st_size
            if status.st_size > BUNDLE_FILE_BYTES_MAX or total > BUNDLE_BYTES_MAX or len(files) >= BUNDLE_FILES_MAX:
                raise BrokenLog("the bundle is larger than a verifier takes in")
            files[below] = _read_plain(path, below)
    return files


def _read_plain(path: Path, below: str) -> bytes:
    """The content of a file that may be swapped for a link, or a pipe, meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise BrokenLog(f"{below!r} can not be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(BUNDLE_FILE_BYTES_MAX + 1)


def judge_core(files: Mapping[str, bytes], size: int) -> list[str]:
    """Files that lie among the evidence and are no part of it, for a log of `size` entries."""
    return [
        f"{path} is no part of the evidence"
        for path in sorted(files)
        if (path.startswith("log/") and not (path in _LOG_FILES or _PROOF.fullmatch(path) or _is_tile(path, size)))
        or (path.startswith("anchors/") and is_core(path) and not _ANCHOR.fullmatch(path))
    ]


def _is_tile(path: str, size: int) -> bool:
    """Whether a log of `size` entries has this tile, by its name alone: a size that is claimed may be anything."""
    found = _TILE.fullmatch(path)
    if found is None:
        return False
    level, number = int(found[1]), int(found[2].replace("x", "").replace("/", ""))
    width = min(TILE_WIDTH, (size >> 8 * level) - number * TILE_WIDTH)
    return width > 0 and path == "log/" + tile_path(level, number, width)


def judge_manifest(files: Mapping[str, bytes]) -> list[str]:
    """What of a bundle's files does not agree with its manifest."""
    try:
        lines = files[MANIFEST].decode().removesuffix("\n").split("\n")
    except (KeyError, UnicodeDecodeError):
        return [f"{MANIFEST} is missing or is not text"]
    wanted: dict[str, str] = {}
    problems = []
    for line in lines:
        digest, separator, path = line.partition("  ")
        if not separator or path in wanted:
            problems.append(f"{MANIFEST}: {line[:80]!r} is malformed, or names a file twice")
        wanted[path] = digest
    for path, digest in sorted(wanted.items()):
        content = files.get(path)
        if content is None:
            problems.append(f"{path} is missing")
        elif hashlib.sha256(content).hexdigest() != digest:
            problems.append(f"{path} differs from {MANIFEST}")
    problems += [f"{path} is not in {MANIFEST}" for path in sorted(set(files) - set(wanted) - {MANIFEST})]
    others = {path: content for path, content in files.items() if path != MANIFEST}
    if not problems and files[MANIFEST] != manifest_of(others):
        problems.append(f"{MANIFEST} names its files in another form than the one it has")
    return problems
