"""Hard links: which names of a tree are one file, at some bytes for each name."""

from __future__ import annotations

import hashlib
import marshal
import struct
import zlib


def pack_links(links: list[tuple[int, int, bytes]]) -> tuple[bytes, bytes]:
    """64-bit keys, and the whole of it compressed: most files with two links have the other one outside of the tree."""
    keys = b"".join(struct.pack("<Q", (inode ^ (device << 44)) & 0xFFFFFFFFFFFFFFFF) for device, inode, _ in links)
    return keys, zlib.compress(marshal.dumps(links), 1)


def unpack_keys(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(packed) // 8}Q", packed)


def links_digest(groups: list[list[bytes]]) -> bytes:
    made = hashlib.sha256(b"skerry tree/v1 links\n")
    for group in groups:
        made.update(struct.pack("<I", len(group)))
        for path in group:
            made.update(struct.pack("<I", len(path)) + path)
    return made.digest()
