"""Guarded starts, seen to while anything of ours runs: hosts that have booted are told whether they may serve."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from orchestrator.contracts.engine import Runs
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.observer import Recorder
from orchestrator.foundation.errors import OrchestratorError, RunInProgress, UsageError
from orchestrator.foundation.limits import STARTS_LOOKED_AT_SECONDS
from orchestrator.model.action import Preflight, RunPlaybook
from orchestrator.model.names import Name, SystemName
from orchestrator.model.site import Side
from orchestrator.model.step import Inverse, Phase, Step
from orchestrator.operations.outside_runs import deed_outside_runs
from orchestrator.operations.replication import Record, find_system, recording
from orchestrator.steps.readiness import in_parallel
from orchestrator.steps.starts import SIDES_THAT_SERVE, SideStarts, guard_starts, look_at_starts, unguard_starts
from orchestrator.wiring.workshop import Workshop

BY: Name = "skerry"  # nobody asks for these looks
LOOK = Step(
    id="starts",
    title="Look what may start in this boot of the hosts",
    phase=Phase.OBSERVE,
    action=Preflight(),
    inverse=Inverse(none_because="it permits what authority permits already"),
)


def guarded_systems(workshop: Workshop) -> list[SystemName]:
    return [name for name, system in workshop.inventory.systems.items() if system.guard_starts]


def look(workshop: Workshop, names: Sequence[SystemName]) -> list[SideStarts]:
    """Both sides of each system that may ever serve, as their hosts say; changes nothing."""
    pairs = [(_deed(workshop, name), side) for name in names for side in SIDES_THAT_SERVE]
    return in_parallel(lambda pair: look_at_starts(workshop.drivers, *pair), pairs)


def see_to(workshop: Workshop, names: Sequence[SystemName], record: Record) -> dict[SystemName, str]:
    """Guard what is bare and permit what may start, at the side that holds authority; what went wrong, by system."""

    def one(name: SystemName) -> str:
        deed = _deed(workshop, name)
        try:
            guard_starts(
                workshop.drivers,
                deed,
                partial(record, name),
                held_down=lambda: kept_down_by_a_run(workshop, name),
            )
        except OrchestratorError as error:
            return error.message
        return ""

    troubles = in_parallel(one, names)
    return {name: trouble for name, trouble in zip(names, troubles, strict=True) if trouble}


def take_guards_away(workshop: Workshop, names: Sequence[SystemName], *, by: Name, because: str) -> None:
    """At both sides that may serve, on record. UsageError while the estate asks for guards."""
    for name in names:
        if find_system(workshop.inventory, name).guard_starts:
            raise UsageError(
                f"{name}: the estate says guard_starts, so they would come back at once",
                hint=f"Take guard_starts out of systems.yml for {name} first.",
            )
    with workshop.between_runs() as recorder:
        record = recording(workshop, recorder)
        for name in names:
            what = {"what": "guards of starts are taken away", "by": by, "reason": because}
            record(name, "deviation.recorded", what)
            for side in SIDES_THAT_SERVE:
                unguard_starts(workshop.drivers, _deed(workshop, name), side, partial(record, name))


@contextmanager
def starts_seen_to(workshop: Workshop, recorder: Recorder) -> Iterator[None]:
    """While inside, a thread looks after the starts of every guarded system, at a beat."""
    names = guarded_systems(workshop)
    if not names:
        yield
        return
    ends = threading.Event()
    thread = threading.Thread(
        target=_look_until, args=(workshop, names, recording(workshop, recorder), ends), name="starts", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()  # it writes evidence, and the ledger is closed after us


def see_to_once(workshop: Workshop, systems: Sequence[SystemName] = ()) -> dict[SystemName, str]:
    """For who carries no runs: look, and see to what is needed unless somebody is at work who does so anyway.

    Only systems whose estate says guard_starts are seen to. What went wrong, by system.
    """
    guarded = guarded_systems(workshop)
    for name in systems:
        find_system(workshop.inventory, name)
    names = [name for name in guarded if name in systems or not systems]
    if not any(needs_us(side) for side in look(workshop, names)):
        return {}
    try:
        with workshop.between_runs() as recorder:
            return see_to(workshop, names, recording(workshop, recorder))
    except RunInProgress:
        return {}


def needs_us(side: SideStarts) -> bool:
    """Whether something there is to be guarded or permitted."""
    return side.holds and any(
        each.waits or (each.boot and not each.guarded and not each.fenced_by) for each in side.hosts
    )


def kept_down_by_a_run(workshop: Workshop, name: SystemName) -> bool:
    """Whether a run stopped the services where authority is, and has not started them since."""
    run = workshop.replication.run_holding(name)
    side = workshop.authority.read(name).side
    return bool(run) and is_kept_down(workshop.runs, run, name, side)


def is_kept_down(runs: Runs, run: str, name: SystemName, side: Side) -> bool:
    """Of all that the run began at `side` that stops or starts services, the newest decides."""
    by_id = {step.id: step for step in runs.plan(run).system_plan(name).steps}
    [found] = [each for each in runs.status(run).systems if each.system == name]
    down = False
    for row in sorted(found.steps, key=lambda row: row.started_at):
        step = by_id[row.step]
        action = step.action if row.mode == "do" else step.inverse.action
        if isinstance(action, RunPlaybook) and action.side is side:
            down = action.playbook in ("drain", "stop", "fence") or row.state != "done"
    return down


def _look_until(
    workshop: Workshop, names: Sequence[SystemName], record: Record, ends: threading.Event
) -> None:
    known: dict[SystemName, str] = {}
    while not ends.is_set():
        try:
            found = see_to(workshop, names, record)
            for name, trouble in found.items():
                if known.get(name) != trouble:
                    record(name, "starts.not_seen_to", {"why": trouble})
            known = found
        except OrchestratorError:
            pass  # a ledger or a store out of order halts the worker, which says so
        ends.wait(STARTS_LOOKED_AT_SECONDS)


def _deed(workshop: Workshop, name: SystemName) -> Deed:
    system = find_system(workshop.inventory, name)
    return deed_outside_runs(workshop.inventory, system, LOOK, of=f"starts-{name}", by=BY, what="starts")


def starts_document(sides: Sequence[SideStarts], troubles: dict[SystemName, str]) -> list[dict[str, Any]]:
    """As --json prints it: a row for each host of each side."""
    return [
        {
            "system": side.system,
            "side": side.side.value,
            "holds_authority": side.holds,
            "number": side.number,
            **host.model_dump(mode="json"),
            "waits": host.waits and side.holds,
            "trouble": host.trouble or (troubles.get(side.system, "") if side.holds else ""),
        }
        for side in sides
        for host in side.hosts
    ]


