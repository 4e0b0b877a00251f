"""Several workers on one PostgreSQL: each beats, takes over from the dead, and ends itself when it may seem dead.

Rules:
  a worker beats in the database's time, by updating a row that it made once
  whoever has not beaten for the dead limit is dead: its row is removed, its runs are carried by another
  a worker that could not beat for a part of the limit, or whose row is gone, ends its process at once, before the
  others may believe it dead: what it was about to do is done elsewhere
"""

import os
import socket
import threading
import time
from collections.abc import Callable

from orchestrator.engine.durable import DurableEngine
from orchestrator.engine.workers_store import WorkersStore
from orchestrator.foundation.errors import EngineUnavailable
from orchestrator.foundation.limits import WORKER_DEAD_SECONDS

OWN_DEATH_PART = 0.6  # of the dead limit: before others could take over
BEATS_PER_LIMIT = 10


class Heartbeat:
    """Beats from `start` to `stop`. `end_process` is called from the beating thread and must not return."""

    def __init__(
        self,
        workers: WorkersStore,
        engine: DurableEngine,
        worker: str,
        *,
        dead_seconds: float = WORKER_DEAD_SECONDS,
        end_process: Callable[[str], None],
    ) -> None:
        self._workers = workers
        self._engine = engine
        self._worker = worker
        self._dead_seconds = dead_seconds
        self._end_process = end_process
        self._last_beat = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._watch = threading.Thread(target=self._watch_ourselves, name="heartbeat-watch", daemon=True)

    def start(self) -> None:
        self._workers.register(self._worker, host=socket.gethostname(), pid=os.getpid())
        self._last_beat = time.monotonic()
        self._thread.start()
        self._watch.start()

    def stop(self) -> None:
        """End well: the others take over at once."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._dead_seconds)
            self._workers.leave(self._worker)

    @property
    def may_act(self) -> bool:
        """False as soon as others may take this worker for dead."""
        return time.monotonic() - self._last_beat < self._dead_seconds * OWN_DEATH_PART

    def live(self) -> set[str]:
        return self._workers.live(dead_seconds=self._dead_seconds)

    def _watch_ourselves(self) -> None:
        """Apart from beating, which may hang with the database."""
        while not self._ending.wait(self._dead_seconds / BEATS_PER_LIMIT / 2):
            if not self.may_act and not self._ending.is_set():
                self._end_process(f"no heartbeat for {time.monotonic() - self._last_beat:.1f} s")

    def _run(self) -> None:
        while not self._ending.wait(min(1.0, self._dead_seconds / BEATS_PER_LIMIT)):
            began = time.monotonic()
            try:
                if not self._workers.beat(self._worker):
                    self._end_process("another worker took this one for dead")
                self._last_beat = began
                self._take_over()
            except EngineUnavailable:
                continue  # the next beat may reach the database; the watch ends us if none does

    def _take_over(self) -> None:
        """Reconcile: whoever owns runs and does not live is taken over from. Harmless when two do it, or one dies."""
        self._workers.bury(dead_seconds=self._dead_seconds)
        for dead in sorted(self._engine.owners_of_pending() - self.live() - {self._worker}):
            systems = self._engine.take_over(dead)
            if systems:
                self._workers.note_takeover(dead, by=self._worker, systems=systems)
