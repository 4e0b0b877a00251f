"""Waves as a person reads them, and what their end means for an exit code."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cli.console import bad, console, good, heading, quiet, short_digest, table
from orchestrator.foundation.amounts import seconds_text
from orchestrator.foundation.errors import RolledBack, RunFailed
from orchestrator.operations.durations import SystemDuration
from orchestrator.operations.wave_gates import GateStanding
from orchestrator.operations.wave_state import Member
from orchestrator.operations.wave_status import WaveStatus
from orchestrator.wiring.state import nobody_carries

MEMBERS_SHOWN_MAX = 200


def show_waves(found: list[WaveStatus]) -> None:
    """All waves in short."""
    rows = [
        (
            status.wave,
            status.state.replace("_", " "),
            f"{sum(member.is_there for member in status.members)} of {len(status.members)}",
            status.soak_ends_at,
            ", ".join(gate.gate for gate in _told(status) if not gate.open),
            ", ".join(each.gate for each in status.skipped),
            short_digest(status.plan) if status.plan else "none",
        )
        for status in found
    ]
    console().print(table(("wave", "state", ">there", "soak ends", "closed gates", "skipped gates", "plan"), rows))


def show_wave(status: WaveStatus) -> None:
    """One wave: members, soak, window, gates, and whoever went round something."""
    out = console()
    out.print(heading(f"wave {status.wave}: {status.state.replace('_', ' ')}"))
    if status.state == "running" and nobody_carries():
        out.print(quiet(f"nobody carries it now: it goes on with skerry wave run {status.wave} --as PERSON"))
    if not status.plan:
        out.print(quiet(f"not planned yet: skerry plan wave {status.wave} --as PERSON"))
        return
    out.print(quiet(f"plan {status.plan}"))
    if status.soak_ends_at:
        out.print(quiet(f"soak ends {status.soak_ends_at}"))
    if status.window:
        left = seconds_text(status.window["remaining_seconds"]) if status.window["remaining_seconds"] else "none"
        spare = status.window["spare_seconds"]
        beside = f", {seconds_text(spare)} beside the way back" if spare > 0 else ""
        out.print(quiet(f"left of its window: {left}{beside}"))
    members = sorted(status.members, key=lambda member: not member.has_failed)[:MEMBERS_SHOWN_MAX]
    out.print(table(("system", "state", "step", "run", "what"), [_row(member) for member in members]))
    if status.left_alone:
        out.print(good(f"looked at, found as they were left, and left alone: {', '.join(status.left_alone)}"))
    show_readiness(status.drill, status.durations)
    for gate in _told(status):
        out.print(_gate(gate))
    for skipped in status.skipped:
        out.print(bad(f"gate {skipped.gate} was skipped by {skipped.person}: {skipped.because}"))
    for waiver in status.waivers:
        what = waiver.system or "the soak"
        out.print(bad(f"{what} was waived by {waiver.person} ({waiver.role}): {waiver.because}"))


def show_readiness(drill: Mapping[str, Any], durations: Sequence[SystemDuration]) -> None:
    """What whoever decides should know: how the systems stand by their drills, and how long steps took before."""
    out = console()
    if drill:
        age = f", {seconds_text(drill['age_seconds'])} ago at the longest" if "age_seconds" in drill else ""
        told = f"drills: {drill['passed']} of {drill['systems']} systems passed their newest{age}"
        out.print(good(told) if drill["result"] == "passed" else bad(f"{told}; the worst is: {drill['result']}"))
    rows = [
        (
            each.system,
            f"{each.measured} of {each.steps} steps in {each.runs} runs",
            seconds_text(each.p50_seconds),
            seconds_text(each.p90_seconds),
            f"+{each.variance_percent:g} %",
            seconds_text(each.last_seconds),
        )
        for each in durations
        if each.measured
    ]
    if rows:
        out.print(table(("system", "measured", ">p50", ">p90", ">variance", ">last time"), rows))


def _row(member: Member) -> tuple[str, ...]:
    state = member.state.replace("_", " ") + (" (waived)" if member.waived_by else "")
    told = member.changed or member.reason
    return member.system, state, member.step, member.run[:13], told


def _told(status: WaveStatus) -> list[GateStanding]:
    """The gates that are open, or closed and in the way: one that was gone round is told as that."""
    skipped = {each.gate for each in status.skipped}
    return [gate for gate in status.gates if gate.open or gate.gate not in skipped]


def _gate(gate: GateStanding) -> object:
    name = f"gate {gate.gate}" + (f" ({gate.title})" if gate.title else "")
    if gate.open:
        by = ", ".join(f"{word.person} ({word.role})" for word in gate.go)
        return good(f"{name} is open: {by}, until {gate.expires_at}")
    return bad(f"{name} is closed: {gate.why_closed}")


def complain(status: WaveStatus) -> None:
    """Raise what a wave's state means for an exit code: RunFailed before RolledBack; a good state raises nothing."""
    wrong = [member for member in status.members if member.has_failed]
    if not wrong:
        return
    told = "; ".join(f"{member.system} is {member.state.replace('_', ' ')}: {member.reason}" for member in wrong)
    on, back = (f"skerry wave {verb} {status.wave}" for verb in ("skip", "rollback"))
    hint = f"Go on without: {on} {wrong[0].system}, then run it again. Take all members home: {back}"
    kind = RolledBack if all(member.state == "rolled_back" for member in wrong) else RunFailed
    raise kind(f"wave {status.wave}: {told}", hint=hint)
