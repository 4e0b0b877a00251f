"""What operations ask of the engine, and what a person sees of a run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from orchestrator.contracts.handler import Deed
from orchestrator.contracts.progress import Progress
from orchestrator.contracts.requests import Operation
from orchestrator.model.frozen import Frozen
from orchestrator.model.gate import GateVerdict
from orchestrator.model.names import SystemName
from orchestrator.model.outcome import Result
from orchestrator.model.plan import Plan
from orchestrator.model.step import Gate

# waiting: not begun. failed and rollback_failed: at rest, a person decides. A failed system with something to undo
# keeps its lock; committed, rolled_back and cancelled are final.
SystemState = Literal[
    "waiting",
    "running",
    "paused",
    "rolling_back",
    "committed",
    "rolled_back",
    "failed",
    "rollback_failed",
    "cancelled",
]
AT_REST: frozenset[SystemState] = frozenset({"committed", "rolled_back", "failed", "rollback_failed", "cancelled"})
FINAL: frozenset[SystemState] = frozenset({"committed", "rolled_back", "cancelled"})

# Judges a gate over the `observed` of this system's finished steps, by step id. Pure.
GateJudge = Callable[[Gate, Mapping[str, Mapping[str, Any]]], GateVerdict]

# What is known at a moment (seconds since the epoch) beside what steps observed, by the name that criteria call it:
# what is left of the window. Pure in the moment, so that a turn that is taken again judges alike.
KnownAt = Callable[[float], Mapping[str, Mapping[str, Any]]]


def nothing_known(_at: float) -> Mapping[str, Mapping[str, Any]]:
    """For plans that are bound to no window."""
    return {}


# Brings along once what the new side of a run at rest has written: the deed is that of its step that follows, with a
# ticket of its own. Says itself what came of it; what it raises is told by the engine, and the run rests on.
KeepOpen = Callable[[Deed], None]


class StepStatus(Frozen):
    """One row of a run: a step in one direction."""

    system: str
    step: str
    mode: Literal["do", "undo"]
    state: Literal["started", "waiting", "done", "failed", "unknown"]  # waiting: for a person, or for time
    result: Result | None = None
    message: str = ""
    hint: str = ""  # what to do about it
    attempts: int = 0
    started_at: str = ""
    finished_at: str = ""
    seconds: float = 0.0
    observed: dict[str, Any] = {}
    doing: Progress | None = None  # while it is under way: what was heard of it last


class SystemStatus(Frozen):
    system: str
    state: SystemState
    reason: str = ""
    over: bool = False  # nothing can move it any more, and other runs may take the system; one that failed may stand
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
    requests_open: int = 0  # what people asked and no worker has taken up yet; states do not show it


class Runs(Protocol):
    """The store of runs: what people see, and requests to the engine. Imports no engine; any number may read.

    Laws (tests/laws/runs_laws.py):
      submit    twice with one run id is once; raises RunInProgress when another unfinished run, or one that failed
                half-way, holds a system of the plan
      status    is what is durable; raises UsageError for an unknown run. Once requests_open is 0, the states show
                what came of every request so far
      request   is delivered once to the run's worker; an empty `system` means every system of the run;
                raises UsageError for an unknown run or system, GateClosed where it can no longer be obeyed
    """

    def submit(
        self,
        run: str,
        plan: Plan,
        *,
        kind: str,
        operator: str,
        pause_before: Sequence[str] = (),
        systems: Sequence[SystemName] = (),
    ) -> None:
        """`pause_before` is asked for in the same breath: no worker can carry the run past those steps. `systems` names
        those of the plan that this run has; by default all.
        """
        ...

    def status(self, run: str) -> RunStatus: ...
    def list(self, *, limit: int = 100, plan: str = "") -> Sequence[RunStatus]:
        """The newest first, with their systems, without their steps; only those of `plan` (its digest), where named."""
        ...

    def plan(self, run: str) -> Plan: ...

    def request(
        self, run: str, system: str, operation: Operation, *, by: str, reason: str, step: str = ""
    ) -> None: ...


class WorkersView(Protocol):
    """Who carries runs, as people see it; documents as --json prints them."""

    def shown(self, *, dead_seconds: float, host: str) -> list[dict[str, Any]]: ...
    def takeovers(self, *, limit: int) -> list[dict[str, Any]]: ...


class Worker(Protocol):
    """Carries runs forward. One process on SQLite; any number, on several machines, where they share PostgreSQL.

    A run is finished when each of its systems is at rest. When evidence can no longer be written (LedgerFull) or the
    store or engine is out of order (EngineUnavailable), the worker halts before the next deed and await_finished
    raises that error; the next worker goes on.
    """

    def start(self) -> None:
        """Take the worker lock (RunInProgress when another process holds it), recover what was left, begin."""
        ...

    def await_finished(self, run: str, *, timeout_seconds: float | None = None) -> RunStatus: ...

    def serve(self) -> None:
        """Carry whatever is submitted, until the process is told to end. Raises what halted the worker."""
        ...

    def stop(self) -> None:
        """End this process's work; what is under way is resumed by the next worker."""
        ...
