"""The crash matrix: every boundary of every shipped runbook × each trouble × {go on, roll back}, on the simulated site.

`python -m tests.crash.crash_matrix [RUNBOOK…]` runs all of it and prints the table. A cell passes when the run ended in
the state it should, exactly one side has authority, nothing that was acknowledged is lost, no two sides could ever
write, and the evidence is in order.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.foundation.errors import LedgerFull
from orchestrator.model.outcome import Outcome, Result
from orchestrator.model.step import Step
from tests.fakes.engine_lives import Trial
from tests.fakes.handlers import PERSON_STEPS, SimulatedCrash
from tests.fakes.plans import RUNBOOKS, a_plan, shipped_steps

# Where a process dies round a deed, and what else goes wrong at it.
KILLS = ("kill before the deed", "kill after the deed", "kill before evidence", "kill before the journal")
TROUBLES = (*KILLS, "unreachable once", "unreachable for good", "ledger full", "timeout, unknown", "timeout, absent")
WAYS = ("go on", "roll back")
# A late step that fails, so that everything with an inverse is undone.
LIVES_MAX = 12


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

    def __str__(self) -> str:
        return f"{self.runbook}:{self.name}: {self.trouble}, {self.way}"


def cases(runbook: str) -> Iterator[Case]:
    steps = [step for step in shipped_steps(runbook) if step.action.verb not in PERSON_STEPS]
    for step in steps:
        for trouble in TROUBLES:
            for way in WAYS:
                yield Case(runbook, step.id, "do", trouble, way)
    undone_by = last_step_before_commit(steps)
    for step in steps:
        if step.inverse.action is not None and undone_by is not None and comes_before(steps, step, undone_by):
            for trouble in TROUBLES:
                yield Case(runbook, step.id, "undo", trouble, "go on")


def last_step_before_commit(steps: list[Step]) -> Step | None:
    """The step whose failure rolls most back."""
    candidates = [step for step in steps if step.on_failure == "rollback" and step.action.verb != "commit"]
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


def run_case(case: Case, folder: Path) -> str:
    """Empty when the cell passes, else what was wrong."""
    steps = shipped_steps(case.runbook)
    trial = Trial(folder, a_plan(steps))
    arrange(case, trial, steps)
    asked = False
    status = trial.status()
    for _ in range(LIVES_MAX):
        try:
            ended = trial.live()
        except TimeoutError:
            return f"hung: {trial.status().state} ({trial.status().reason})"
        if ended is not None and not isinstance(ended, SimulatedCrash | LedgerFull):
            return f"halted by {ended!r}"
        heal(trial)
        status = trial.status()
        if trial.is_over():
            break
        if case.way == "roll back" and not asked:
            asked = True
            trial.ask("rollback")
        elif ended is None:
            trial.ask(what_a_person_would_say(case, trial))
    status = trial.status()
    problems = trial.problems()
    wanted = expected_states(case, trial, steps)
    if status.state not in wanted:
        problems.append(f"ended {status.state} ({status.reason}), expected {' or '.join(wanted)}")
    return "; ".join(problems)


def arrange(case: Case, trial: Trial, steps: tuple[Step, ...]) -> None:
    """Order the trouble."""
    if case.mode == "undo":
        failing = last_step_before_commit([step for step in steps if step.action.verb not in PERSON_STEPS])
        trial.faults.failures[failing.id] = 99 if failing.retry.attempts_max > 1 else 1
    match case.trouble:
        case "kill before the deed" | "kill after the deed":
            when = case.trouble.split()[1]

            def boundary(name: str, at: str) -> None:
                if name == case.name and at == when:
                    trial.faults.boundary = lambda _name, _at: None
                    raise SimulatedCrash(f"{when} {name}")

            trial.faults.boundary = boundary
        case "kill before evidence":

            def before_evidence(event: Any) -> None:
                if event.type == "step.finished" and (event.step, event.data["mode"]) == (case.step, case.mode):
                    trial.before_evidence = lambda _event: None
                    raise SimulatedCrash("before step.finished")

            trial.before_evidence = before_evidence
        case "kill before the journal":

            def before_recording(events: Any) -> None:
                if any(getattr(event, "step", "") == case.step and event.mode == case.mode for event in events):
                    trial.before_recording = lambda _events: None
                    raise SimulatedCrash("before the turn was kept")

            trial.before_recording = before_recording
        case "unreachable once":
            trial.faults.retryable = True
            trial.faults.failures[case.name] += 1
        case "unreachable for good":
            trial.faults.retryable = True
            trial.faults.failures[case.name] += 99
        case "ledger full":

            def full(event: Any) -> None:
                if event.type == "step.started" and (event.step, event.data["mode"]) == (case.step, case.mode):
                    trial.before_evidence = lambda _event: None
                    raise LedgerFull("no room")

            trial.before_evidence = full
        case _:
            trial.faults.outcomes[case.name] = [Outcome(result=Result.TIMED_OUT, message="it did not end in time")]
            if case.trouble.endswith("unknown"):
                trial.faults.unknown.add(case.name)


def heal(trial: Trial) -> None:
    """By the time a person acts, hosts answer again."""
    for name in list(trial.faults.failures):
        if trial.faults.failures[name] > 50 and not name.endswith("check_front"):
            trial.faults.failures[name] = 0
    trial.faults.unknown.clear()


def what_a_person_would_say(case: Case, trial: Trial) -> str:
    status = trial.status()
    if status.state == "rollback_failed":
        return "found_absent" if "nobody knows" in status.reason or case.trouble.endswith("unknown") else "retry"
    if any(step.state == "unknown" for step in status.steps):
        return "found_absent"
    if any(step.state == "waiting" for step in status.steps):
        return "confirm"
    return "retry" if case.way == "go on" else "rollback"


def expected_states(case: Case, trial: Trial, steps: tuple[Step, ...]) -> tuple[str, ...]:
    """What the cell may end in."""
    step = next(found for found in steps if found.id == case.step)
    if case.mode == "undo":
        return ("rolled_back",)
    if case.trouble in KILLS or case.trouble == "ledger full":
        if case.way == "go on":
            return ("committed",)
        # What was under way is ended first; where that was the commit, it is too late to roll back.
        return ("rolled_back", "committed") if is_the_end(step, steps) else ("rolled_back",)
    if case.trouble == "unreachable once" and step.retry.attempts_max > 1:
        return ("committed",)
    if case.trouble != "timeout, unknown" and step.on_failure == "rollback" and not after_commit(step, steps):
        return ("rolled_back",)
    if nothing_to_undo(trial, steps):
        return ("failed",)  # and over: it is planned again rather than taken up
    return ("committed",) if case.way == "go on" else ("rolled_back",)


def is_the_end(step: Step, steps: tuple[Step, ...]) -> bool:
    """With its end the run is committed, or it already is."""
    return step.action.verb == "commit" or after_commit(step, steps) or step.id == steps[-1].id


def after_commit(step: Step, steps: tuple[Step, ...]) -> bool:
    return any(found.action.verb == "commit" and comes_before(list(steps), found, step) for found in steps)


def nothing_to_undo(trial: Trial, steps: tuple[Step, ...]) -> bool:
    with_inverse = {step.id for step in steps if step.inverse.action is not None}
    return not any(found.step in with_inverse for found in trial.status().steps)


def main() -> int:
    runbooks = sys.argv[1:] or sorted(path.stem for path in RUNBOOKS.glob("*.yml"))
    failed, ran, began = [], 0, time.monotonic()
    for runbook in runbooks:
        table: dict[str, dict[str, str]] = {}
        for case in cases(runbook):
            folder = Path(tempfile.mkdtemp(prefix="skerry-matrix-", dir=memory_folder()))
            try:
                problem = run_case(case, folder)
            finally:
                shutil.rmtree(folder)
            ran += 1
            table.setdefault(case.name, {})[f"{case.trouble}, {case.way}"] = "FAIL" if problem else "ok"
            if problem:
                failed.append(f"{case}: {problem}")
        print_table(runbook, table)
    for line in failed:
        print(line)
    print(f"{ran} cells, {len(failed)} failed, {time.monotonic() - began:.1f} s")
    return 1 if failed else 0


def print_table(runbook: str, table: dict[str, dict[str, str]]) -> None:
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    print(f"\n{runbook}")
    for number, column in enumerate(columns, 1):
        print(f"  {number:>2}  {column}")
    width = max(len(name) for name in table)
    print(" " * width + "".join(f"{number:>5}" for number in range(1, len(columns) + 1)))
    for name, row in table.items():
        print(name.ljust(width) + "".join(f"{row.get(column, '-'):>5}" for column in columns))


def memory_folder() -> str | None:
    """Where a sync costs nothing: a crash of a process, not of the machine, is what is tried here."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
