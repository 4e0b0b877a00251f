"""Accounts of writes: what only one side holds, counted for whoever is about to choose. Hosts are only looked at."""

from typing import Any

from orchestrator.contracts.engine import FINAL, RunStatus
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.model.action import AccountWrites, MoveAuthority
from orchestrator.model.names import SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.site import Side
from orchestrator.model.step import Inverse, Phase, Step
from orchestrator.operations.desk import Desk
from orchestrator.steps.accounting import account_writes

RUNS_LOOKED_AT_MAX = 1000


def nobody_watches(_progress: Progress) -> None:
    """A look between two runs."""


def account_of(
    desk: Desk, status: RunStatus, system: SystemName, progress: ProgressSink = nobody_watches
) -> dict[str, Any]:
    """What only the side with authority holds beside the one where the run found it.

    Empty where authority is where the run found it: then nothing was written anywhere else. `last_round` tells of the
    round that brought the old side up to date last.
    """
    plan = desk.runs.plan(status.run)
    moves = [step.action for step in plan.system_plan(system).steps if step.action.verb == "move_authority"]
    present = desk.authority.read(system).side
    if not moves or present is moves[0].from_side:
        return {}
    home = moves[0].from_side
    account = account_between(desk, plan, status.run, system, at=present, beside=home, progress=progress)
    since = [each for each in desk.replication.rounds(system) if each.started_at >= status.created_at]
    last = next((each for each in since if each.finished_at), None)
    if last is not None:
        account["last_round"] = last.model_dump(mode="json", include={"result", "finished_at", "message"})
    return account


def run_with_way_back(desk: Desk, system: SystemName, side: Side) -> RunStatus | None:
    """The run that gave `side` the right to write and has not ended: a rollback of it leads back from there."""
    if desk.authority.read(system).side is not side:
        return None
    for status in desk.runs.list(limit=RUNS_LOOKED_AT_MAX):
        if any(each.system == system and not each.over and each.state not in FINAL for each in status.systems):
            steps = desk.runs.plan(status.run).system_plan(system).steps
            if any(isinstance(step.action, MoveAuthority) and step.action.to_side is side for step in steps):
                return status
    return None


def account_of_loss(
    desk: Desk, system: SystemName, side: Side, progress: ProgressSink = nobody_watches
) -> dict[str, Any]:
    """What would be given up: what `side` holds and the side with authority does not. Empty where no run is known.

    Where `side` itself may write, it is what a rollback from there would give up.
    """
    leading_back = run_with_way_back(desk, system, side)
    if leading_back is not None:
        return account_of(desk, leading_back, system, progress)
    known = desk.runs.list(limit=RUNS_LOOKED_AT_MAX)
    runs = [run.run for run in known if any(each.system == system for each in run.systems)]
    beside = desk.authority.read(system).side
    if not runs or beside is side:
        return {}
    plan = desk.runs.plan(runs[0])
    return account_between(desk, plan, runs[0], system, at=side, beside=beside, progress=progress)


def account_between(
    desk: Desk, plan: Plan, run: str, system: SystemName, *, at: Side, beside: Side, progress: ProgressSink
) -> dict[str, Any]:
    """What `at` holds and `beside` does not, by the system as `plan` has it; `unknown` says why nothing was counted."""
    look = Step(
        id="account",
        title="Count what only one side holds",
        phase=Phase.ROLLBACK,
        action=AccountWrites(at=at, beside=beside),
        inverse=Inverse(none_because="it only counts"),
    )
    planned = plan.system_plan(system)
    deed = Deed(run=run, plan=plan, system_plan=planned, step=look, mode="do", attempt=1, key=f"{run}/account")
    try:
        return account_writes(desk.drivers, deed, at, beside, progress, _not_on_record)
    except OrchestratorError as error:
        return {"at": at.value, "beside": beside.value, "complete": False, "unknown": error.message}


def _not_on_record(_kind: str, _data: dict[str, Any]) -> None:
    """What is shown before a choice is on record once more as a step of the run that follows from it."""
