"""A locked bucket in memory that obeys the laws of contracts.object_lock.ObjectLock."""

import hashlib
from collections.abc import Sequence

from orchestrator.contracts.object_lock import LockedCopy


class FakeObjectLock:
    """Keeps what was put; nothing can be taken out."""

    def __init__(self) -> None:
        self._copies: dict[str, LockedCopy] = {}

    def put(self, key: str, content: bytes, *, locked_until: str) -> LockedCopy:
        number = len(self._copies) + 1
        copy = LockedCopy(
            key=key,
            version=f"v{number}",
            sha256=hashlib.sha256(content).hexdigest(),
            stored_at=f"2026-01-01T00:00:{number:02d}.000Z",
            locked_until=locked_until,
        )
        return self._copies.setdefault(key, copy)

    def list(self, prefix: str) -> Sequence[LockedCopy]:
        return [copy for copy in self._copies.values() if copy.key.startswith(prefix)]
