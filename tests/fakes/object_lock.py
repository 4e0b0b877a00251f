"""A locked bucket in memory that obeys the laws of contracts.object_lock.ObjectLock."""

import hashlib
from collections.abc import Sequence

from orchestrator.contracts.object_lock import LockedCopy
from orchestrator.foundation.errors import TargetError, TargetForbidden


class FakeObjectLock:
    """Keeps what was put. `remove` is what S3 does of a request to delete a version: refuse while locked or held."""

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

    def look(self, key: str, version: str) -> LockedCopy:
        copy = self._copies.get(key)
        if copy is None or copy.version != version:
            raise TargetError(f"{key}: no such version")
        return copy

    def extend(self, key: str, version: str, *, locked_until: str) -> None:
        copy = self.look(key, version)
        self._copies[key] = copy.model_copy(update={"locked_until": max(copy.locked_until, locked_until)})

    def hold(self, key: str, version: str, *, on: bool) -> None:
        self._copies[key] = self.look(key, version).model_copy(update={"held": on})

    def remove(self, key: str, version: str, *, now: str) -> None:
        copy = self.look(key, version)
        if copy.held or copy.locked_until > now:
            raise TargetForbidden(f"{key} is {'held' if copy.held else 'locked'}")
        del self._copies[key]
