"""Where a wave stands, from what is stored: its members, its soak, and in which state that leaves it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from orchestrator.contracts.engine import RunStatus, SystemStatus
from orchestrator.foundation.clock import timestamp
from orchestrator.model.action import MoveAuthority, SwitchFront
from orchestrator.model.frozen import Frozen
from orchestrator.model.names import SystemName
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.site import Side
from orchestrator.model.step import Phase
from orchestrator.model.wave import Waiver

# not_begun  no run has its members yet            stopped   a member failed, went back or was cancelled
# running    a member is under way                 soaking   all live at their new side, for less than the soak
# paused     members wait before a later stage     soaked    … for as long as the soak asks; may be committed
# passed     all are committed, and the soak is over
# passed_with_waivers   the same, but for members or a soak that somebody waived: it never counts as passed
WaveState = Literal[
    "not_begun", "running", "paused", "stopped", "soaking", "soaked", "passed", "passed_with_waivers"
]
_GONE_WRONG = ("failed", "rolling_back", "rolled_back", "rollback_failed", "cancelled")
PROMOTED: frozenset[WaveState] = frozenset({"soaked", "passed", "passed_with_waivers"})


class Whereabouts(Frozen):
    """Where a system is in truth: who has authority by which number, and where clients are sent."""

    side: str
    number: int
    front: str


class Member(Frozen):
    """One system of a wave. `left` is where its run left it, None before it was switched."""

    system: SystemName
    state: str
    run: str = ""
    step: str = ""  # the newest that began
    reason: str = ""
    since: str = ""  # from when on clients were served at the new side
    left: Whereabouts | None = None
    waived_by: str = ""
    changed: str = ""  # what is no longer as the run left it, where somebody looked

    @property
    def is_there(self) -> bool:
        """It lives at its new side, committed or not yet."""
        return self.left is not None and self.state in ("committed", "paused")

    @property
    def has_failed(self) -> bool:
        return self.state in _GONE_WRONG and not self.waived_by


def members_of(
    plan: Plan, runs: Sequence[RunStatus], waivers: Iterable[Waiver], elsewhere: Mapping[SystemName, Member]
) -> tuple[Member, ...]:
    """Every member by its newest run of this wave. `runs` is oldest first; `elsewhere` has those that runs of earlier
    plans of the wave committed: they are left alone.
    """
    by_system: dict[str, tuple[RunStatus, SystemStatus]] = {}
    for run in runs:
        by_system |= {system.system: (run, system) for system in run.systems}
    waived = {waiver.system: waiver.person for waiver in waivers if waiver.system is not None}
    found: list[Member] = []
    for planned in plan.systems:
        name = planned.system.name
        if name in by_system:
            member = member_of(planned, plan, *by_system[name])
        elif name in elsewhere:
            member = elsewhere[name]
        else:
            member = Member(system=name, state="not_begun")
        found.append(member.model_copy(update={"waived_by": waived.get(name, "")}))
    return tuple(found)


def member_of(planned: SystemPlan, plan: Plan, run: RunStatus, system: SystemStatus) -> Member:
    """The system as its run of `plan` left it."""
    by_id = {step.id: step for step in planned.steps}
    done = {row.step: row for row in system.steps if row.mode == "do" and row.state == "done"}
    undone = {row.step for row in system.steps if row.mode == "undo"}
    standing = {name: row for name, row in done.items() if name in by_id and name not in undone}
    switched = [row for name, row in standing.items() if isinstance(by_id[name].action, SwitchFront)]
    moved = [row for name, row in standing.items() if isinstance(by_id[name].action, MoveAuthority)]
    before_commit = [
        row.finished_at for name, row in standing.items() if by_id[name].phase not in (Phase.COMMIT, Phase.CLOSURE)
    ]
    newest = max(system.steps, key=lambda row: row.started_at, default=None)
    left = None
    if switched and moved:
        observed: dict[str, Any] = moved[-1].observed
        side = str(observed.get("side", ""))
        host = planned.system.host_of(Side(side)) if side in set(Side) else ""
        address = plan.hosts[host].address if host in plan.hosts else ""
        left = Whereabouts(side=side, number=int(observed.get("number", 0)), front=address)
    return Member(
        system=planned.system.name,
        state=system.state,
        run=run.run,
        step=newest.step if newest is not None else "",
        reason=system.reason,
        since=max(before_commit, default="") if switched else "",
        left=left,
    )


def difference(member: Member, now: Whereabouts) -> str:
    """What is no longer as the member's run left it; empty where all is."""
    left = member.left
    if left is None:
        return ""
    told = []
    if (now.side, now.number) != (left.side, left.number):
        told.append(f"authority is at {now.side} by number {now.number}, it was left at {left.side} by {left.number}")
    if now.front != left.front:
        told.append(f"clients are sent to {now.front or 'nowhere'}, they were left at {left.front}")
    return "; ".join(told)


def soak_ends(plan: Plan, members: Sequence[Member]) -> datetime | None:
    """When the soak is over; None while a member that is not waived does not live at its new side."""
    counted = [member for member in members if not member.waived_by]
    if plan.terms is None or not counted or not all(member.is_there for member in counted):
        return None
    since = max(member.since for member in counted)
    return datetime.fromisoformat(since) + timedelta(seconds=plan.terms.soak_seconds) if since else None


def wave_state(plan: Plan, members: Sequence[Member], waivers: Sequence[Waiver], now: datetime) -> WaveState:
    """The state of the whole wave at `now`."""
    counted = [member for member in members if not member.waived_by]
    states = {member.state for member in counted}
    if any(member.has_failed for member in counted):
        under_way = states & {"running", "rolling_back"}
        return "running" if under_way else "stopped"
    if states & {"running", "waiting"}:
        return "running"
    if all(member.is_there for member in counted):
        ends = soak_ends(plan, members)
        soak_waived = any(waiver.system is None for waiver in waivers)
        over = soak_waived or ends is None or ends <= now
        if not over:
            return "soaking"
        if states <= {"committed"}:
            return "passed_with_waivers" if waivers else "passed"
        return "soaked"
    return "not_begun" if states == {"not_begun"} else "paused"


def soak_text(ends: datetime | None) -> str:
    return "" if ends is None else timestamp(ends)
