"""Status: what runs are and were, read from the store alone; and what a person asks of one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from orchestrator.contracts.engine import FINAL, Runs, RunStatus
from orchestrator.contracts.requests import Operation
from orchestrator.foundation.clock import SystemClock, timestamp
from orchestrator.foundation.errors import GateClosed, UsageError
from orchestrator.model.action import Decision, DrillAtCloud, DrillInBubble
from orchestrator.model.plan import Plan
from orchestrator.operations.revoke import withdrawn
from orchestrator.wiring.state import open_kept, open_runs

# What lets a run begin something: not asked of one whose approvals are gone. Back, and to a stop, it always may go.
GOING_FORWARD = frozenset({"resume", "confirm", "retry", "found_applied", "found_absent"})


@contextmanager
def _runs() -> Iterator[Runs]:
    with open_runs() as runs:
        yield runs


def run_list(*, limit: int) -> Sequence[RunStatus]:
    with _runs() as runs:
        return runs.list(limit=limit)


def run_status(named: str) -> RunStatus:
    """The run whose id is, or begins with, `named`. Raises UsageError for none or several."""
    with _runs() as runs:
        return runs.status(_find(runs, named))


def ask_run(named: str, system: str, operation: str, *, by: str, reason: str, step: str) -> None:
    """Ask it of a run. GateClosed where it would go forward and its approvals were withdrawn, or have expired, and
    where whoever runs a drill would say that it has passed.
    """
    with open_kept() as (runs, catalogue):
        run = _find(runs, named)
        if operation == "confirm" and by == runs.status(run).operator and _judges_drill(runs.plan(run), step):
            raise GateClosed(
                f"{by} runs the drill {run}, and whoever runs a drill does not judge it",
                hint="Somebody else says whether it has shown what it was for.",
            )
        if operation in GOING_FORWARD and not _goes_back(runs.status(run), system):
            why = withdrawn(runs.plan(run), catalogue, timestamp(SystemClock().now()))
            if why:
                raise GateClosed(
                    f"run {run} is not asked to {operation.replace('_', ' ')}: {why}",
                    hint=f"Have the plan approved anew, or take the run back: skerry runs ask rollback {run}",
                )
        runs.request(run, system, cast("Operation", operation), by=by, reason=reason, step=step)


def _judges_drill(plan: Plan, step: str) -> bool:
    """Whether a word to `step`, by default to all that wait, says what a drill has shown."""
    steps = [each for planned in plan.systems for each in planned.steps]
    return any(isinstance(each.action, DrillInBubble | DrillAtCloud) for each in steps) and any(
        isinstance(each.action, Decision) for each in steps if step in ("", each.id)
    )


def _goes_back(status: RunStatus, system: str) -> bool:
    """Whether whoever is meant is on the way back already, which needs no approval."""
    meant = [each for each in status.systems if system in ("", each.system) and each.state not in FINAL]
    return bool(meant) and all(any(step.mode == "undo" for step in each.steps) for each in meant)


def _find(runs: Runs, named: str) -> str:
    found = [status.run for status in runs.list(limit=1000) if status.run.startswith(named)]
    if named in found:
        return named
    if len(found) > 1:
        raise UsageError(f"more than one run begins with {named}", hint="Give more of the id: skerry runs list")
    return found[0] if found else named
