"""File systems within a disk, read without mounting: ext by debugfs of e2fsprogs, XFS by xfs_db of xfsprogs."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from abc import ABC, abstractmethod

ASKED_SECONDS_MAX = 60
FILE_BYTES_MAX = 4 * 1024 * 1024
ARCHITECTURES = {0x3E: "x86_64", 0xB7: "arm64", 0x03: "i386"}


def asked(words: list[str]) -> bytes:
    done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=ASKED_SECONDS_MAX)
    return done.stdout


class Reader(ABC):
    """One file system. `uuid` is the one it is mounted by."""

    def __init__(self, own: str) -> None:
        self.uuid = own

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """What a folder holds; nothing where it is none."""

    @abstractmethod
    def content(self, path: str, bytes_max: int) -> bytes:
        """The beginning of a file; empty where there is none."""

    def text(self, path: str) -> str:
        return self.content(path, FILE_BYTES_MAX).decode("utf-8", "replace")

    def machine_of(self, path: str) -> str:
        head = self.content(path, 20)
        return ARCHITECTURES.get(struct.unpack_from("<H", head, 18)[0], "") if head[:4] == b"\x7fELF" else ""


class ExtReader(Reader):
    def __init__(self, program: str, path: str, offset: int, own: str) -> None:
        super().__init__(own)
        self.words = [program, "-R"]
        self.place = f"{path}?offset={offset}" if offset else path

    def names(self, folder: str) -> list[str]:
        lines = asked([*self.words, f"ls -p {folder}", self.place]).decode("utf-8", "replace").splitlines()
        return [line.split("/")[5] for line in lines if line.startswith("/") and line.count("/") >= 6]

    def content(self, path: str, bytes_max: int) -> bytes:
        return asked([*self.words, f"cat {path}", self.place])[:bytes_max]


class XfsReader(Reader):
    """xfs_db tells where a file lies; its bytes are read from the disk itself. `place` begins with the file system."""

    def __init__(self, program: str, place: str, own: str) -> None:
        super().__init__(own)
        self.words = [program, "-r", "-f"] if os.path.isfile(place) else [program, "-r"]
        self.place = place
        told = self.db("sb 0", "print blocksize agblocks")
        self.block = int(self.value(told, "blocksize"))
        self.group = int(self.value(told, "agblocks"))

    def db(self, *requests: str) -> str:
        spoken = [word for request in requests for word in ("-c", request)]
        return asked([*self.words, *spoken, self.place]).decode("utf-8", "replace")

    def value(self, told: str, name: str) -> str:
        found = re.search(rf"^{re.escape(name)} = (\d+)", told, re.MULTILINE)
        return found[1] if found else "0"

    def names(self, folder: str) -> list[str]:
        rows = [line.split() for line in self.db(f"ls {folder}").splitlines()]
        return [row[5] for row in rows if len(row) >= 6 and row[-1] == "(good)"]

    def content(self, path: str, bytes_max: int) -> bytes:
        told = self.db(f"path {path}", "print core.size", "bmap")
        size = min(int(self.value(told, "core.size")), bytes_max)
        found = bytearray(size)
        extents = re.findall(r"^data offset (\d+) startblock \d+ \((\d+)/(\d+)\) count (\d+)", told, re.MULTILINE)
        with open(self.place, "rb") as stream:
            for offset, group, first, count in [tuple(map(int, each)) for each in extents]:
                start = offset * self.block
                if start >= size:
                    continue
                wanted = min(count * self.block, size - start)
                piece = os.pread(stream.fileno(), wanted, (group * self.group + first) * self.block)
                found[start : start + len(piece)] = piece
        return bytes(found)
