"""The cells of the crash matrix: every boundary of every shipped runbook × each trouble × {go on, roll back}.

One list, of which all is tried on the simulated site and all on the hosts of a lab.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from orchestrator.model.action import Wait
from orchestrator.model.step import Step
from tests.fakes.handlers import PERSON_STEPS
from tests.fakes.plans import RUNBOOKS, shipped_steps

# Where a process dies round a deed, and what else goes wrong at it.
KILLS = ("kill before the deed", "kill after the deed", "kill before evidence", "kill before the journal")
# The same of a worker whose store is PostgreSQL: another one takes its work over.
ON_POSTGRESQL = tuple(f"{kill}, on PostgreSQL" for kill in KILLS if kill != "kill before evidence")
CUT_OFF = "site cut off"
# A worker that cannot write down how far it came halts, and the next one goes on.
FULL_DISKS = ("ledger full", "ledger full after the deed", "state full before the journal")
# Hosts, sites and time meet a deed before it takes effect or after it did; the journal is this machine's alone.
TROUBLES = (
    *KILLS,
    "host unreachable once",
    "host unreachable after the deed",
    "host unreachable for good",
    CUT_OFF,
    f"{CUT_OFF} after the deed",
    "host disk full",
    "host disk full after the deed",
    *FULL_DISKS,
    "timeout before the deed",
    "timeout, unknown",
    "timeout, absent",
)
# A step that waits for a person's answer, or for time, is carried by no deed: nothing of it is on a host or at a site.
AT_STEPS_THAT_WAIT = ("kill before evidence", "kill before the journal", *FULL_DISKS, ON_POSTGRESQL[-1])
# What cannot be, with the reason.
NO_CELLS = {
    "a deed, a host or a site in trouble, at a step that waits": "no deed carries it, and nothing of it is on a host",
    "kill before evidence, on PostgreSQL": "whoever takes over sees the same as after the deed",
    "ledger or state full, on PostgreSQL": "the disk is that of the database, and no worker fills it",
    "roll back, at the inverse of a step": "it is being rolled back",
}
NO_TROUBLE = "no trouble"
WAYS = ("go on", "roll back")


@dataclass(frozen=True)
class Case:
    """One cell. `mode` undo: the trouble comes while everything is being rolled back."""

    runbook: str
    step: str
    mode: str
    trouble: str
    way: str

    @property
    def name(self) -> str:
        return self.step if self.mode == "do" else f"{self.step}.undo"

    @property
    def on_postgresql(self) -> bool:
        return self.trouble in ON_POSTGRESQL

    @property
    def waits(self) -> bool:
        """No deed carries its step."""
        return any(step.id == self.step and waits(step) for step in steps_of(self.runbook))

    @property
    def strikes(self) -> str:
        """The trouble, whichever store the worker has."""
        return self.trouble.removesuffix(", on PostgreSQL")

    @property
    def column(self) -> str:
        return f"{self.trouble}, {self.way}"

    def __str__(self) -> str:
        return f"{self.runbook}:{self.name}: {self.column}"


def shipped_runbooks() -> list[str]:
    return sorted(path.stem for path in RUNBOOKS.glob("*.yml"))


@cache
def steps_of(runbook: str) -> tuple[Step, ...]:
    """As shipped; but where it lets time pass, none passes."""
    steps = shipped_steps(runbook)
    at_once = {"action": Wait(seconds=0.0)}
    return tuple(step.model_copy(update=at_once) if step.action.verb == "wait" else step for step in steps)


def waits(step: Step) -> bool:
    return step.action.verb in PERSON_STEPS


def deeds_of(runbook: str) -> list[Step]:
    """Its steps, but those that wait."""
    return [step for step in steps_of(runbook) if not waits(step)]


def all_cells() -> list[Case]:
    return [case for runbook in shipped_runbooks() for case in cases(runbook)]


def cases(runbook: str) -> Iterator[Case]:
    for step in steps_of(runbook):
        for trouble in AT_STEPS_THAT_WAIT if waits(step) else (*TROUBLES, *ON_POSTGRESQL):
            for way in WAYS:
                yield Case(runbook, step.id, "do", trouble, way)
    steps = deeds_of(runbook)
    undone_by = last_step_before_commit(steps)
    for step in steps:
        if step.inverse.action is not None and undone_by is not None and comes_before(steps, step, undone_by):
            for trouble in (*TROUBLES, *ON_POSTGRESQL):
                yield Case(runbook, step.id, "undo", trouble, "go on")


def last_step_before_commit(steps: list[Step]) -> Step | None:
    """The step whose failure rolls most back."""
    candidates = [step for step in steps if step.on_failure == "rollback" and step.action.verb != "commit"]
    candidates = [step for step in candidates if not after_commit(step, tuple(steps))]
    return candidates[-1] if candidates else None


def comes_before(steps: list[Step], step: Step, other: Step) -> bool:
    """`other` needs `step`, directly or through others."""
    by_id = {found.id: found for found in steps}
    todo, seen = list(other.needs), set()
    while todo:
        need = todo.pop()
        if need not in seen:
            seen.add(need)
            todo += by_id[need].needs if need in by_id else ()
    return step.id in seen


def after_commit(step: Step, steps: tuple[Step, ...]) -> bool:
    return any(found.action.verb == "commit" and comes_before(list(steps), found, step) for found in steps)
