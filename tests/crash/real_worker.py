"""One life of a worker on a lab, in a process of its own.

It carries the run until that rests, or waits for a person, and meets the trouble of its cell at the boundary; where
that is a kill, it kills itself.
"""

import os
import signal
from functools import cached_property
from pathlib import Path, PurePosixPath

from orchestrator.contracts.engine import AT_REST, Worker
from orchestrator.contracts.handler import Deed, Emit, Handler, Handlers
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.database_name import named_database
from orchestrator.foundation.errors import CommandTimedOut
from orchestrator.foundation.limits import WORKER_DEAD_SECONDS_MIN
from orchestrator.lab import estate_town
from orchestrator.lab.faults import Fault
from orchestrator.model.dataset import FileTree
from orchestrator.model.event import RunEvent
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.operations.desk import Desk
from orchestrator.operations.drills import waits_for_person
from orchestrator.wiring.workshop import open_workshop
from tests.crash.crash_matrix import CUT_OFF, Case, last_step_before_commit, steps_of
from tests.fakes.handlers import PERSON_STEPS, name_of, sides_of

SITE_OF = {"source": "onprem", "dr": "dr", "cloud": "cloud"}
LOOK_SECONDS = 0.25


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Troubled:
    """A handler of the product, with the cell's trouble round it."""

    def __init__(self, inner: Handler, desk: "TroubledDesk") -> None:
        self._inner = inner
        self._desk = desk

    def probe(self, deed: Deed) -> Probe:
        return self._inner.probe(deed)

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        case = self._desk.case
        if deed.mode == "do" and deed.step.id == self._desk.failing:
            return Outcome.failed("told to fail")
        if name_of(deed) != case.name or self._desk.came.exists():
            return self._inner.act(deed, progress, emit)
        if case.strikes != "kill before the journal":
            self._desk.came.touch()
        if case.strikes == "kill before the deed":
            die()
        fault = fault_of(case, deed.system_plan.system, sides_of(deed.action) or ["dr"])
        if fault is not None:
            estate_town.open_lab().put_fault(fault)
        outcome = self._inner.act(deed, progress, emit)
        if case.strikes == "kill after the deed":
            die()
        if case.trouble == "timeout, absent":
            raise CommandTimedOut(f"{case.name} did not end in time")
        return outcome


def fault_of(case: Case, system: System, sides: list[str]) -> Fault | None:
    """The lab's fault at the last of the sides that the deed is about."""
    side = sides[-1]
    host = system.host_of(Side(side))
    if case.trouble == "host unreachable for good":
        return Fault("cut-cable", (host,))
    if case.trouble == CUT_OFF:
        other = next(found for found in ("dr", "source") if found != side)
        return Fault("partition", (SITE_OF[side], SITE_OF[other]))
    if case.trouble == "host disk full":
        return Fault("disk-full", (host, folder_of(system)))
    return None


def folder_of(system: System) -> str:
    """Where its data are that are no database."""
    dataset = next(found for found in system.datasets if found.kind != "postgresql")
    return dataset.path if isinstance(dataset, FileTree) else str(PurePosixPath(dataset.path).parent)


class KillBeforeTheJournal:
    """Sees an event once it is durable in the evidence: the end of the step is not yet in the journal then."""

    def __init__(self, case: Case, came: Path) -> None:
        self._case = case
        self._came = came

    def notice(self, event: RunEvent) -> None:
        ended = (event.type, event.step, event.data.get("mode")) == ("step.finished", self._case.step, self._case.mode)
        if ended and self._case.strikes == "kill before the journal" and not self._came.exists():
            self._came.touch()
            die()

    def progress(self, run: str, system: str, step: str, progress: Progress) -> None:
        pass


class TroubledDesk(Desk):
    """A desk whose handlers meet the trouble of `case`, once: then the file `came` is there."""

    case: Case
    came: Path
    failing: str = ""  # the step that fails so that all is undone

    @cached_property
    def handlers(self) -> Handlers:
        inner = super().handlers
        return lambda verb: Troubled(inner(verb), self)


def await_rest_or_person(run: str, desk: Desk, worker: Worker) -> None:
    while True:
        status = worker.await_finished(run, timeout_seconds=LOOK_SECONDS)
        rests = all(found.state in AT_REST for found in status.systems) and not status.requests_open
        if status.state == "finished" or rests or waits_for_person(status, desk.runs.plan(run)):
            return


def carry(estate: Path, run: str, case: Case, came: Path) -> int:
    """The exit code, where it comes to that."""
    observers = [KillBeforeTheJournal(case, came)]
    with open_workshop(estate, observers=observers, kind=TroubledDesk) as desk:
        desk.case, desk.came = case, came
        if case.mode == "undo":
            steps = [step for step in steps_of(case.runbook) if step.action.verb not in PERSON_STEPS]
            failing = last_step_before_commit(steps)
            desk.failing = failing.id if failing is not None else ""
        with desk.worker(WORKER_DEAD_SECONDS_MIN if named_database() else None) as worker:
            worker.start()
            try:
                await_rest_or_person(run, desk, worker)
            finally:
                worker.stop()
    return 0
