"""What goes over the line: frames of a header with its checksum, and what follows it.

SSH guards the wire; these checksums guard against our own mistakes, and against memory. What a frame of content brings
(full leaves, pages) comes with a SHA-256, so that only the other frames have a checksum of what follows the header.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from typing import Any

from orchestrator.movers.host_programs.block_delta.leaves import DIGEST, SHORT, Broken

FRAME_BYTES_MAX = 64 * 1024 * 1024
HEADER = struct.Struct("<cQII")  # kind, first leaf, number of leaves, length of what follows
CHECK = struct.Struct("<I")  # a CRC-32
DIGESTED = b"FPC"  # kinds whose content has a digest of its own
FRAME_HEAD = HEADER.size + CHECK.size


def pack_frame(kind: bytes, first: int, count: int, payload: bytes = b"") -> bytes:
    head = HEADER.pack(kind, first, count, len(payload))
    tail = b"" if kind in DIGESTED else CHECK.pack(zlib.crc32(payload))
    return head + CHECK.pack(zlib.crc32(head)) + payload + tail


def unpack_header(data: bytes) -> tuple[bytes, int, int, int]:
    head = data[: HEADER.size]
    if CHECK.unpack(data[HEADER.size :])[0] != zlib.crc32(head):
        raise Broken("link", "a frame arrived damaged")
    kind, first, count, length = HEADER.unpack(head)
    if length > FRAME_BYTES_MAX:
        raise Broken("link", "a frame is longer than any may be")
    return kind, first, count, length


def shortened(digests: Any) -> bytes:
    """The first bytes of each digest: they find what differs; that the rest is equal is proved at the end, by all."""
    view = memoryview(digests)
    return b"".join([view[start : start + SHORT] for start in range(0, len(view), DIGEST)])


def read_exactly(descriptor: int, count: int) -> bytearray:
    data = bytearray(count)
    fill(descriptor, memoryview(data))
    return data


def fill(descriptor: int, view: memoryview) -> None:
    while view:
        got = os.readv(descriptor, [view])
        if not got:
            raise Broken("link", "the other side ended")
        view = view[got:]


def read_frame(descriptor: int, buffer: memoryview | None = None) -> tuple[bytes, int, int, Any]:
    """A frame; what follows its header lies in `buffer`, where that is large enough, until the next one is read."""
    kind, first, count, length = unpack_header(bytes(read_exactly(descriptor, FRAME_HEAD)))
    if buffer is None or length > len(buffer):
        payload: Any = read_exactly(descriptor, length)
    else:
        payload = buffer[:length]
        fill(descriptor, payload)
    if kind not in DIGESTED and CHECK.unpack(read_exactly(descriptor, CHECK.size))[0] != zlib.crc32(payload):
        raise Broken("link", "a frame arrived damaged")
    return kind, first, count, payload


def write_all(descriptor: int, *parts: Any) -> None:
    views = [memoryview(part) for part in parts]
    while views:
        done = os.writev(descriptor, views)
        while views and done >= len(views[0]):
            done -= len(views[0])
            views.pop(0)
        if views and done:
            views[0] = views[0][done:]


def widen_pipe(descriptor: int) -> None:
    try:
        fcntl.fcntl(descriptor, 1031, 1 << 20)  # F_SETPIPE_SZ; a wish
    except OSError:
        pass
