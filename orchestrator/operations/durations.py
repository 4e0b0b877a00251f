"""How long steps took in runs before: what a plan's steps are to be expected to take, and how much that varied."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from orchestrator.contracts.engine import Runs, RunStatus
from orchestrator.foundation.canonical_json import canonical_json
from orchestrator.model.frozen import Frozen
from orchestrator.model.names import SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.step import Step

RUNS_LOOKED_AT_MAX = 50  # the newest, drills among them; what they have done counts, ended or not
FOR_PERSONS_OR_TIME = frozenset({"approval", "manual", "decision", "wait"})


class SystemDuration(Frozen):
    """What one system's steps took before, along the longest way through them, in seconds.

    `measured` of `steps` were seen in `runs` runs; `last` is the newest sum of them. Waiting for persons is left out.
    """

    system: SystemName
    steps: int
    measured: int
    runs: int
    p50_seconds: float
    p90_seconds: float
    last_seconds: float

    @property
    def variance_percent(self) -> float:
        """How far p90 lies above p50."""
        return round(100 * (self.p90_seconds / self.p50_seconds - 1), 1) if self.p50_seconds else 0.0


def durations_of(plan: Plan, runs: Runs) -> tuple[SystemDuration, ...]:
    """By what drills and moves of the same systems took, step by step: a step is the same where its deed is."""
    newest = runs.list(limit=RUNS_LOOKED_AT_MAX)
    taken = _taken(newest, runs, {planned.system.name for planned in plan.systems})
    return tuple(_duration(planned.system.name, planned.steps, taken) for planned in plan.systems)


Taken = dict[tuple[SystemName, bytes], list[tuple[str, float]]]  # newest first: run, seconds


def _taken(newest: Iterable[RunStatus], runs: Runs, systems: set[str]) -> Taken:
    taken: Taken = defaultdict(list)
    for run in newest:
        if not systems & {system.system for system in run.systems}:
            continue
        plan = runs.plan(run.run)
        # A list of runs tells no steps.
        for system in (each for each in runs.status(run.run).systems if each.system in systems):
            deeds = {step.id: _deed(step) for step in plan.system_plan(system.system).steps}
            for row in system.steps:
                if row.mode == "do" and row.state == "done" and row.step in deeds:
                    taken[system.system, deeds[row.step]].append((run.run, row.seconds))
    return taken


def _deed(step: Step) -> bytes:
    return canonical_json(step.action.model_dump(mode="json"))


def _duration(name: SystemName, steps: Sequence[Step], taken: Taken) -> SystemDuration:
    counted = [step for step in steps if step.action.verb not in FOR_PERSONS_OR_TIME]
    found = {step.id: taken[name, _deed(step)] for step in counted if taken.get((name, _deed(step)))}
    seconds = {step: [each for _, each in rows] for step, rows in found.items()}
    return SystemDuration(
        system=name,
        steps=len(counted),
        measured=len(found),
        runs=len({run for rows in found.values() for run, _ in rows}),
        p50_seconds=_longest(steps, {step: statistics.median(each) for step, each in seconds.items()}),
        p90_seconds=_longest(steps, {step: p90(each) for step, each in seconds.items()}),
        last_seconds=_longest(steps, {step: each[0] for step, each in seconds.items()}),
    )


def p90(seconds: Sequence[float]) -> float:
    """The least that nine of ten do not exceed."""
    return sorted(seconds)[-(-9 * len(seconds) // 10) - 1]


def _longest(steps: Sequence[Step], seconds: dict[str, float]) -> float:
    """The sum along the longest way; steps stand after those that they need."""
    ends: dict[str, float] = {}
    for step in steps:
        begins = max((ends.get(needed, 0.0) for needed in step.needs), default=0.0)
        ends[step.id] = begins + seconds.get(step.id, 0.0)
    return round(max(ends.values(), default=0.0), 3)
