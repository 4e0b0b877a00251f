"""A place where copies cannot be changed or removed before their time, not even by who put them there."""

from collections.abc import Sequence
from typing import Protocol

from orchestrator.model.frozen import Frozen


class LockedCopy(Frozen):
    """One version of one object, locked until then (RFC 3339 UTC)."""

    key: str
    version: str
    sha256: str = ""
    stored_at: str = ""
    locked_until: str = ""
    held: bool = False  # a legal hold lies on it, whatever the time


class ObjectLock(Protocol):
    """Copies under a retention lock in compliance mode.

    Laws (tests/laws/object_lock_laws.py):
      put    returns when the copy is durable and locked; a key that is there already is left as it is and given back
      list   every version of every key below the prefix, oldest first; of locks and holds it says nothing
      look   one version with its lock, its hold and when it was stored
      extend locks one version for longer; a time that is not later than its lock changes nothing
      hold   a version that is held cannot be removed, even after its lock; holding twice is holding once
    Fails only with TargetError and its kin.
    """

    def put(self, key: str, content: bytes, *, locked_until: str) -> LockedCopy: ...
    def list(self, prefix: str) -> Sequence[LockedCopy]: ...
    def look(self, key: str, version: str) -> LockedCopy: ...
    def extend(self, key: str, version: str, *, locked_until: str) -> None: ...
    def hold(self, key: str, version: str, *, on: bool) -> None: ...
