"""Working: a process that carries whatever runs are submitted, beside others on other machines; and which there are."""

import signal
import socket
from collections.abc import Callable
from typing import Any

from orchestrator.foundation.database_name import named_database
from orchestrator.foundation.errors import UsageError
from orchestrator.foundation.limits import WORKER_DEAD_SECONDS, WORKER_DEAD_SECONDS_MIN
from orchestrator.foundation.places import skerry_home
from orchestrator.operations.desk import Desk
from orchestrator.wiring.state import open_workers


def serve(
    desk: Desk, *, dead_seconds: float | None, on_up: Callable[[str], None], caretaker: bool = False
) -> None:
    """Carry runs until SIGTERM or Ctrl-C; then end well: others take over at once, what is under way is begun again.

    A caretaker ends once nothing waits at its new side any more, and for whoever else wants to carry runs. Raises
    RunInProgress where another process carries the runs of this home, and what halted the worker.
    """
    if dead_seconds is not None and not named_database():
        raise UsageError(
            "--dead-seconds is for workers that share a database: nobody else can take over from this one",
            hint="Name the database: --database postgresql://USER@HOST/NAME, or leave the option out.",
        )
    if dead_seconds is not None and dead_seconds < WORKER_DEAD_SECONDS_MIN:
        raise UsageError(
            f"a worker silent for {dead_seconds:g} s may just be busy; the least is {WORKER_DEAD_SECONDS_MIN:g} s"
        )
    with desk.worker(dead_seconds, steps_aside=caretaker) as worker:
        ends = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            worker.start()
            on_up(named_database() or str(skerry_home()))
            worker.serve()
        except KeyboardInterrupt:
            return
        finally:
            signal.signal(signal.SIGTERM, ends)
            worker.stop()


def worker_documents(dead_seconds: float | None = None) -> dict[str, Any]:
    """Who carries runs now, and the newest take-overs: what --json prints."""
    with open_workers() as workers:
        return {
            "database": named_database() or None,
            "workers": workers.shown(dead_seconds=dead_seconds or WORKER_DEAD_SECONDS, host=socket.gethostname()),
            "takeovers": workers.takeovers(limit=20),
        }
