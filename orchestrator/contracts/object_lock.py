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


class ObjectLock(Protocol):
    """Copies under a retention lock in compliance mode.

    Laws (tests/laws/object_lock_laws.py):
      put    returns when the copy is durable and locked; a key that is there already is left as it is and given back
      list   every version of every key below the prefix, oldest first
    Fails only with TargetError and its kin.
    """

    def put(self, key: str, content: bytes, *, locked_until: str) -> LockedCopy: ...
    def list(self, prefix: str) -> Sequence[LockedCopy]: ...
