"""How a disk is divided, and which file systems begin where; of the disk's own bytes alone."""

from __future__ import annotations

import os
import struct
import uuid

SECTOR = 512


def partitions(descriptor: int) -> tuple[str, list[tuple[int, uuid.UUID | None]]]:
    """(gpt, mbr or none; first byte and GPT type of each partition)."""
    head = os.pread(descriptor, SECTOR, 0)
    table = os.pread(descriptor, SECTOR, SECTOR)
    if table[:8] == b"EFI PART":
        start, count, size = struct.unpack_from("<QII", table, 72)
        raw = os.pread(descriptor, min(count, 256) * size, start * SECTOR)
        found: list[tuple[int, uuid.UUID | None]] = []
        for place in range(0, len(raw) - size + 1, size):
            kind = uuid.UUID(bytes_le=raw[place : place + 16])
            if kind.int:
                found.append((struct.unpack_from("<Q", raw, place + 32)[0] * SECTOR, kind))
        return "gpt", found
    if head[510:512] == b"\x55\xaa" and head[:3] != b"\xeb\x58\x90":
        entries = [struct.unpack_from("<B3xB3xII", head, 446 + 16 * number) for number in range(4)]
        return "mbr", [(first * SECTOR, None) for _, kind, first, count in entries if kind and count]
    return "none", [(0, None)]


def is_ext(descriptor: int, offset: int) -> bool:
    return os.pread(descriptor, 2, offset + 1024 + 56) == b"\x53\xef"


def is_xfs(descriptor: int, offset: int) -> bool:
    return os.pread(descriptor, 4, offset) == b"XFSB"


def own_uuid(descriptor: int, offset: int) -> str:
    """The UUID by which a mount names this ext or XFS file system."""
    place = offset + (1024 + 104 if is_ext(descriptor, offset) else 32)
    return str(uuid.UUID(bytes=os.pread(descriptor, 16, place)))
