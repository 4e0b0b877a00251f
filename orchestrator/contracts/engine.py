"""What operations ask of the engine, and what a person sees of a run."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from orchestrator.model.frozen import Frozen
from orchestrator.model.outcome import Result
from orchestrator.model.plan import Plan

SystemState = Literal[
    "waiting", "running", "rolling_back", "committed", "rolled_back", "failed", "rollback_failed", "cancelled"
]


class StepStatus(Frozen):
    """One row of a run: a step in one direction."""

    system: str
    step: str
    mode: Literal["do", "undo"]
    state: Literal["started", "done", "failed", "unknown"]
    result: Result | None = None
    message: str = ""
    attempts: int = 0
    started_at: str = ""
    finished_at: str = ""
    seconds: float = 0.0
    observed: dict[str, Any] = {}


class SystemStatus(Frozen):
    system: str
    state: SystemState
    reason: str = ""
    steps: tuple[StepStatus, ...] = ()


class RunStatus(Frozen):
    run: str
    plan: str  # digest
    wave: str
    kind: str
    operator: str
    state: Literal["running", "finished"]
    created_at: str
    finished_at: str = ""
    systems: tuple[SystemStatus, ...] = ()


class Runs(Protocol):
    """The store of runs: what people see, and requests to the engine. Imports no engine; safe for any number of readers.

    Laws (tests/laws/runs_laws.py):
      submit    twice with one run id is once; raises RunInProgress when another unfinished run holds a system of the plan
      status    is what is durable; raises UsageError for an unknown run
      request   is delivered once to the run's worker
    """

    def submit(self, run: str, plan: Plan, *, kind: str, operator: str) -> None: ...
    def status(self, run: str) -> RunStatus: ...
    def list(self, *, limit: int = 100) -> Sequence[RunStatus]: ...
    def plan(self, run: str) -> Plan: ...
    def request(self, run: str, system: str, operation: Literal["rollback", "cancel"], *, by: str, reason: str) -> None: ...


class Worker(Protocol):
    """Carries runs forward. One process on SQLite."""

    def start(self) -> None:
        """Take the worker lock (RunInProgress when another process holds it), recover what was left, begin."""
        ...

    def await_finished(self, run: str, *, timeout_seconds: float | None = None) -> RunStatus: ...

    def stop(self) -> None:
        """End this process's work; what is under way is resumed by the next worker."""
        ...
