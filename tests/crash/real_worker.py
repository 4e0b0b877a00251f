"""One life of a worker on a lab, in a process of its own.

It carries the run until that rests, or waits for a person, and meets the trouble of its cell at the boundary. Where
that is a kill, it kills itself; where its own disk is full, the system refuses it every further byte of a file.
"""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.contracts.engine import AT_REST, Worker
from orchestrator.contracts.handler import Deed, Emit, Handler, Handlers
from orchestrator.contracts.observer import Recorder
from orchestrator.contracts.progress import ProgressSink
from orchestrator.foundation.database_name import named_database
from orchestrator.foundation.errors import (
    CommandTimedOut,
    EngineUnavailable,
    HostUnreachable,
    LedgerFull,
    NoSpace,
    OrchestratorError,
)
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
from tests.crash.matrix_cells import CUT_OFF, TROUBLES, Case, deeds_of, last_step_before_commit
from tests.fakes.handlers import name_of, sides_of

SITE_OF = {"source": "onprem", "dr": "dr", "cloud": "cloud"}
LOOK_SECONDS = 0.25
# What a fault that comes after the deed has the deed end in.
GONE: dict[str, type[OrchestratorError]] = {
    "cut-cable": HostUnreachable,
    "partition": HostUnreachable,
    "disk-full": NoSpace,
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill_the_disk() -> None:
    """Of this machine, as this process sees it: no file takes another byte from it."""
    limit_files(0)


def limit_files(bytes_max: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


# Troubles that come before or after an event of the step is durable; its end is not yet in the journal then.
AT_RECORDS: dict[str, tuple[str, str, Callable[[], None]]] = {
    "kill before evidence": ("step.finished", "before", die),
    "kill before the journal": ("step.finished", "after", die),
    "ledger full": ("step.started", "before", fill_the_disk),
    "ledger full after the deed": ("step.finished", "before", fill_the_disk),
    "state full before the journal": ("step.finished", "after", fill_the_disk),
}
AT_DEEDS = tuple(trouble for trouble in TROUBLES if trouble not in AT_RECORDS)  # the others: handlers meet them


class Troubled:
    """A handler of the product, with the cell's trouble round it where that is one of deeds."""

    def __init__(self, inner: Handler, desk: "TroubledDesk") -> None:
        self._inner = inner
        self._desk = desk

    def probe(self, deed: Deed) -> Probe:
        if self._is_troubled(deed) and self._desk.case.trouble == "timeout, unknown" and self._desk.came.exists():
            return Probe.UNKNOWN
        return self._inner.probe(deed)

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        case = self._desk.case
        if deed.mode == "do" and deed.step.id == self._desk.failing:
            return Outcome.failed("told to fail")
        if self._is_troubled(deed) and not self._desk.came.exists():
            self._desk.came.touch()
            return self._struck(deed, progress, emit)
        if self._is_troubled(deed) and case.trouble == "host unreachable after the deed":
            self._desk.heal()  # it went away for as long as that
        return self._inner.act(deed, progress, emit)

    def _is_troubled(self, deed: Deed) -> bool:
        return name_of(deed) == self._desk.case.name and self._desk.case.strikes in AT_DEEDS

    def _struck(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        case = self._desk.case
        if case.strikes == "kill before the deed":
            die()
        if case.trouble == "timeout before the deed":
            raise CommandTimedOut(f"{case.name} did not end in time")
        fault = fault_of(case, deed.system_plan.system, sides_of(deed.action) or ["dr"])
        comes_after = case.trouble.endswith("after the deed")
        if fault is not None and not comes_after:
            self._desk.put(fault)
        try:
            outcome = self._inner.act(deed, progress, emit)
        finally:
            if case.trouble == "host unreachable once":
                self._desk.heal()
        if case.strikes == "kill after the deed":
            die()
        if fault is not None and comes_after:
            self._desk.put(fault)
            raise GONE[fault.kind](f"{case.name}: it was there no more when it was to answer")
        if case.trouble.startswith("timeout"):
            raise CommandTimedOut(f"{case.name} did not end in time")
        return outcome


def fault_of(case: Case, system: System, sides: list[str]) -> Fault | None:
    """The lab's fault at the last of the sides that the deed is about."""
    side = sides[-1]
    host = system.host_of(Side(side))
    if case.trouble.startswith("host unreachable"):
        return Fault("cut-cable", (host,))
    if case.trouble.startswith(CUT_OFF):
        other = next(found for found in ("dr", "source") if found != side)
        return Fault("partition", (SITE_OF[side], SITE_OF[other]))
    if case.trouble.startswith("host disk full"):
        return Fault("disk-full", (host, folder_of(system)))
    return None


def folder_of(system: System) -> str:
    """Where its data are that are no database."""
    dataset = next(found for found in system.datasets if found.kind != "postgresql")
    return dataset.path if isinstance(dataset, FileTree) else str(PurePosixPath(dataset.path).parent)


class TroubledRecorder:
    """The ledger's recorder, with the cell's trouble round it where that is one of writing down how far a step came."""

    def __init__(self, inner: Any, desk: "TroubledDesk") -> None:
        self._inner = inner
        self._desk = desk

    def record(self, event: RunEvent) -> int:
        case = self._desk.case
        kind, when, strike = AT_RECORDS.get(case.strikes, ("", "", die))
        told = (event.type, event.step, event.data.get("mode")) == (kind, case.step, case.mode)
        is_to_come = told and not self._desk.came.exists()
        if is_to_come:
            self._desk.came.touch()
        if is_to_come and when == "before":
            strike()
        index: int = self._inner.record(event)
        if is_to_come and when == "after":
            strike()
        return index

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class TroubledDesk(Desk):
    """A desk that meets the trouble of `case`, once: then the file `came` is there."""

    case: Case
    came: Path
    failing: str = ""  # the step that fails so that all is undone

    @cached_property
    def handlers(self) -> Handlers:
        inner = super().handlers
        return lambda verb: Troubled(inner(verb), self)

    @contextmanager
    def recorder(self) -> Iterator[Recorder]:
        with super().recorder() as inner:
            yield TroubledRecorder(inner, self)

    def put(self, fault: Fault) -> None:
        estate_town.open_lab().put_fault(fault)

    def heal(self) -> None:
        estate_town.open_lab().heal()


def await_rest_or_person(run: str, desk: Desk, worker: Worker) -> None:
    while True:
        status = worker.await_finished(run, timeout_seconds=LOOK_SECONDS)
        rests = all(found.state in AT_REST for found in status.systems) and not status.requests_open
        if status.state == "finished" or rests or waits_for_person(status, desk.runs.plan(run)):
            return


def carry(estate: Path, run: str, case: Case, came: Path) -> int:
    """The exit code, where it comes to that: 0, or that of what halted the worker."""
    try:
        _carry(estate, run, case, came)
    except (LedgerFull, EngineUnavailable) as halted:
        return halted.exit_code
    finally:
        limit_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])  # so that what else it broke on can be told
    return 0


def _carry(estate: Path, run: str, case: Case, came: Path) -> None:
    with open_workshop(estate, kind=TroubledDesk) as desk:
        desk.case, desk.came = case, came
        if case.mode == "undo":
            failing = last_step_before_commit(deeds_of(case.runbook))
            desk.failing = failing.id if failing is not None else ""
        with desk.worker(WORKER_DEAD_SECONDS_MIN if named_database() else None) as worker:
            worker.start()
            try:
                await_rest_or_person(run, desk, worker)
            finally:
                worker.stop()
