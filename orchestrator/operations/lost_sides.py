"""Where a side is lost while a run holds its system: no way back is begun that could not be gone, and a failover takes
the system over from the run that stands.
"""

from orchestrator.contracts.engine import FINAL, RunStatus, SystemStatus
from orchestrator.foundation.errors import ApprovalMissing, HostError, RunInProgress
from orchestrator.model.action import MoveAuthority, SeizeAuthority
from orchestrator.model.names import Name, SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.site import Side
from orchestrator.operations import migrate
from orchestrator.operations.desk import Desk
from orchestrator.operations.rollback import RUNS_LOOKED_AT_MAX, loss_accepted, obeyed
from orchestrator.steps.words import word_in_force

RESTING = ("paused", "failed")
ASKS_MAX = 3


def ensure_way_back(desk: Desk, status: RunStatus, systems: tuple[SystemName, ...]) -> None:
    """Raise HostError, before anything is asked of the run, where its way back needs a side that does not answer.

    Only once the new side may write, and where the run has not turned: one that goes back goes on as far as it can.
    """
    plan = desk.runs.plan(status.run)
    for system in status.systems:
        if system.system not in systems or system.state not in RESTING or _has_turned(system):
            continue
        moves = [
            step.action
            for step in plan.system_plan(system.system).steps
            if isinstance(step.action, MoveAuthority) and step.action.to_side is desk.authority.read(system.system).side
        ]
        for move in moves[:1]:
            # What was given up is not carried home by way of DR.
            over_dr = () if loss_accepted(desk, system.system) else (Side.DR,)
            for side in (move.to_side, *over_dr, move.from_side):
                if missing := _unanswered(desk, plan, system.system, side):
                    raise HostError(
                        f"{system.system}: {missing}; nothing was asked of run {status.run}, which stands as it stood",
                        hint=_ways(system.system, side, move),
                    )


def leave_runs_of_lost_side(
    desk: Desk, plan: Plan, *, operator: Name, on_run: migrate.OnRun = migrate.tell_nobody
) -> None:
    """Have the runs that hold systems of this failover leave them as they stand, on the word that it rests on itself.

    Nothing is left before the failover may begin. Raises ApprovalMissing where nobody vouched for the lost side,
    RunInProgress where a step is under way.
    """
    for planned in plan.systems:
        name = planned.system.name
        seized = [step.action.from_side for step in planned.steps if isinstance(step.action, SeizeAuthority)]
        held = _run_that_holds(desk, name, plan)
        present = desk.authority.read(name)
        if not held or present.side not in seized:
            continue
        desk.ensure_allowed(plan, operator)
        word = word_in_force(desk.catalogue, desk.clock, "side_is_down", name, present.side, present.number)
        if word is None:
            raise ApprovalMissing(
                f"{name} is held by run {held.run}; a failover takes it over from there once a named person vouches "
                f"that {present.side.value} is down",
                hint=_down(name, present.side),
            )
        because = f"failover {plan.digest}; {word.person} says that {present.side.value} is down: {word.because}"
        leave(desk, held.run, name, operator=operator, because=because, on_run=on_run)


def leave(desk: Desk, run: str, system: SystemName, *, operator: Name, because: str, on_run: migrate.OnRun) -> None:
    """Have `run` leave a system as it stands: once nothing of it is under way, here or in the process that carries it.

    RunInProgress where it goes on all the same, as when another person asked it to meanwhile.
    """

    def ask() -> None:
        desk.runs.request(run, system, "leave", by=operator, reason=because)

    def has_answered(status: RunStatus) -> bool:
        """Of a wave's run: its other members may be at work for hours yet."""
        left = _of(status, system)
        return left.over or (status.requests_open == 0 and migrate.system_rests(left))

    for _ in range(ASKS_MAX):  # while a step is under way it is refused, and then that step has ended
        left = _of(obeyed(desk, run, ask=ask, on_run=on_run, rests=has_answered), system)
        if left.over:
            return
    raise RunInProgress(
        f"{system} is held by run {run} ({left.state}), and a step of it is under way",
        hint=f"See what it does, and who asked for it: skerry runs show {run}",
    )


def _run_that_holds(desk: Desk, system: SystemName, plan: Plan) -> RunStatus | None:
    for status in desk.runs.list(limit=RUNS_LOOKED_AT_MAX):
        if status.plan != plan.digest and any(
            each.system == system and not each.over and each.state not in FINAL for each in status.systems
        ):
            return status
    return None


def _of(status: RunStatus, system: SystemName) -> SystemStatus:
    return next(each for each in status.systems if each.system == system)


def _has_turned(system: SystemStatus) -> bool:
    return any(step.mode == "undo" for step in system.steps)


def _unanswered(desk: Desk, plan: Plan, system: SystemName, side: Side) -> str:
    """What is said of the first host of `side` that does not answer; "" where all do."""
    for name in plan.system_plan(system).system.hosts_of(side):
        try:
            desk.drivers.transports(plan.hosts[name]).run(["true"])
        except HostError as error:
            return error.message
    return ""


def _down(system: SystemName, side: Side) -> str:
    return (
        f"Whoever made sure of it, power and network, signs: skerry word {system} --down {side.value} --as PERSON "
        f"--key KEYFILE --because HOW"
    )


def _ways(system: SystemName, lost: Side, move: MoveAuthority) -> str:
    if lost is not move.to_side:
        return f"Bring {lost.value} up and ask again; until then clients are served where they are."
    over = f"skerry failover {system} --set from={move.to_side.value} --set to={move.from_side.value} --as PERSON"
    down = _down(system, lost)
    return f"Bring {lost.value} up and ask again. If it is lost: {down}\nThen {move.from_side.value} takes over: {over}"
