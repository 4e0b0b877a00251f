"""A cell of the crash matrix, tried: its trouble is ordered, its run carried to the end, and that judged.

A cell passes when the run ended in a state that is allowed, exactly one side has
authority and serves, nothing acknowledged is lost, no two sides could ever write, and the evidence is in order.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

from orchestrator.contracts.engine import SystemStatus
from orchestrator.contracts.requests import Operation
from orchestrator.engine.run_state import PERSON_VERBS
from orchestrator.engine.turns import Event, Requested
from orchestrator.foundation.errors import EngineUnavailable, LedgerFull
from orchestrator.model.outcome import Outcome, Result
from orchestrator.model.plan import Plan
from orchestrator.model.site import Side
from orchestrator.model.step import Step
from tests.crash.matrix_cells import (
    CUT_OFF,
    FULL_DISKS,
    KILLS,
    NO_TROUBLE,
    ON_POSTGRESQL,
    Case,
    after_commit,
    comes_before,
    deeds_of,
    last_step_before_commit,
    steps_of,
)
from tests.fakes.engine_lives import Trial
from tests.fakes.handlers import SimulatedCrash, sides_of
from tests.fakes.plans import a_plan
from tests.fakes.simulated_site import SimulatedSystem

LIVES_MAX = 16
RUNS_MAX = 3
# What an attempt at a point of no return fails by, and the next one does not meet.
GONE_BY_THE_NEXT_TRY = ("timeout before the deed", "timeout, absent", "host disk full after the deed")
TIMED_OUT = Outcome(result=Result.TIMED_OUT, message="it did not end in time")
GONE = Outcome.failed("it went away before it answered", error="HostUnreachable", retryable=True)


class AnyTrial(Protocol):
    """One run, over several lives of a process and under one trouble: on the simulated site, or on hosts of a lab."""

    runs: int

    def live(self) -> BaseException | None: ...
    def status(self) -> SystemStatus: ...
    def is_over(self) -> bool: ...
    def ask(self, operation: Operation) -> None: ...
    def submit(self) -> None: ...

    def heal(self, case: Case) -> None:
        """By the time a person acts, hosts answer again, and have room."""

    def was_struck(self, case: Case) -> bool:
        """The trouble came."""

    def wanted(self, case: Case) -> tuple[str, ...]:
        """What the run may end in."""

    def problems(self) -> list[str]:
        """What must not be, in the world and in the evidence."""


class SimulatedTrial(Trial):
    """On the simulated site."""

    def heal(self, case: Case) -> None:
        """The failure that a way back began with stays."""
        for name in list(self.faults.failures):
            if self.faults.failures[name] > 50 and (case.mode == "do" or name == case.name):
                self.faults.failures[name] = 0
        self.faults.unknown.clear()
        self.faults.cut.clear()

    def was_struck(self, case: Case) -> bool:
        return case.name in self.faults.struck

    def wanted(self, case: Case) -> tuple[str, ...]:
        return expected_states(case, self.runs, steps_of(case.runbook))

    def problems(self) -> list[str]:
        system = self.site.system(self.system)
        holder = system.state["authority"]["side"]
        serves = system.takes_writes(holder) or holder == system.state["dead"]
        return super().problems() + ([] if serves else [f"{holder} has authority and takes no writes"])


def try_case(case: Case, url: str = "", *, side_by_side: bool = False) -> str:
    """One cell from its beginning. Empty when it passes, else what was wrong."""
    trial = SimulatedTrial(plan_of(case.runbook), url=url, kind=case.runbook, side_by_side=side_by_side)
    trial.site.place(trial.system, SimulatedSystem.before(case.runbook))
    let_fail_what_is_undone(case, trial)
    arrange(case, trial)
    return judge(lambda: case, trial)


@cache
def plan_of(runbook: str) -> Plan:
    return a_plan(steps_of(runbook))


def judge(now: Callable[[], Case], trial: AnyTrial) -> str:
    """Carry it to its end; empty when that is as it should be. `now`: the cell that this process tries, by then."""
    problem = carry_to_its_end(now, trial)
    case = now()
    steps = steps_of(case.runbook)
    step = next(found for found in steps if found.id == case.step)
    while not problem and trial.status().state == "failed" and trial.runs < RUNS_MAX and not after_commit(step, steps):
        if is_committed(trial.status(), steps):
            break  # the trouble lasted until after the commit
        # Over, for nothing is to be undone: the same plan is run again.
        trial.submit()
        problem = carry_to_its_end(now, trial)
    if problem:
        return problem
    problems, status = trial.problems(), trial.status()
    if case.trouble != NO_TROUBLE and not trial.was_struck(case):
        problems.append(f"its trouble never came: {status.state} ({status.reason})")
    wanted = trial.wanted(case)
    if status.state not in wanted:
        problems.append(f"ended {status.state} ({status.reason}), expected {' or '.join(wanted)}")
    return "; ".join(problems)


def carry_to_its_end(now: Callable[[], Case], trial: AnyTrial) -> str:
    """Lives follow each other until nothing can move the run; what a person asks is asked between them."""
    asked = False
    for _ in range(LIVES_MAX):
        try:
            ended = trial.live()
        except TimeoutError:
            return f"hung: {trial.status().state} ({trial.status().reason})"
        # A worker that its database cut off halts, and another one goes on.
        if ended is not None and not isinstance(ended, SimulatedCrash | LedgerFull | EngineUnavailable):
            return f"halted by {ended!r}"
        case = now()
        trial.heal(case)
        if trial.is_over():
            return ""
        if case.way == "roll back" and not asked and trial.runs == 1:
            asked = True
            trial.ask("rollback")
        elif ended is None:
            trial.ask(what_a_person_would_say(case, trial, was_refused=asked))
    return f"no end: {trial.status().state} ({trial.status().reason})"


def let_fail_what_is_undone(case: Case, trial: Trial) -> None:
    """Where the trouble is to come on the way back, the step whose failure rolls most back fails."""
    failing = last_step_before_commit(deeds_of(case.runbook))
    if case.mode == "undo" and failing is not None:
        trial.faults.failures[failing.id] = 99 if failing.retry.attempts_max > 1 else 1


def arrange(case: Case, trial: Trial) -> None:
    """Order the trouble."""
    match case.strikes:
        case "kill before the deed" | "kill after the deed":
            at_the_boundary(trial, case.name, case.strikes.split()[1], crash)
        case "kill before evidence":
            before_evidence(trial, case, "step.finished", SimulatedCrash("before step.finished"))
        case "kill before the journal":
            before_recording(trial, case, SimulatedCrash("before the turn was kept"))
        case "state full before the journal":
            before_recording(trial, case, EngineUnavailable("no room"))
        case "host unreachable once" | "host unreachable for good":
            trial.faults.retryable = True
            trial.faults.failures[case.name] += 1 if "once" in case.trouble else 99
        case "host unreachable after the deed":
            trial.faults.outcomes[case.name] = [GONE]
        case "site cut off":
            cut_off(trial, case, "before")
        case "site cut off after the deed":
            cut_off(trial, case, "after")
            trial.faults.outcomes[case.name] = [GONE]
        case "host disk full":
            trial.faults.errors[case.name] = "NoSpace"
            trial.faults.failures[case.name] += 99
        case "host disk full after the deed":
            trial.faults.outcomes[case.name] = [Outcome.failed("no room for what came last", error="NoSpace")]
        case "ledger full" | "ledger full after the deed":
            kind = "step.finished" if "after" in case.trouble else "step.started"
            before_evidence(trial, case, kind, LedgerFull("no room"))
        case "timeout before the deed":
            trial.faults.instead[case.name] = [TIMED_OUT]
        case _:
            trial.faults.outcomes[case.name] = [TIMED_OUT]
            if case.trouble.endswith("unknown"):
                trial.faults.unknown.add(case.name)


def crash() -> None:
    raise SimulatedCrash("killed")


def at_the_boundary(trial: Trial, name: str, when: str, do: Callable[[], None]) -> None:
    """`do`, once, before or after the deed takes effect."""

    def boundary(deed: str, at: str) -> None:
        if deed == name and at == when:
            trial.faults.boundary = lambda _deed, _at: None
            trial.faults.struck.add(name)
            do()

    trial.faults.boundary = boundary


def cut_off(trial: Trial, case: Case, when: str) -> None:
    """The last of the sides that the deed is about, until a person mends it."""
    step = next(found for found in steps_of(case.runbook) if found.id == case.step)
    sides = sides_of(step.action if case.mode == "do" else step.inverse.action) or [Side.SOURCE.value]
    at_the_boundary(trial, case.name, when, lambda: trial.faults.cut.add(sides[-1]))


def before_recording(trial: Trial, case: Case, error: BaseException) -> None:
    """The turn with the step's end is not kept, once."""

    def refuse(events: Sequence[Event]) -> None:
        if any(ends(event, case) for event in events):
            trial.before_recording = lambda _events: None
            trial.faults.struck.add(case.name)
            raise error

    trial.before_recording = refuse


def ends(event: Event, case: Case) -> bool:
    """The step's end is in it: that of its deed or of its time, or what a person says whom it waits for."""
    if isinstance(event, Requested):
        return any(step.id == case.step and step.action.verb in PERSON_VERBS for step in steps_of(case.runbook))
    return (getattr(event, "step", ""), getattr(event, "mode", "")) == (case.step, case.mode)


def before_evidence(trial: Trial, case: Case, kind: str, error: BaseException) -> None:
    """The event of the step is not written, once."""

    def refuse(event: Any) -> None:
        if event.type == kind and (event.step, event.data["mode"]) == (case.step, case.mode):
            trial.before_evidence = lambda _event: None
            trial.faults.struck.add(case.name)
            raise error

    trial.before_evidence = refuse


def what_a_person_would_say(case: Case, trial: AnyTrial, *, was_refused: bool) -> Operation:
    """`was_refused`: a roll-back was asked for before; a run that has failed all the same is beyond its return."""
    status = trial.status()
    if status.state == "rollback_failed":
        return "found_absent" if "nobody knows" in status.reason or case.trouble.endswith("unknown") else "retry"
    if any(step.state == "unknown" for step in status.steps):
        return "found_absent"
    if status.state != "failed":
        return "confirm"  # a step waits for a person
    return "retry" if case.way == "go on" or was_refused else "rollback"


def expected_states(case: Case, runs: int, steps: tuple[Step, ...]) -> tuple[str, ...]:
    """What the cell may end in."""
    step = next(found for found in steps if found.id == case.step)
    if runs > 1:  # the first run had nothing to undo, and the second met no trouble
        return ("committed",)
    if case.mode == "undo":
        return ("rolled_back",)
    if case.trouble == NO_TROUBLE:
        return ("committed",)
    if is_beyond_return(step, steps) and not after_commit(step, steps):
        return ("committed",)  # nothing is undone there: it is done again
    if case.trouble in (*KILLS, *ON_POSTGRESQL, *FULL_DISKS):
        if case.way == "go on":
            return ("committed",)
        # What was under way is ended first; where that was the commit, it is too late to roll back.
        late = is_the_end(step, steps) or step.point_of_no_return
        return ("rolled_back", "committed") if late else ("rolled_back",)
    if case.trouble in ("host unreachable once", "host unreachable after the deed") and step.retry.attempts_max > 1:
        # Nobody notices; but where a step waits for a person, that person may ask to go back instead.
        asks = any(found.action.verb in PERSON_VERBS for found in steps)
        return ("rolled_back",) if asks and case.way == "roll back" else ("committed",)
    if step.point_of_no_return and step.retry.attempts_max > 1 and case.trouble in GONE_BY_THE_NEXT_TRY:
        return ("committed",)  # it may have taken effect, so it is tried again before anybody is asked
    if case.trouble.startswith(CUT_OFF) and not sides_of(step.action):
        return ("committed", "rolled_back")  # it asks no site, and whichever step does first meets the cut
    if case.trouble != "timeout, unknown" and step.on_failure == "rollback" and not after_commit(step, steps):
        return ("rolled_back",)
    if after_commit(step, steps):
        return ("committed", "failed")  # the system lives where it was committed; what was to follow is planned anew
    return ("committed",) if case.way == "go on" else ("rolled_back",)


def is_beyond_return(step: Step, steps: tuple[Step, ...]) -> bool:
    """A step before it, other than the commit, was the point of no return."""
    return any(
        found.point_of_no_return and found.action.verb != "commit" and comes_before(list(steps), found, step)
        for found in steps
    )


def is_the_end(step: Step, steps: tuple[Step, ...]) -> bool:
    """With its end the run is committed, or it already is."""
    return step.action.verb == "commit" or after_commit(step, steps) or step.id == steps[-1].id


def is_committed(status: SystemStatus, steps: tuple[Step, ...]) -> bool:
    commits = {step.id for step in steps if step.action.verb == "commit"}
    return any(found.step in commits and found.state == "done" for found in status.steps)
