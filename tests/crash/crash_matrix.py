"""The crash matrix: every boundary of every shipped runbook × each trouble × {go on, roll back}.

`python -m tests.crash.crash_matrix [RUNBOOK…]` runs all of it on the simulated site and prints the table; with
`--sample N` only every N-th cell. A cell passes when the run ended in a state that is allowed, exactly one side has
authority and serves, nothing acknowledged is lost, no two sides could ever write, and the evidence is in order.
"""

import argparse
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.engine.run_state import PERSON_VERBS
from orchestrator.foundation.errors import LedgerFull
from orchestrator.model.action import Wait
from orchestrator.model.outcome import Outcome, Result
from orchestrator.model.plan import Plan
from orchestrator.model.site import Side
from orchestrator.model.step import Step
from tests.fakes.engine_lives import Trial
from tests.fakes.handlers import PERSON_STEPS, SimulatedCrash, sides_of
from tests.fakes.plans import RUNBOOKS, a_plan, shipped_steps
from tests.fakes.postgres_server import BINARIES, running_postgres
from tests.fakes.simulated_site import SimulatedSystem

# Where a process dies round a deed, and what else goes wrong at it.
KILLS = ("kill before the deed", "kill after the deed", "kill before evidence", "kill before the journal")
ON_POSTGRESQL = "worker killed on PostgreSQL"
CUT_OFF = "site cut off"
TROUBLES = (
    *KILLS,
    "host unreachable once",
    "host unreachable for good",
    CUT_OFF,
    "host disk full",
    "ledger full",
    "timeout, unknown",
    "timeout, absent",
)
WAYS = ("go on", "roll back")
LIVES_MAX = 16
RUNS_MAX = 3


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


def cases(runbook: str, *, postgresql: bool = False) -> Iterator[Case]:
    troubles = (*TROUBLES, ON_POSTGRESQL) if postgresql else TROUBLES
    steps = [step for step in steps_of(runbook) if step.action.verb not in PERSON_STEPS]
    for step in steps:
        for trouble in troubles:
            for way in WAYS:
                yield Case(runbook, step.id, "do", trouble, way)
    undone_by = last_step_before_commit(steps)
    for step in steps:
        if step.inverse.action is not None and undone_by is not None and comes_before(steps, step, undone_by):
            for trouble in troubles:
                yield Case(runbook, step.id, "undo", trouble, "go on")


def sample(every: int) -> Iterator[Case]:
    """Every so many-th cell of all, so that each trouble meets each part of each runbook."""
    everything = itertools.chain.from_iterable(cases(runbook) for runbook in shipped_runbooks())
    return itertools.islice(everything, 0, None, every)


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


def run_case(case: Case, folder: Path, url: str = "") -> str:
    """Empty when the cell passes, else what was wrong."""
    steps = steps_of(case.runbook)
    trial = Trial(folder, plan_of(case.runbook), url=url, kind=case.runbook)
    with closing(trial):
        return run_trial(case, trial, steps)


@cache
def plan_of(runbook: str) -> Plan:
    return a_plan(steps_of(runbook))


def run_trial(case: Case, trial: Trial, steps: tuple[Step, ...]) -> str:
    trial.site.place(trial.system, SimulatedSystem.before(case.runbook))
    arrange(case, trial, steps)
    problem = carry_to_its_end(case, trial)
    step = next(found for found in steps if found.id == case.step)
    while not problem and trial.status().state == "failed" and trial.runs < RUNS_MAX and not after_commit(step, steps):
        # Over, for nothing is to be undone: the same plan is run again.
        trial.submit()
        problem = carry_to_its_end(case, trial)
    if problem:
        return problem
    problems = trial.problems()
    wanted, status = expected_states(case, trial, steps), trial.status()
    if status.state not in wanted:
        problems.append(f"ended {status.state} ({status.reason}), expected {' or '.join(wanted)}")
    system = trial.site.system(trial.system)
    holder = system.state["authority"]["side"]
    if not system.takes_writes(holder) and holder != system.state["dead"]:
        problems.append(f"ended {status.state}, {holder} has authority and takes no writes")
    return "; ".join(problems)


def carry_to_its_end(case: Case, trial: Trial) -> str:
    """Lives follow each other until nothing can move the run; what a person asks is asked between them."""
    asked = False
    for _ in range(LIVES_MAX):
        try:
            ended = trial.live()
        except TimeoutError:
            return f"hung: {trial.status().state} ({trial.status().reason})"
        if ended is not None and not isinstance(ended, SimulatedCrash | LedgerFull):
            return f"halted by {ended!r}"
        heal(case, trial)
        if trial.is_over():
            return ""
        if case.way == "roll back" and not asked and trial.runs == 1:
            asked = True
            trial.ask("rollback")
        elif ended is None:
            trial.ask(what_a_person_would_say(case, trial, was_refused=asked))
    return f"no end: {trial.status().state} ({trial.status().reason})"


def arrange(case: Case, trial: Trial, steps: tuple[Step, ...]) -> None:
    """Order the trouble."""
    if case.mode == "undo":
        failing = last_step_before_commit([step for step in steps if step.action.verb not in PERSON_STEPS])
        if failing is not None:
            trial.faults.failures[failing.id] = 99 if failing.retry.attempts_max > 1 else 1
    match case.trouble:
        case "kill before the deed" | "kill after the deed":
            at_the_boundary(trial, case.name, case.trouble.split()[1], crash)
        case "worker killed on PostgreSQL":
            at_the_boundary(trial, case.name, "after", crash)
        case "kill before evidence":
            before_evidence(trial, case, "step.finished", SimulatedCrash("before step.finished"))
        case "kill before the journal":

            def before_recording(events: Any) -> None:
                if any(getattr(event, "step", "") == case.step and event.mode == case.mode for event in events):
                    trial.before_recording = lambda _events: None
                    raise SimulatedCrash("before the turn was kept")

            trial.before_recording = before_recording
        case "host unreachable once":
            trial.faults.retryable = True
            trial.faults.failures[case.name] += 1
        case "host unreachable for good":
            trial.faults.retryable = True
            trial.faults.failures[case.name] += 99
        case "site cut off":
            step = next(found for found in steps if found.id == case.step)
            action = step.action if case.mode == "do" else step.inverse.action
            sides = sides_of(action) or [Side.SOURCE.value]
            at_the_boundary(trial, case.name, "before", lambda: trial.faults.cut.add(sides[-1]))
        case "host disk full":
            trial.faults.errors[case.name] = "NoSpace"
            trial.faults.failures[case.name] += 99
        case "ledger full":
            before_evidence(trial, case, "step.started", LedgerFull("no room"))
        case _:
            trial.faults.outcomes[case.name] = [Outcome(result=Result.TIMED_OUT, message="it did not end in time")]
            if case.trouble.endswith("unknown"):
                trial.faults.unknown.add(case.name)


def crash() -> None:
    raise SimulatedCrash("killed")


def at_the_boundary(trial: Trial, name: str, when: str, do: Callable[[], None]) -> None:
    """`do`, once, before or after the deed takes effect."""

    def boundary(deed: str, at: str) -> None:
        if deed == name and at == when:
            trial.faults.boundary = lambda _deed, _at: None
            do()

    trial.faults.boundary = boundary


def before_evidence(trial: Trial, case: Case, kind: str, error: BaseException) -> None:
    """The event of the step is not written, once."""

    def refuse(event: Any) -> None:
        if event.type == kind and (event.step, event.data["mode"]) == (case.step, case.mode):
            trial.before_evidence = lambda _event: None
            raise error

    trial.before_evidence = refuse


def heal(case: Case, trial: Trial) -> None:
    """By the time a person acts, hosts answer again, and have room; the failure that a way back began with stays."""
    for name in list(trial.faults.failures):
        if trial.faults.failures[name] > 50 and (case.mode == "do" or name == case.name):
            trial.faults.failures[name] = 0
    trial.faults.unknown.clear()
    trial.faults.cut.clear()


def what_a_person_would_say(case: Case, trial: Trial, *, was_refused: bool) -> str:
    """`was_refused`: a roll-back was asked for before; a run that has failed all the same is beyond its return."""
    status = trial.status()
    if status.state == "rollback_failed":
        return "found_absent" if "nobody knows" in status.reason or case.trouble.endswith("unknown") else "retry"
    if any(step.state == "unknown" for step in status.steps):
        return "found_absent"
    if status.state != "failed":
        return "confirm"  # a step waits for a person
    return "retry" if case.way == "go on" or was_refused else "rollback"


def expected_states(case: Case, trial: Trial, steps: tuple[Step, ...]) -> tuple[str, ...]:
    """What the cell may end in."""
    step = next(found for found in steps if found.id == case.step)
    if trial.runs > 1:  # the first run had nothing to undo, and the second met no trouble
        return ("committed",)
    if case.mode == "undo":
        return ("rolled_back",)
    if is_beyond_return(step, steps) and not after_commit(step, steps):
        return ("committed",)  # nothing is undone there: it is done again
    if case.trouble in (*KILLS, ON_POSTGRESQL, "ledger full"):
        if case.way == "go on":
            return ("committed",)
        # What was under way is ended first; where that was the commit, it is too late to roll back.
        late = is_the_end(step, steps) or step.point_of_no_return
        return ("rolled_back", "committed") if late else ("rolled_back",)
    if case.trouble == "host unreachable once" and step.retry.attempts_max > 1:
        # Nobody notices; but where a step waits for a person, that person may ask to go back instead.
        asks = any(found.action.verb in PERSON_VERBS for found in steps)
        return ("rolled_back",) if asks and case.way == "roll back" else ("committed",)
    if case.trouble == CUT_OFF and not sides_of(step.action):
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


def after_commit(step: Step, steps: tuple[Step, ...]) -> bool:
    return any(found.action.verb == "commit" and comes_before(list(steps), found, step) for found in steps)


# ---- all of it


def try_case(case: Case, new_database: Callable[[], str] | None = None) -> str:
    """`run_case` in a folder of its own, that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="skerry-matrix-", dir=memory_folder()))
    try:
        return run_case(case, folder, new_database() if case.trouble == ON_POSTGRESQL and new_database else "")
    finally:
        shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="every N-th cell")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("runbooks", nargs="*")
    asked = parser.parse_args()
    names = asked.runbooks or shipped_runbooks()
    postgresql = (BINARIES / "postgres").exists()
    began = time.monotonic()
    with ExitStack() as stack:
        server = stack.enter_context(running_postgres()) if postgresql else None
        chosen = [case for name in names for case in cases(name, postgresql=postgresql)][:: asked.sample]
        on_server = [case for case in chosen if case.trouble == ON_POSTGRESQL]
        others = [case for case in chosen if case.trouble != ON_POSTGRESQL]
        pool = stack.enter_context(ProcessPoolExecutor(max_workers=asked.jobs))
        outcomes = dict(zip(others, pool.map(try_case, others, chunksize=8), strict=True))
        if server is not None:
            outcomes |= {case: try_case(case, server.new_database) for case in on_server}
    for name in names:
        print_table(name, [case for case in chosen if case.runbook == name], outcomes)
    failed = [f"{case}: {problem}" for case, problem in outcomes.items() if problem]
    for line in failed:
        print(line)
    if not postgresql:
        print(f"not tried, PostgreSQL is not installed: {ON_POSTGRESQL}")
    print(f"{len(chosen)} cells, {len(failed)} failed, {time.monotonic() - began:.1f} s")
    return 1 if failed else 0


def print_table(runbook: str, tried: Iterable[Case], outcomes: dict[Case, str]) -> None:
    rows: dict[str, dict[str, str]] = {}
    for case in tried:
        rows.setdefault(case.name, {})[case.column] = "FAIL" if outcomes[case] else "ok"
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print(f"\n{runbook}")
    for number, column in enumerate(columns, 1):
        print(f"  {number:>2}  {column}")
    width = max((len(name) for name in rows), default=0)
    print(" " * width + "".join(f"{number:>5}" for number in range(1, len(columns) + 1)))
    for name, row in rows.items():
        print(name.ljust(width) + "".join(f"{row.get(column, '-'):>5}" for column in columns))


def memory_folder() -> str | None:
    """Where a sync costs nothing: a crash of a process, not of the machine, is what is tried here."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
