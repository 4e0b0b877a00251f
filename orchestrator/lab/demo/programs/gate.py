"""The gate that every write passes, so that an application can be held still for a moment.

Rules: a held gate lets nobody in and opens by itself when its time is over; a gate that is closed for good (the program
ends) turns waiting writers away; who is inside when the gate is held is waited for.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class GateClosedForGood(Exception):
    """The program is ending; nothing more is written."""


class WritersDidNotLeave(Exception):
    """Writes were still in flight when the time to hold was over; the gate is open again."""


class WriteGate:
    """Counts writers and holds new ones back while somebody takes a picture."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._held_until = 0.0
        self._ending = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Wait until the gate is open, then count as inside for the length of the block."""
        with self._changed:
            while not self._ending and (left := self._held_until - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._ending:
                raise GateClosedForGood
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def hold(self, seconds: float) -> float:
        """Hold the gate for at most `seconds`; return once nobody is inside, with the seconds that this took."""
        started = time.monotonic()
        with self._changed:
            self._held_until = started + seconds
            while self._inside:
                left = self._held_until - time.monotonic()
                if left <= 0:
                    self._open()
                    raise WritersDidNotLeave(f"{self._inside} writes still in flight after {seconds:g} s")
                self._changed.wait(left)
        return time.monotonic() - started

    def release(self) -> bool:
        """Open the gate. True where it was still held."""
        with self._changed:
            was_held = self._held_until > time.monotonic()
            self._open()
            return was_held

    def held_seconds_left(self) -> float:
        with self._changed:
            return max(0.0, self._held_until - time.monotonic())

    def end(self) -> None:
        """Turn away whoever waits or comes later."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def _open(self) -> None:
        self._held_until = 0.0
        self._changed.notify_all()
