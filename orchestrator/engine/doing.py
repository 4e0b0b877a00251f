"""What steps under way say of themselves, kept where other processes see it: what is moved, or waited for."""

import contextlib
import threading

import sqlalchemy as sa

from orchestrator.contracts.progress import Progress
from orchestrator.engine.database import Database
from orchestrator.engine.tables import steps
from orchestrator.foundation.errors import EngineUnavailable
from orchestrator.model.event import RunEvent

EVERY_SECONDS = 2.0

_SAY = (
    sa.update(steps)
    .where(
        *(steps.c[name] == sa.bindparam(f"the_{name}") for name in ("run", "system", "step")),
        steps.c.state == "started",
    )
    .values(doing=sa.bindparam("new_doing"))
)


class Doing:
    """An observer: no deed waits for its writing, and what ends within a moment is never written.

    It is for people; where it cannot be written, it is not.
    """

    def __init__(self, database: Database, every_seconds: float = EVERY_SECONDS) -> None:
        self._database = database
        self._every_seconds = every_seconds
        self._news: dict[tuple[str, str, str], Progress] = {}
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="doing", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)

    def notice(self, event: RunEvent) -> None:
        if event.type == "step.finished":
            with self._lock:
                self._news.pop((event.run, event.system, event.step), None)

    def progress(self, run: str, system: str, step: str, progress: Progress) -> None:
        with self._lock:
            self._news[(run, system, step)] = progress
        self._woken.set()

    def _carry(self) -> None:
        while not self._ending.is_set():
            self._woken.wait()
            if not self._ending.wait(self._every_seconds):
                with contextlib.suppress(EngineUnavailable):
                    self.write_news()

    def write_news(self) -> None:
        """Write what was heard since the last time, of steps that are still under way."""
        with self._lock:
            news, self._news = self._news, {}
            self._woken.clear()
        rows = [
            {"the_run": run, "the_system": system, "the_step": step, "new_doing": progress.model_dump_json()}
            for (run, system, step), progress in news.items()
        ]
        if rows:
            self._database.write(lambda connection: connection.execute(_SAY, rows))
