"""The ledger of this home: its name, and the places outside that keep its heads."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.contracts.object_lock import ObjectLock
from orchestrator.contracts.shared_ledger import SharedLedger
from orchestrator.foundation.database_name import named_database
from orchestrator.foundation.places import ledger_folder
from orchestrator.wiring.state import state_url


def open_object_lock(bucket: str, *, region: str, endpoint: str = "", profile: str = "") -> ObjectLock:
    """A bucket under Object Lock, for copies of the log's heads."""
    from orchestrator.targets.s3.object_lock import S3ObjectLock

    return S3ObjectLock(bucket, region=region, endpoint=endpoint, profile=profile)


def open_enrolled(bucket: Any) -> ObjectLock:
    """The bucket that is enrolled for this log, opened."""
    return open_object_lock(bucket.bucket, region=bucket.region, endpoint=bucket.endpoint, profile=bucket.profile)


def log_origin() -> str:
    """The name of this environment's log: the one it has; for a new log `$SKERRY_LOG_ORIGIN`, else this machine's."""
    written = ledger_folder() / "vkey"
    if written.exists():
        return written.read_text().split("+", 1)[0].strip()
    return os.environ.get("SKERRY_LOG_ORIGIN") or f"{socket.gethostname().split('.')[0] or 'localhost'}/skerry"


@contextmanager
def shared_ledger() -> Iterator[SharedLedger | None]:
    """The ledger that this process writes together with other machines; None where it writes its own."""
    if not named_database():
        yield None
        return
    from orchestrator.engine.store import open_store

    store = open_store(state_url())
    try:
        yield store.ledger
    finally:
        store.close()
