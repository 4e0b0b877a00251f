"""Where the parts of a file lie on the disk, and in what two maps differ.

What lies at the same place in a file and in its older copy is the same, for the older one still holds that place.
Whatever a map calls delayed, inline, encoded or unknown counts as changed.
"""

from __future__ import annotations

import fcntl
import struct
from collections.abc import Iterable, Iterator, Sequence

FS_IOC_FIEMAP = 0xC020660B
FIEMAP_SYNC = 1
EXTENTS_PER_CALL = 4096
EXTENT_LAST = 0x1
EXTENT_UNSURE = (
    0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400
)  # unknown, delayed, encoded, encrypted, unaligned, inline, tail
EXTENT_UNWRITTEN = 0x800


def extent_map(descriptor: int, size: int) -> list[tuple[int, int, int, int]]:
    """(logical, physical, length, flags) of every extent of a file, everything written first."""
    extents: list[tuple[int, int, int, int]] = []
    position = 0
    while position < size:
        asked = struct.pack("<QQIIII", position, size - position, FIEMAP_SYNC, 0, EXTENTS_PER_CALL, 0)
        data = bytearray(asked + bytes(56 * EXTENTS_PER_CALL))
        fcntl.ioctl(descriptor, FS_IOC_FIEMAP, data)
        (count,) = struct.unpack_from("<I", data, 20)
        for number in range(count):
            logical, physical, length, _, _, flags = struct.unpack_from("<QQQQQI", data, 32 + 56 * number)
            extents.append((logical, physical, length, flags))
            position = logical + length
        if not count or extents[-1][3] & EXTENT_LAST:
            break
    return extents


def changed_bytes(new: int, old: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of bytes that do not lie at the same place in both files."""
    return differing_bytes(extent_map(new, size), extent_map(old, size), size)


def changed_pages(
    ranges: Iterable[Sequence[int]], size: int, leaf_bytes: int, page_bytes: int
) -> Iterator[tuple[int, list[int]]]:
    """(leaf, pages within it) that ranges of bytes, in order, touch."""
    leaf, pages = -1, list[int]()
    per_leaf = leaf_bytes // page_bytes
    for start, stop in ranges:
        page, last = start // page_bytes, -(-min(stop, size) // page_bytes)
        while page < last:
            if page // per_leaf != leaf:
                if pages:
                    yield leaf, pages
                leaf, pages = page // per_leaf, []
            begin = leaf * per_leaf
            end = min(last, begin + per_leaf)
            # Two ranges may share a page.
            pages.extend(range(max(page - begin, pages[-1] + 1 if pages else 0), end - begin))
            page = end
    if pages:
        yield leaf, pages


def differing_bytes(
    new: list[tuple[int, int, int, int]], old: list[tuple[int, int, int, int]], size: int
) -> Iterator[tuple[int, int]]:
    """Ranges in which two maps do not say: the same place of the disk, plainly written, or a hole in both."""
    here = there = position = 0
    while position < size:
        while here < len(new) and new[here][0] + new[here][2] <= position:
            here += 1
        while there < len(old) and old[there][0] + old[there][2] <= position:
            there += 1
        one = new[here] if here < len(new) else None
        other = old[there] if there < len(old) else None
        present = [extent for extent in (one, other) if extent is not None]
        bounds = [extent[0] + extent[2] if extent[0] <= position else extent[0] for extent in present]
        stop = min([size, *bounds])
        in_one = one if one is not None and one[0] <= position else None
        in_other = other if other is not None and other[0] <= position else None
        if in_one is None or in_other is None:
            equal = in_one is in_other
        else:
            flags = in_one[3] | in_other[3]
            moved = in_one[1] - in_one[0] != in_other[1] - in_other[0]
            equal = not moved and not flags & EXTENT_UNSURE and not (in_one[3] ^ in_other[3]) & EXTENT_UNWRITTEN
        if not equal:
            yield position, stop
        position = stop
