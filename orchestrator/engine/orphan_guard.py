"""Ends what a dead worker left running: a small process that outlives the worker for a moment.

The worker marks its environment, which whatever it starts inherits (ssh, rsync, ansible and their children, also in
sessions of their own). The guard waits on a pipe that only the worker holds. When the pipe breaks, the worker is dead,
and every process with the mark is ended. The guard shares the worker's lock, so that no new worker begins before that.
Processes of other users, and those whose environment was cleared, are not seen. Needs /proc.

This file also runs as a program of its own, and therefore imports only the standard library.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "SKERRY_WORKER"
GRACE_SECONDS = 0.5
ENDING_SECONDS_MAX = 5.0
_LEAVE = b"leave"


class OrphanGuard:
    """Watches over this process's children from `__init__` until `leave` or `end_children`."""

    def __init__(self, mark: str, *, lock_descriptor: int | None) -> None:
        os.environ[MARK] = mark
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=() if lock_descriptor is None else (lock_descriptor,),
            start_new_session=True,
        )

    def leave(self) -> None:
        """Go, and let every process live: nothing of ours is under way."""
        self._close(_LEAVE)

    def end_children(self) -> None:
        """End what this process started since, and go."""
        self._close(b"")

    def _close(self, word: bytes) -> None:
        os.environ.pop(MARK, None)
        try:
            self._process.communicate(word, timeout=2 * ENDING_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def marked_processes(mark: str) -> list[int]:
    """Process ids of this machine, without our own, whose environment bears the mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        if wanted in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


def end_marked(mark: str) -> None:
    """End them all, politely first; return when none is left or the time is up."""
    began = time.monotonic()
    while time.monotonic() - began < ENDING_SECONDS_MAX:
        left = marked_processes(mark)
        if not left:
            return
        word = signal.SIGTERM if time.monotonic() - began < GRACE_SECONDS else signal.SIGKILL
        for process in left:
            try:
                os.kill(process, word)
            except OSError:  # gone meanwhile
                continue
        time.sleep(0.05)


def main() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    mark = sys.argv[1]
    if sys.stdin.buffer.read() != _LEAVE:
        end_marked(mark)


if __name__ == "__main__":
    main()
