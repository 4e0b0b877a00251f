"""DrillInBubble: a drill of one system, and of what it depends on, as a step of a run."""

import hashlib
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import ProgressSink
from orchestrator.model.action import DrillInBubble
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.steps.asked import asked
from orchestrator.steps.bubble_drill import BubbleDriller
from orchestrator.steps.bubble_result import BubbleDrill
from orchestrator.steps.places import hosts_at

ANOTHER = "a bubble is here already"
MEASURED = ("RTO", "RPO")


def bubble_id(deed: Deed) -> str:
    return bubble_of(deed.key)


def bubble_of(key: str) -> str:
    """By a deed's key: the same deed names the same bubble, however often it is tried."""
    return "drill-" + hashlib.sha256(key.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class DrillInBubbleHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # what a drill showed before it was cut off is not known; it is done anew

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, DrillInBubble)
        bubble = bubble_id(deed)
        for host in hosts_at(deed, action.side):
            self.drivers.bubbles.close(host, bubble)  # an earlier try may have been cut off
        driller = BubbleDriller(
            {each.system.name: each.system for each in deed.plan.systems},
            deed.plan.hosts,
            self.drivers,
            lambda system, kind, data: emit(kind, data),
            action.pass_within,
            progress=progress,
            at=action.side,
        )
        drill = driller.drill(
            deed.system_plan.system.name,
            bubble=bubble,
            by=deed.plan.author,
            point=action.point,
            older_than_seconds=action.older_than,
            way_back=action.way_back,
        )
        tell_measures(drill, emit)
        return outcome_of(drill)


def tell_measures(drill: BubbleDrill, emit: Emit) -> None:
    """As every run tells what it recovered."""
    for verdict in (each for each in drill.verdicts if each.objective in MEASURED):
        told = {"objective": verdict.objective.lower(), "target_seconds": verdict.target_seconds, "met": verdict.met}
        emit("objective.measured", {**told, "achieved_seconds": verdict.actual_seconds})


def outcome_of(drill: BubbleDrill) -> Outcome:
    """Of the step that did it."""
    if drill.passed:
        return Outcome.done(f"{drill.system} came to life from {drill.point} on {drill.host}", **_observed(drill))
    why = "; ".join(drill.why_not)
    return Outcome.failed(why, error="RunFailed", retryable=ANOTHER in why, **_observed(drill))


def _observed(drill: BubbleDrill) -> dict[str, Any]:
    measured = {each.objective.lower(): each.actual_seconds for each in drill.verdicts}
    return {
        "bubble": drill.id,
        "point": drill.point,
        "isolated": drill.isolated,
        "attempts": len(drill.attempts),
        "with_systems": [each.system for each in drill.with_systems],
        "machines_up": {each.dataset: each.up for each in drill.machines},
        "clones": {each.dataset: each.how for each in drill.clones},
        "measured_seconds": measured,
        "service_seconds": {each.objective.lower(): each.actual_seconds for each in drill.service},
        "carried_back": {each.dataset: each.digest for each in drill.carried_back},
        "production_changed": len(drill.production_changed),
        "left_behind": drill.left.any,
        "erased_at": drill.erased_at,
        "replication_streamed": all(each.streaming for each in drill.replication),
    }
