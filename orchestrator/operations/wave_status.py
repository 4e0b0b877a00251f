"""How a wave stands: its plan, its runs, its members in truth, its gates, and what persons said of it.

What a wave's state is, is never stored: it follows from its runs, from what persons signed, and from the time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.contracts.observer import Observer
from orchestrator.evidence.wave_words import why_not
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import UsageError
from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Name
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.wave import SignedWaveWord, SkippedGate, Waiver
from orchestrator.operations.desk import Desk
from orchestrator.operations.drill_standing import drills_observed
from orchestrator.operations.durations import SystemDuration, durations_of
from orchestrator.operations.gate_facts import estate_observed
from orchestrator.operations.plan import find_plan
from orchestrator.operations.wave_gates import GateStanding, gate_standing
from orchestrator.operations.wave_state import (
    PROMOTED,
    Member,
    WaveState,
    Whereabouts,
    difference,
    member_of,
    members_of,
    soak_ends,
    soak_text,
    wave_state,
)
from orchestrator.operations.waves import EstateWaves
from orchestrator.planning.windows import moment_of, window_facts
from orchestrator.wiring.workshop import open_workshop


class WaveStatus(Frozen):
    """A wave as a person sees it."""

    wave: Name
    state: WaveState
    plan: str = ""  # its digest; empty before it was planned
    runs: tuple[str, ...] = ()  # oldest first
    members: tuple[Member, ...] = ()
    soak_ends_at: str = ""
    gates: tuple[GateStanding, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    skipped: tuple[SkippedGate, ...] = ()
    window: dict[str, Any] = {}
    drill: dict[str, Any] = {}  # how its systems stand by their drills
    durations: tuple[SystemDuration, ...] = ()  # what its steps took before
    left_alone: tuple[Name, ...] = ()  # members that a run of the wave found where they were left


class WaveDesk(Desk):
    """A desk at which waves are run."""

    def whereabouts(self, planned: SystemPlan) -> Whereabouts:
        """Where a system is in truth, asked of the store of authority and of the clients' name."""
        authority = self.authority.read(planned.system.name)
        answer = self.drivers.front.current(planned.system.front)
        address = answer.address if answer is not None else ""
        return Whereabouts(side=authority.side.value, number=authority.number, front=address)


@contextmanager
def open_wave_desk(folder: Path, *, observers: Sequence[Observer] = ()) -> Iterator[WaveDesk]:
    """The desk of the inventory in `folder`, for waves."""
    with open_workshop(folder, observers=observers, kind=WaveDesk) as desk:
        yield desk


def plan_of_wave(desk: Desk, named: Name) -> Plan | None:
    """The newest plan of a wave; None before there is one."""
    document = desk.catalogue.get("wave_plan", named)
    return find_plan(desk.catalogue, document["plan"]) if document is not None else None


def plan_needed(desk: Desk, waves: EstateWaves, named: Name) -> Plan:
    waves.wave(named)
    plan = plan_of_wave(desk, named)
    if plan is None:
        raise UsageError(f"wave {named} has no plan", hint=f"Make it: skerry plan wave {named} --as PERSON")
    return plan


def wave_status(
    desk: WaveDesk, waves: EstateWaves, named: Name, *, operator: Name | None = None, look: bool = False
) -> WaveStatus:
    """Where a wave stands. With `look`, members that live at their new side are asked for whether they still do,
    and what steps took in runs before is read.
    """
    waves.wave(named)
    plan = plan_of_wave(desk, named)
    if plan is None:
        return WaveStatus(wave=named, state="not_begun")
    kept = [document for _, document in reversed(desk.catalogue.list("wave_run", prefix=f"{named}/"))]
    runs = [desk.runs.status(document["run"]) for document in kept]
    own = [run for run in runs if run.plan == plan.digest]
    elsewhere = {
        system.system: member_of(earlier.system_plan(system.system), earlier, run, system)
        for run in runs
        if run.plan != plan.digest
        for earlier in [desk.runs.plan(run.run)]
        for system in run.systems
        if system.state == "committed"
    }
    waivers = _waivers(desk, plan)
    members = members_of(plan, own, waivers, elsewhere)
    if look:
        members = tuple(_looked_at(desk, plan, member) for member in members)
    now = desk.clock.now()
    ends = soak_ends(plan, members)
    status = WaveStatus(
        wave=named,
        state=wave_state(plan, members, waivers, now),
        plan=plan.digest,
        runs=tuple(run.run for run in own),
        members=members,
        soak_ends_at=soak_text(ends),
        waivers=waivers,
        skipped=_skipped(desk, plan),
        window=window_facts(plan.terms, now),
        drill=drills_observed(desk.catalogue, plan, now),
        durations=durations_of(plan, desk.runs) if look else (),
    )
    return status.model_copy(update={"gates": _standings(desk, waves, plan, status, operator)})


def readiness(desk: WaveDesk, waves: EstateWaves, named: Name) -> tuple[dict[str, Any], tuple[SystemDuration, ...]]:
    """How the wave's systems stand by their drills, and what its steps took in runs before."""
    plan = plan_needed(desk, waves, named)
    return drills_observed(desk.catalogue, plan, desk.clock.now()), durations_of(plan, desk.runs)


def _looked_at(desk: WaveDesk, plan: Plan, member: Member) -> Member:
    if not member.is_there:
        return member
    now = desk.whereabouts(plan.system_plan(member.system))
    return member.model_copy(update={"changed": difference(member, now)})


def words_of(desk: Desk, plan: Plan) -> list[SignedWaveWord]:
    kept = desk.catalogue.list("wave_word", prefix=f"{plan.digest}/signed/")
    return [SignedWaveWord.model_validate(document["said"]) for _, document in reversed(kept)]


def why_word_counts_not(desk: Desk, plan: Plan, signed: SignedWaveWord) -> str:
    people = dict(desk.inventory.people)
    return why_not(signed, plan=plan.digest, people=people, now=timestamp(desk.clock.now()))


def _waivers(desk: Desk, plan: Plan) -> tuple[Waiver, ...]:
    """Waivers that count now."""
    return tuple(
        signed.word
        for signed in words_of(desk, plan)
        if isinstance(signed.word, Waiver)
        and not why_word_counts_not(desk, plan, signed)
        and signed.word.person != plan.author
    )


def _skipped(desk: Desk, plan: Plan) -> tuple[SkippedGate, ...]:
    kept = desk.catalogue.list("wave_word", prefix=f"{plan.digest}/skipped/")
    return tuple(SkippedGate.model_validate(document["said"]) for _, document in reversed(kept))


def _standings(
    desk: WaveDesk, waves: EstateWaves, plan: Plan, status: WaveStatus, operator: Name | None
) -> tuple[GateStanding, ...]:
    if plan.terms is None or not plan.terms.gates:
        return ()
    words = words_of(desk, plan)
    observed = _observed(desk, waves, plan, status)
    skipped = {each.gate: each for each in status.skipped}
    return tuple(
        gate_standing(
            gate,
            plan,
            words,
            observed,
            operator=operator,
            why_not=lambda signed: why_word_counts_not(desk, plan, signed),
            skipped=skipped.get(gate.id),
        )
        for gate in plan.terms.gates
    )


def _observed(desk: WaveDesk, waves: EstateWaves, plan: Plan, status: WaveStatus) -> dict[str, dict[str, Any]]:
    """What criteria may ask for, but for what persons say."""
    members = status.members
    before = plan.terms.before if plan.terms is not None else None
    ends = status.soak_ends_at
    now = desk.clock.now()
    standing = desk.standing(plan)
    return {
        "plan": {
            "systems": len(plan.systems),
            "bytes_expected": sum(planned.bytes_expected for planned in plan.systems),
            "copy_seconds_expected": sum(planned.copy_seconds_expected for planned in plan.systems),
            "approved": standing.approved and not standing.outdated,
        },
        "window": status.window,
        "drill": status.drill,
        **estate_observed(desk, plan),
        "previous": {"state": wave_status(desk, waves, before).state if before is not None else "none"},
        "members": {
            "total": len(members),
            "there": sum(member.is_there for member in members),
            "committed": sum(member.state == "committed" for member in members),
            "waived": sum(bool(member.waived_by) for member in members),
            "changed": sum(bool(member.changed) for member in members),
        },
        "soak": {
            "over": status.state in PROMOTED,
            "seconds_left": max(0.0, (moment_of(ends) - now).total_seconds()) if ends else 0.0,
        },
    }
