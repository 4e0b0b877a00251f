"""The form of an entry: its record, the digest of its attributes, names as text."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
from typing import Any

FOLDER_MAGIC = b"skerry tree/v1 folder\n"
TREE_MAGIC = b"skerry tree/v1\n"
# Labels that belong to a host rather than to the data (security.selinux, security.ima, btrfs.*) are left out.
XATTR_PREFIXES = ("user.", "trusted.")
XATTR_NAMES = ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
XATTR_LEFT_OUT = ("trusted.overlay.",)
HEAD = struct.Struct("<cIIIqH")


class Moved(Exception):
    """An entry changed or vanished while it was read."""


def xattr_digest(target: int | bytes, follow: bool) -> bytes:
    """b"" without attributes, else the digest over names and values."""
    try:
        names = os.listxattr(target, follow_symlinks=follow)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return b""
        raise
    if not names:
        return b""
    parts = []
    for name in sorted(names):
        if (name.startswith(XATTR_PREFIXES) and not name.startswith(XATTR_LEFT_OUT)) or name in XATTR_NAMES:
            value = os.getxattr(target, name, follow_symlinks=follow)
            raw = os.fsencode(name)
            parts.append(struct.pack("<HI", len(raw), len(value)) + raw + value)
    return hashlib.sha256(b"".join(parts)).digest() if parts else b""


def record(kind: bytes, found: os.stat_result, name: bytes, attributes: bytes, payload: bytes) -> bytes:
    head = HEAD.pack(kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns, len(name))
    return head + name + bytes((len(attributes),)) + attributes + payload


def unpack(one: bytes) -> list[Any]:
    kind, mode, uid, gid, mtime_ns, length = HEAD.unpack_from(one)
    name = one[HEAD.size : HEAD.size + length]
    position = HEAD.size + length
    attributes = one[position + 1 : position + 1 + one[position]]
    payload = one[position + 1 + one[position] :]
    content = text(payload[2:]) if kind == b"l" else payload.hex()
    return [text(name), kind.decode(), mode, uid, gid, mtime_ns, attributes.hex(), content]


def join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def text(path: bytes) -> str:
    """A name of any bytes as text that JSON can carry: bytes that are not UTF-8 become surrogates."""
    return path.decode("utf-8", "surrogateescape")


def named(pairs: list[tuple[bytes, str]]) -> list[list[str]]:
    return [[text(path), why] for path, why in pairs]
