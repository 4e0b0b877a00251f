"""Rollback: bring what a run did back, from wherever it stands, by the inverses of its steps, the last first."""

from collections.abc import Callable

from orchestrator.contracts.engine import FINAL, RunStatus, StepStatus, SystemStatus
from orchestrator.foundation.errors import GateClosed, UsageError
from orchestrator.model.action import CarryBack
from orchestrator.model.names import Name, SystemName
from orchestrator.model.word import SignedWord
from orchestrator.operations import migrate
from orchestrator.operations.desk import Desk
from orchestrator.operations.elsewhere import here_or_elsewhere
from orchestrator.steps.words import word_in_force

RUNS_LOOKED_AT_MAX = 1000


def run_to_roll_back(desk: Desk, named: str) -> tuple[RunStatus, tuple[SystemName, ...]]:
    """The run that is meant by its id, the beginning of it, or a system; and which of its systems can go back.

    Raises UsageError where there is none, GateClosed where all of it is over: then the way back is a plan of its own.
    """
    status = desk.runs.status(run_named(desk, named))
    asked = [each for each in status.systems if named not in desk.inventory.systems or each.system == named]
    able = tuple(each.system for each in asked if not _is_over(each))
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


def run_named(desk: Desk, named: str) -> str:
    """The run that is meant by its id, the beginning of it, or a system: of that the last, an unfinished one first."""
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
    return any(each.system == system and not _is_over(each) for each in status.systems)


def _is_over(system: SystemStatus) -> bool:
    """Also one that failed where nothing is to be undone: a later run may have the system since."""
    return system.over or system.state in FINAL


def loss_accepted(desk: Desk, system: SystemName) -> SignedWord | None:
    """The word by which a rollback gives up what only the side that may write now holds; else it is carried home."""
    present = desk.authority.read(system)
    return word_in_force(desk.catalogue, desk.clock, "loss_accepted", system, present.side, present.number)


def roll_back(
    desk: Desk,
    status: RunStatus,
    systems: tuple[SystemName, ...],
    *,
    operator: Name,
    because: str,
    on_run: migrate.OnRun = migrate.tell_nobody,
) -> RunStatus:
    """Ask for it, and carry it to its end or wait for the process that does. What goes back goes on; a failed inverse
    is tried again.
    """

    def ask() -> None:
        by_name = {each.system: each for each in status.systems}
        for name in systems:
            system = by_name[name]
            if system.state == "rollback_failed":
                desk.runs.request(status.run, name, "retry", by=operator, reason=because)
            elif system.state == "paused" and any(step.mode == "undo" for step in system.steps):
                desk.runs.request(status.run, name, "resume", by=operator, reason=because)
            elif system.state != "rolling_back":
                desk.runs.request(status.run, name, "rollback", by=operator, reason=because)

    return obeyed(desk, status.run, ask=ask, on_run=on_run)


def obeyed(
    desk: Desk,
    run: str,
    *,
    ask: Callable[[], None],
    on_run: migrate.OnRun,
    rests: migrate.Rests = migrate.is_at_rest,
) -> RunStatus:
    """What became of `run` once it did what `ask` asks of it, here or in the process that carries it."""

    def carry(ask_now: Callable[[], None]) -> None:
        with desk.worker() as worker:
            ask_now()
            worker.start()
            try:
                on_run(run)
                migrate.await_rest(run, desk.runs, worker, rests=rests)
            finally:
                worker.stop()

    here_or_elsewhere(run, desk.runs, ask=ask, carry=carry, on_run=on_run, rests=rests)
    return desk.runs.status(run)


def complain_unless_back(desk: Desk, status: RunStatus, systems: tuple[SystemName, ...]) -> None:
    """Raise RunFailed for what did not come back; being back is what was asked for, and no error here.

    Where writes could not be carried home, it says how they may be given up.
    """
    asked = tuple(each for each in status.systems if each.system in systems and each.state not in FINAL)
    if not asked:
        return
    plan = desk.runs.plan(status.run)
    words = []
    for system in asked:
        failed = [plan.system_plan(system.system).step(row.step) for row in system.steps if _is_stuck(row)]
        carried = [step.inverse.action for step in failed if isinstance(step.inverse.action, CarryBack)]
        words += [f"skerry word {system.system} --accept-loss {each.from_side.value}" for each in carried]
    hint = (
        f"Mend what is in the way and ask again. Or a named person gives up what only that side holds, as it was "
        f"counted above: {'; '.join(words)} --as PERSON --key KEYFILE --because WHY"
    )
    migrate.complain(status.model_copy(update={"systems": asked}), hint if words else "")


def _is_stuck(row: StepStatus) -> bool:
    return row.mode == "undo" and row.state in ("failed", "unknown")
