"""The lock that lets one process at a time carry the runs of a SQLite store."""

import fcntl
import os
import signal
import time
from pathlib import Path

import sqlalchemy as sa

from orchestrator.foundation.errors import EngineUnavailable, RunInProgress

# How long the guard of a worker that just died may still be ending what that one left behind.
TAKEOVER_SECONDS_MAX = 12.0
# How long a process that steps aside may take to end well.
STEP_ASIDE_SECONDS_MAX = 60.0
_STEPS_ASIDE = "steps aside"


class WorkerLock:
    """A flock on a file beside the store; the file holds the owner's process id, for people.

    An owner that `steps_aside` carries runs only while nobody else does: whoever wants the lock asks it to end.
    """

    def __init__(self, path: Path, *, steps_aside: bool = False) -> None:
        self._path = path
        self._steps_aside = steps_aside
        self._descriptor: int | None = None
        self.relieved = 0  # the process that stepped aside for this one

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
                if owner != self.relieved and not self._steps_aside and _steps_aside(descriptor) and _ask_to_end(owner):
                    self.relieved, deadline = owner, time.monotonic() + STEP_ASIDE_SECONDS_MAX
                if (_lives(owner) and owner != self.relieved) or time.monotonic() > deadline:
                    os.close(descriptor)
                    who = f"process {owner}" if owner else "another process"
                    raise RunInProgress(
                        f"{who} carries the runs of {self._path.parent} already",
                        hint=f"Wait for it, or end it first: kill {owner}" if owner else None,
                    ) from None
                time.sleep(0.05)
        while _lives(self.relieved) and time.monotonic() < deadline:  # what else it holds is free when it is gone
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {_STEPS_ASIDE if self._steps_aside else ''}\n".encode(), 0)
        self._descriptor = descriptor

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is locked is still the one beside the store."""
        try:
            return self._descriptor is not None and os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except OSError:
            return False

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
    process, _, _ = _written(descriptor).partition(" ")
    return int(process) if process.isdigit() else 0


def _steps_aside(descriptor: int) -> bool:
    return _written(descriptor).endswith(_STEPS_ASIDE)


def _written(descriptor: int) -> str:
    return os.pread(descriptor, 64, 0).decode(errors="replace").strip()


def _ask_to_end(process: int) -> bool:
    try:
        os.kill(process, signal.SIGTERM)
    except OSError:  # gone meanwhile, or another user's
        return False
    return True


def _lives(process: int) -> bool:
    if not process:
        return False
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def worker_lock(store_url: str, *, steps_aside: bool = False) -> WorkerLock | None:
    """SQLite counts its limits outside its write lock, and so allows one worker; PostgreSQL allows many."""
    path = sa.make_url(store_url).database
    if not store_url.startswith("sqlite") or not path:
        return None
    return WorkerLock(Path(path).with_name("worker.lock"), steps_aside=steps_aside)
