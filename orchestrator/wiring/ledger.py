"""The ledger of this home: its name, and the places outside that keep its heads."""

import os
import socket
from typing import Any

from orchestrator.contracts.object_lock import ObjectLock
from orchestrator.foundation.places import ledger_folder


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
