"""Runbooks as people write them: parsed, inputs filled in, judged as a graph. Pure: bytes in, a runbook out."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.foundation.errors import RunbookError
from orchestrator.foundation.limits import RUNBOOK_STEPS_MAX
from orchestrator.foundation.name_graph import ancestors, circles_in
from orchestrator.foundation.written_file import (
    Finding,
    Location,
    WrittenFile,
    did_you_mean,
    parse_written_file,
)
from orchestrator.foundation.written_model import judge
from orchestrator.model.runbook import Runbook
from orchestrator.model.step import Step

_INPUT = re.compile(r"\$\{([^}]*)\}")
_DIGEST_NOT_THEIRS = "digest"  # of the file, so it cannot stand in the file

Scalar = str | int | float | bool


def parse_runbook(content: bytes, name: str, *, inputs: Mapping[str, Scalar] | None = None) -> Runbook:
    """The runbook in `content`; `name` is what messages call its file, `inputs` wins over the defaults.

    Raises RunbookError, whose message is all problems, each on a line `file:line: what`.
    """
    findings: list[Finding] = []
    written = parse_written_file(content, name, findings)
    runbook = None if written is None else _judge_whole(written, dict(inputs or {}), findings)
    if findings or runbook is None:
        raise RunbookError("\n".join(str(finding) for finding in sorted(set(findings))))
    return runbook


def runbook_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a runbook file, for editors and for `skerry runbook schema`."""
    schema = Runbook.model_json_schema(mode="validation")
    del schema["properties"][_DIGEST_NOT_THEIRS]
    schema["required"] = [key for key in schema["required"] if key != _DIGEST_NOT_THEIRS]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "skerry runbook"}


def _judge_whole(written: WrittenFile, given: dict[str, Scalar], findings: list[Finding]) -> Runbook | None:
    if not isinstance(written.data, dict):
        findings.append(written.finding((), "must be a mapping with id, version, title, kind, author and steps"))
        return None
    if _DIGEST_NOT_THEIRS in written.data:
        findings.append(written.finding((_DIGEST_NOT_THEIRS,), "unknown key 'digest'"))
    steps = written.data.get("steps")
    if isinstance(steps, list) and len(steps) > RUNBOOK_STEPS_MAX:
        findings.append(written.finding(("steps",), f"holds {len(steps)} steps, more than {RUNBOOK_STEPS_MAX}"))
        return None
    filled = _fill_inputs(written, given, findings)
    judged: list[Finding] = []
    runbook = judge(Runbook, {**filled, _DIGEST_NOT_THEIRS: written.digest}, written, judged, implied=("digest",))
    # What stands for no input is told already; that it is no number either would be the same mistake told twice.
    told = {finding.line for finding in findings}
    findings.extend(finding for finding in judged if not (finding.line in told and "'${" in finding.message))
    if runbook is None:
        return None
    findings.extend(_problems(runbook, written))
    return runbook


def _fill_inputs(written: WrittenFile, given: dict[str, Scalar], findings: list[Finding]) -> dict[str, Any]:
    """The file's data with `${name}` replaced below `steps`; a value that is nothing but `${name}` keeps its type."""
    declared = written.data.get("inputs") or {}
    names = list(declared) if isinstance(declared, dict) else []
    values: dict[str, Scalar] = {}
    for name in names:
        body = declared[name]
        if isinstance(body, dict) and "default" in body:
            values[name] = body["default"]
    for name, value in given.items():
        if name not in names:
            message = f"has no input {name!r}{did_you_mean(name, names)} (it has: {', '.join(names) or 'none'})"
            findings.append(written.finding(("inputs",), message))
        values[name] = value

    def fill(value: Any, location: Location) -> Any:
        if isinstance(value, dict):
            return {key: fill(inner, (*location, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner, (*location, position)) for position, inner in enumerate(value)]
        if not isinstance(value, str):
            return value
        for name in _INPUT.findall(value):
            if name not in values:
                message = f"${{{name}}} stands for no input{did_you_mean(name, names)}"
                findings.append(written.finding(location, message))
                return value
        whole = _INPUT.fullmatch(value)
        return values[whole[1]] if whole else _INPUT.sub(lambda found: str(values[found[1]]), value)

    return {key: fill(value, (key,)) if key == "steps" else value for key, value in written.data.items()}


def _problems(runbook: Runbook, written: WrittenFile) -> Iterator[Finding]:
    ids = [step.id for step in runbook.steps]
    for position, step in enumerate(runbook.steps):
        at: Location = ("steps", position)
        if ids.index(step.id) != position:
            first = written.line_of(("steps", ids.index(step.id)))
            yield written.finding((*at, "id"), f"step {step.id} is there twice (first in line {first})")
        for index, needed in enumerate(step.needs):
            if needed not in ids:
                near = did_you_mean(needed, ids)
                yield written.finding((*at, "needs", index), f"step {step.id} needs {needed}, which is no step{near}")
    graph = {step.id: step.needs for step in runbook.steps}
    circles = list(circles_in(graph))
    for circle in circles:
        at = ("steps", ids.index(circle[0]), "needs")
        yield written.finding(at, f"steps need each other in a circle: {' → '.join(circle)}")
    if circles:
        return
    before = ancestors(graph)
    for position, step in enumerate(runbook.steps):
        yield from _gate_problems(step, before[step.id], ids, written, ("steps", position, "gate"))
        for earlier in runbook.steps:
            if earlier.point_of_no_return and earlier.id in before[step.id] and step.inverse.action is not None:
                message = f"step {step.id} has an inverse, but comes after the point of no return ({earlier.id})"
                yield written.finding(("steps", position, "inverse"), message)


def _gate_problems(
    step: Step, before: frozenset[str], ids: list[str], written: WrittenFile, at: Location
) -> Iterator[Finding]:
    if step.gate is None:
        return
    if not step.gate.criteria:
        yield written.finding(at, f"gate {step.gate.id} of step {step.id} has no criteria, so it could never open")
    for position, criterion in enumerate(step.gate.criteria):
        location = (*at, "criteria", position, "step")
        if criterion.step not in ids:
            near = did_you_mean(criterion.step, ids)
            yield written.finding(location, f"criterion {criterion.id} asks {criterion.step}, which is no step{near}")
        elif criterion.step not in before:
            message = f"criterion {criterion.id} asks {criterion.step}, which {step.id} does not wait for (needs)"
            yield written.finding(location, message)
