"""Threads that carry deeds: a bounded number, daemons, so that a deed which hangs cannot keep the process alive."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class DeedThreads(Generic[T]):
    """Runs each deed once at a time: while a key is under way, submitting it again gives the same future."""

    def __init__(self, *, threads_max: int) -> None:
        self._threads_max = threads_max
        self._waiting: queue.SimpleQueue[tuple[str, Callable[[], T], Future[T]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[T]] = {}
        self._threads = 0
        self._stopped = False

    def submit(self, key: str, deed: Callable[[], T]) -> "Future[T]":
        with self._lock:
            present = self._under_way.get(key)
            if present is not None:
                return present
            future: Future[T] = Future()
            if self._stopped:
                return future  # never begun, never done: the next worker takes it up
            self._under_way[key] = future
            self._waiting.put((key, deed, future))
            if self._threads < min(self._threads_max, len(self._under_way)):
                self._threads += 1
                threading.Thread(target=self._carry, name=f"deed-{self._threads}", daemon=True).start()
            return future

    @property
    def is_idle(self) -> bool:
        """Nothing is under way, and nothing waits to be."""
        with self._lock:
            return not self._under_way

    def await_idle(self, seconds: float) -> None:
        """Return when nothing is under way, or after so long."""
        deadline = time.monotonic() + seconds
        while not self.is_idle and time.monotonic() < deadline:
            time.sleep(0.05)

    def stop(self) -> None:
        """Begin nothing more. What is under way goes on in its thread, and nobody waits for it."""
        with self._lock:
            self._stopped = True
            for _ in range(self._threads):
                self._waiting.put(None)

    def _carry(self) -> None:
        while (work := self._waiting.get()) is not None:
            key, deed, future = work
            if self._stopped:
                continue
            try:
                result = deed()
            # Also what is no Exception: whoever waits must learn of it, and this thread must not die of it.
            except BaseException as error:
                self._forget(key)
                future.set_exception(error)
            else:
                self._forget(key)
                future.set_result(result)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._under_way.pop(key, None)
