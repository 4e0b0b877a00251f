"""Rollback: bring what a run did back, from wherever it stands, by the inverses of its steps, the last first."""

from typing import Any

from orchestrator.contracts.engine import FINAL, RunStatus
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.progress import Progress
from orchestrator.foundation.errors import GateClosed, OrchestratorError, UsageError
from orchestrator.model.action import AccountWrites
from orchestrator.model.names import Name, SystemName
from orchestrator.model.step import Inverse, Phase, Step
from orchestrator.operations import migrate
from orchestrator.operations.desk import Desk
from orchestrator.steps.accounting import account_writes

RUNS_LOOKED_AT_MAX = 1000


def run_to_roll_back(desk: Desk, named: str) -> tuple[RunStatus, tuple[SystemName, ...]]:
    """The run that is meant by its id, the beginning of it, or a system; and which of its systems can go back.

    Raises UsageError where there is none, GateClosed where all of it is over: then the way back is a plan of its own.
    """
    status = desk.runs.status(_run_id(desk, named))
    asked = [each for each in status.systems if named not in desk.inventory.systems or each.system == named]
    able = tuple(each.system for each in asked if each.state not in FINAL)
    if able:
        return status, able
    states = ", ".join(f"{each.system} is {each.state.replace('_', ' ')}" for each in asked)
    if any(each.state == "committed" for each in asked):
        raise GateClosed(
            f"run {status.run}: {states}; the way back from there is called failback",
            hint=f"Writes made since then are carried along: skerry failback {asked[0].system} --as PERSON",
        )
    raise GateClosed(
        f"run {status.run}: {states}; there is nothing to bring back",
        hint="See where everything is: skerry runs list",
    )


def _run_id(desk: Desk, named: str) -> str:
    runs = desk.runs.list(limit=RUNS_LOOKED_AT_MAX)
    if named in desk.inventory.systems:
        of_system = [status for status in runs if any(each.system == named for each in status.systems)]
        if not of_system:
            raise UsageError(
                f"no run of {named} is on record here",
                hint=f"Where the record is lost, a plan brings it back: skerry rollback {named} --without-record",
            )
        unfinished = [status for status in of_system if _can_move(status, named)]
        return (unfinished or of_system)[0].run
    found = [status.run for status in runs if status.run.startswith(named)]
    if len(found) != 1:
        what = "more than one run begins with" if found else "there is no run or system"
        raise UsageError(f"{what} {named}", hint="See them with: skerry runs list")
    return found[0]


def _can_move(status: RunStatus, system: SystemName) -> bool:
    return any(each.system == system and each.state not in FINAL for each in status.systems)


def account_of(desk: Desk, status: RunStatus, system: SystemName) -> dict[str, Any]:
    """What only the side with authority holds, for whoever is about to choose. Looks at hosts, changes nothing.

    Empty where authority is where the run found it: then nothing was written anywhere else.
    """
    plan = desk.runs.plan(status.run)
    planned = plan.system_plan(system)
    moves = [step.action for step in planned.steps if step.action.verb == "move_authority"]
    if not moves:
        return {}
    start = moves[0].from_side
    present = desk.authority.read(system).side
    if present is start:
        return {}
    look = Step(
        id="account",
        title="Count what only one side holds",
        phase=Phase.ROLLBACK,
        action=AccountWrites(at=present, beside=start),
        inverse=Inverse(none_because="it only counts"),
    )
    deed = Deed(
        run=status.run, plan=plan, system_plan=planned, step=look, mode="do", attempt=1, key=f"{status.run}/account"
    )
    try:
        return account_writes(desk.drivers, deed, present, start, _nobody_watches, _not_on_record)
    except OrchestratorError as error:
        return {"at": present.value, "beside": start.value, "complete": False, "unknown": error.message}


def _nobody_watches(_progress: Progress) -> None:
    """A look between two runs."""


def _not_on_record(_kind: str, _data: dict[str, Any]) -> None:
    """What is shown before a choice is on record once more as a step of the run that follows from it."""


def roll_back(
    desk: Desk,
    status: RunStatus,
    systems: tuple[SystemName, ...],
    *,
    operator: Name,
    because: str,
    on_run: migrate.OnRun = migrate.tell_nobody,
) -> RunStatus:
    """Ask for it and carry it to its end in this process. What goes back goes on; a failed inverse is tried again."""
    with desk.worker() as worker:
        worker.start()
        try:
            by_name = {each.system: each for each in status.systems}
            for name in systems:
                system = by_name[name]
                if system.state == "rollback_failed":
                    desk.runs.request(status.run, name, "retry", by=operator, reason=because)
                elif system.state == "paused" and any(step.mode == "undo" for step in system.steps):
                    desk.runs.request(status.run, name, "resume", by=operator, reason=because)
                elif system.state != "rolling_back":
                    desk.runs.request(status.run, name, "rollback", by=operator, reason=because)
            on_run(status.run)
            return migrate.await_rest(status.run, desk.runs, worker)
        finally:
            worker.stop()


def complain_unless_back(status: RunStatus, systems: tuple[SystemName, ...]) -> None:
    """Raise RunFailed for what did not come back; being back is what was asked for, and no error here."""
    asked = tuple(each for each in status.systems if each.system in systems and each.state not in FINAL)
    if asked:
        migrate.complain(status.model_copy(update={"systems": asked}))
