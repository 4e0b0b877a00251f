"""The lock that lets one process at a time carry the runs of a SQLite store."""

import fcntl
import os
import time
from pathlib import Path

import sqlalchemy as sa

from orchestrator.foundation.errors import EngineUnavailable, RunInProgress

# How long the guard of a worker that just died may still be ending what that one left behind.
TAKEOVER_SECONDS_MAX = 12.0


class WorkerLock:
    """A flock on a file beside the store; the file holds the owner's process id, for people."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int | None:
        """Open while the lock is held. Whoever inherits it holds the lock too."""
        return self._descriptor

    def take(self) -> None:
        """Take the lock, or raise RunInProgress that names the process which holds it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EngineUnavailable(f"{self._path}: {error.strerror}") from error
        deadline = time.monotonic() + TAKEOVER_SECONDS_MAX
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = _owner(descriptor)
                if _lives(owner) or time.monotonic() > deadline:
                    os.close(descriptor)
                    who = f"process {owner}" if owner else "another process"
                    raise RunInProgress(
                        f"{who} carries the runs of {self._path.parent} already",
                        hint=f"Wait for it, or end it first: kill {owner}" if owner else None,
                    ) from None
                time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def owner(self) -> int:
        """The process that holds it; 0 where none does. Takes nothing."""
        try:
            with self._path.open("rb") as stream:
                owner = _owner(stream.fileno())
        except FileNotFoundError:
            return 0
        return owner if _lives(owner) else 0

    def release(self) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def _owner(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() else 0


def _lives(process: int) -> bool:
    if not process:
        return False
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def worker_lock(store_url: str) -> WorkerLock | None:
    """SQLite counts its limits outside its write lock, and so allows one worker; PostgreSQL allows many."""
    path = sa.make_url(store_url).database
    if not store_url.startswith("sqlite") or not path:
        return None
    return WorkerLock(Path(path).with_name("worker.lock"))
