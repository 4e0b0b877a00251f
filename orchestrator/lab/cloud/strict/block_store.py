"""Blocks of EBS snapshots on disk: one sparse file and one index of digests per snapshot, children over parents.

The index is appended to with each block: block number (4 bytes) and SHA-256 (32 bytes). The newest line of a number
counts. A torn line at the end is a block that was never acknowledged.
"""

import hashlib
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

BLOCK_BYTES = 512 * 1024
_LINE = struct.Struct("!I32s")


class SnapshotBlocks:
    """The blocks that were written to one snapshot, over those of its parent."""

    def __init__(self, folder: Path, identifier: str, parent: "SnapshotBlocks | None") -> None:
        self.identifier = identifier
        self.parent = parent
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._digests: dict[int, bytes] = {}
        index = folder / "index"
        if index.exists():
            raw = index.read_bytes()
            whole = len(raw) // _LINE.size * _LINE.size
            for number, digest in _LINE.iter_unpack(raw[:whole]):
                self._digests[number] = digest
        self._index = os.open(index, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._data = os.open(folder / "data", os.O_RDWR | os.O_CREAT, 0o600)

    def put(self, number: int, content: bytes, digest: bytes) -> None:
        os.pwrite(self._data, content, number * BLOCK_BYTES)
        with self._lock:
            os.write(self._index, _LINE.pack(number, digest))
            self._digests[number] = digest

    def sync(self) -> None:
        os.fsync(self._data)
        os.fsync(self._index)

    @property
    def written(self) -> int:
        """How many different blocks were put into this snapshot itself."""
        return len(self._digests)

    def aggregate_digest(self) -> bytes:
        """SHA-256 over the digests of the written blocks in ascending order of their numbers: LINEAR."""
        with self._lock:
            return hashlib.sha256(b"".join(self._digests[number] for number in sorted(self._digests))).digest()

    def owner(self, number: int) -> "SnapshotBlocks | None":
        """Which snapshot of the lineage holds that block; None for a block nobody wrote."""
        for snapshot in self.lineage():
            if number in snapshot._digests:  # noqa: SLF001 - of its own kind
                return snapshot
        return None

    def lineage(self) -> Iterator["SnapshotBlocks"]:
        snapshot: SnapshotBlocks | None = self
        while snapshot is not None:
            yield snapshot
            snapshot = snapshot.parent

    def numbers(self) -> list[int]:
        """Every block that this snapshot shows, its parents' included."""
        return sorted({number for snapshot in self.lineage() for number in snapshot._digests})  # noqa: SLF001

    def read(self, number: int) -> tuple[bytes, bytes] | None:
        """Content and digest."""
        owner = self.owner(number)
        if owner is None:
            return None
        return os.pread(owner._data, BLOCK_BYTES, number * BLOCK_BYTES), owner._digests[number]  # noqa: SLF001

    def changed_since(self, first: "SnapshotBlocks") -> list[int]:
        """Blocks that are another one here than in `first`."""
        numbers = set(self.numbers()) | set(first.numbers())
        return sorted(number for number in numbers if self.owner(number) is not first.owner(number))

    def is_related_to(self, other: "SnapshotBlocks") -> bool:
        return bool({each.identifier for each in self.lineage()} & {each.identifier for each in other.lineage()})
