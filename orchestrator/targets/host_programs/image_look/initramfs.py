"""What an initramfs holds, by the names in its archives: from it alone a kernel gets the driver of its first disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import subprocess

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Callable

UNPACK_SECONDS_MAX = 120
HEADER, LAST = 110, "TRAILER!!!"  # of a cpio archive, "newc": see initramfs buffer format, kernel documentation


def by_program(*words: str) -> Callable[[bytes], bytes]:
    def unpack(content: bytes) -> bytes:
        program = shutil.which(words[0], path=os.pathsep.join(["/usr/bin", "/bin", "/usr/local/bin"]))
        if program is None:
            raise MissingProgram(words[0])
        done = subprocess.run([program, *words[1:]], input=content, capture_output=True, timeout=UNPACK_SECONDS_MAX)
        return done.stdout

    return unpack


class MissingProgram(Exception):
    """What unpacks this kind is not installed here."""


UNPACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
    b"BZh": bz2.decompress,
    b"\x28\xb5\x2f\xfd": by_program("zstd", "-dcq"),
    b"\x02\x21\x4c\x18": by_program("lz4", "-dcq"),
}


def names_in(content: bytes) -> set[str]:
    """Every name in all its archives. MissingProgram where one cannot be unpacked here, ValueError where it is none."""
    found: set[str] = set()
    place, whole = 0, False
    while place < len(content):
        if content[place] == 0:  # between archives
            place += 1
        elif content[place : place + 6] in (b"070701", b"070702"):
            fields = [int(content[place + 6 + 8 * number : place + 14 + 8 * number], 16) for number in range(13)]
            size, length = fields[6], fields[11]
            name = content[place + HEADER : place + HEADER + length - 1].decode("utf-8", "replace")
            place = aligned(aligned(place + HEADER + length) + size)
            whole = name == LAST
            if not whole:
                found.add(name)
        else:
            unpack = next((how for magic, how in UNPACKERS.items() if content.startswith(magic, place)), None)
            if unpack is None:
                raise ValueError("neither an archive nor packed in a known way")
            return found | names_in(unpack(content[place:]))
    if not whole or place > len(content):
        raise ValueError("it ends in the middle of an archive")
    return found


def aligned(place: int) -> int:
    return (place + 3) & ~3
