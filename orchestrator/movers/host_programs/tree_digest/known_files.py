"""What a host read of a tree before: content digests by device, inode, size and times."""

from __future__ import annotations

import hashlib
import os
import struct

KNOWN_MAGIC = b"skerry known files/v1\n"
KNOWN_KEY = struct.Struct("<QQ")  # device, inode
KNOWN_STAMP = struct.Struct("<Qqq")  # size, mtime, ctime
KNOWN_ENTRY_BYTES = KNOWN_KEY.size + KNOWN_STAMP.size + 32
KNOWN_BYTES_MIN = 64 * 1024  # smaller files are read as quickly as they are looked up
KNOWN_ENTRIES_MAX = 500_000
YOUNG_NS = 2_000_000_000


def load_known(path: str) -> dict[bytes, bytes]:
    """What was read before, by device and inode; nothing when the file is missing or not whole."""
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except FileNotFoundError:
        return {}
    body, check = data[:-32], data[-32:]
    if not body.startswith(KNOWN_MAGIC) or hashlib.sha256(body).digest() != check:
        return {}
    key, entry = KNOWN_KEY.size, KNOWN_ENTRY_BYTES
    starts = range(len(KNOWN_MAGIC), len(body), entry)
    return {body[start : start + key]: body[start + key : start + entry] for start in starts}


def save_known(path: str, entries: bytes) -> None:
    body = KNOWN_MAGIC + entries[: KNOWN_ENTRIES_MAX * KNOWN_ENTRY_BYTES]
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    aside = path + ".new"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(body + hashlib.sha256(body).digest())
    os.replace(aside, path)
