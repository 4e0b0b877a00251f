"""Exercises in words, tabletops and walkthroughs: a runbook's steps, told one by one; people say whether each would do.

An exercise is a plan of its own, whose steps are those of the runbook as tasks for people, so that approval, ledger,
report and review are the same as for any run. No host is touched.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from orchestrator.contracts.engine import AT_REST, RunStatus
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import RunbookError, UsageError
from orchestrator.foundation.places import skerry_home
from orchestrator.foundation.written_file import Finding as Problem
from orchestrator.foundation.written_file import read_written_file
from orchestrator.model.facts import Facts
from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Name, StepId, SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import Runbook
from orchestrator.model.step import Step
from orchestrator.operations.desk import Desk
from orchestrator.operations.migrate import OnRun, new_run_id, tell_nobody, unfinished_run
from orchestrator.operations.plan import read_runbook

ExerciseKind = Literal["tabletop", "walkthrough"]
STEP_SECONDS_MAX = 7 * 86400.0
POLL_SECONDS = 0.2
IN_DOUBT = "in doubt"
NO_INVERSE = "nothing was done: it was talked over"


class Answer(Frozen):
    """What people came to at one step. Doubt is a finding: it is named, and the exercise goes on."""

    works: bool
    comment: str = ""


class Asked(Frozen):
    """One step as it is put to the people."""

    system: SystemName
    step: StepId
    title: str
    text: str
    success_criteria: tuple[str, ...] = ()


class Finding(Frozen):
    """A doubt, in the form in which a review takes it; who mends it by when is for the reviewer to say."""

    id: str
    text: str
    action: str = ""
    owner: str = ""
    due: str = ""


AnswerFor = Callable[[Asked], Answer]


def plan_exercise(
    desk: Desk, runbook_file: Path, *, kind: ExerciseKind, systems: Sequence[SystemName], author: Name, facts: Facts
) -> Plan:
    """Compile and keep the plan of an exercise over `runbook_file`. Touches no host."""
    runbook = read_runbook(runbook_file)
    content = json.dumps(_in_words(runbook, kind), indent=1, ensure_ascii=False).encode()
    folder = skerry_home() / "exercises"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = folder / f"{kind}-{runbook.id}.yml"
    replace_file(written, content)  # JSON is YAML
    return desk.make_plan(written, wave=f"{kind}-{runbook.id}", author=author, facts=facts, systems=systems)


def _in_words(runbook: Runbook, kind: ExerciseKind) -> dict[str, Any]:
    """The runbook with a task for people in place of each deed."""
    if not runbook.steps:
        raise RunbookError(f"{runbook.id} has no steps to talk over")
    return {
        "id": f"{kind}-{runbook.id}",
        "version": runbook.version,
        "title": f"{kind.capitalize()} of: {runbook.title}",
        "kind": "drill",
        "author": runbook.author,
        **({"scope": runbook.scope.model_dump(mode="json")} if runbook.scope is not None else {}),
        "steps": [_task(step) for step in runbook.steps],
    }


def _task(step: Step) -> dict[str, Any]:
    deed = step.action.model_dump(mode="json")
    verb = deed.pop("verb").replace("_", " ")
    told = {key: " and ".join(map(str, value)) if isinstance(value, list) else value for key, value in deed.items()}
    with_what = ", ".join(_input(key, value) for key, value in told.items() if value not in (None, "", False))
    back = step.inverse.action.verb.replace("_", " ") if step.inverse.action else f"none: {step.inverse.none_because}"
    text = f"{verb}{f' ({with_what})' if with_what else ''}. Way back: {back}. Answers for it: {step.owner_role}."
    return {
        "id": step.id,
        "title": step.title,
        "phase": step.phase.value,
        "needs": list(step.needs),
        "action": {"verb": "manual", "text": text},
        "timeout": STEP_SECONDS_MAX,
        "inverse": {"none_because": NO_INVERSE},
        "on_failure": "stop",
        "success_criteria": list(step.success_criteria),
        "owner_role": step.owner_role,
        "verifier_role": step.verifier_role,
    }


def _input(key: str, value: Any) -> str:
    words = key.replace("_", " ")
    return words if value is True else f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}"


def kind_of(plan: Plan) -> ExerciseKind:
    """What the plan is an exercise of. UsageError for a plan whose steps do something."""
    for kind in get_args(ExerciseKind):
        if plan.runbook.startswith(f"{kind}-") and all(
            step.action.verb == "manual" for system in plan.systems for step in system.steps
        ):
            return cast("ExerciseKind", kind)
    raise UsageError(
        f"plan {plan.digest} is no exercise: its runbook is {plan.runbook}",
        hint="Plan one: skerry drill exercise plan RUNBOOK --system SYSTEM --as PERSON",
    )


def lead(
    desk: Desk, plan: Plan, *, operator: Name, answer: AnswerFor, on_run: OnRun = tell_nobody
) -> tuple[RunStatus, list[Finding]]:
    """Put every step to the people, in order, and record what they say. One that was broken off goes on.

    The findings are those of the whole exercise, whoever led it when they were said.
    """
    kind = kind_of(plan)
    found = unfinished_run(desk.runs, plan.digest)
    if found is None:
        desk.ensure_allowed(plan, operator)
    run = found.run if found is not None else new_run_id()
    with desk.worker() as worker:
        if found is None:
            desk.runs.submit(run, plan, kind=kind, operator=operator)
        worker.start()
        try:
            on_run(run)
            said: set[tuple[str, str]] = set()
            while True:
                status = worker.await_finished(run, timeout_seconds=POLL_SECONDS)
                if all(system.state in AT_REST for system in status.systems):
                    return status, _findings(plan, status)
                waiting = [
                    row
                    for system in status.systems
                    for row in system.steps
                    if row.state == "waiting" and (row.system, row.step) not in said
                ]
                for row in waiting:
                    asked = _asked(plan, row.system, row.step)
                    came = answer(asked)
                    words = f"{'works' if came.works else IN_DOUBT}: {came.comment}".removesuffix(": ")
                    desk.runs.request(run, row.system, "confirm", by=operator, reason=words, step=row.step)
                    said.add((row.system, row.step))
        finally:
            worker.stop()


def _findings(plan: Plan, status: RunStatus) -> list[Finding]:
    """What is in doubt, in the order of the plan's steps."""
    said = {
        (row.system, row.step): str(row.observed.get("reason", "")) for each in status.systems for row in each.steps
    }
    doubts = [
        f"{step.title}: {words.removeprefix(f'{IN_DOUBT}: ')}"
        for system in plan.systems
        for step in system.steps
        if (words := said.get((system.system.name, step.id), "")).startswith(IN_DOUBT)
    ]
    return [Finding(id=f"{status.run[-6:]}-{number}", text=text) for number, text in enumerate(doubts, start=1)]


def _asked(plan: Plan, system: SystemName, step_id: StepId) -> Asked:
    step = plan.system_plan(system).step(step_id)
    text = str(getattr(step.action, "text", ""))
    return Asked(
        system=system, step=step_id, title=step.title, text=text, success_criteria=tuple(step.success_criteria)
    )


def answers_in(file: Path) -> AnswerFor:
    """The answers that a file has: step → yes, or what is in doubt. UsageError at a step that it does not answer."""
    problems: list[Problem] = []
    written = read_written_file(file, str(file), problems)
    if written is None or not isinstance(written.data, dict):
        told = "; ".join(map(str, problems)) or f"{file} holds no answers"
        raise UsageError(told, hint="One line for each step: STEP: yes, or what is in doubt")
    answers: Mapping[str, Any] = written.data

    def answer(asked: Asked) -> Answer:
        if asked.step not in answers:
            raise UsageError(f"{file} does not answer step {asked.step} ({asked.title})", hint=f"{asked.step}: yes")
        said = answers[asked.step]
        return Answer(works=said is True or said == "yes", comment="" if said in (True, "yes") else str(said))

    return answer
