"""Runbooks as people write them: parsed, inputs filled in, includes read. Pure: bytes in, a runbook out.

Whether the whole makes sense as a graph is judged in planning.runbook_rules.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from orchestrator.foundation.errors import RunbookError
from orchestrator.foundation.limits import RUNBOOK_STEPS_MAX
from orchestrator.foundation.name_graph import in_order
from orchestrator.foundation.written_file import (
    Finding,
    Location,
    WrittenFile,
    did_you_mean,
    parse_written_file,
)
from orchestrator.foundation.written_model import judge
from orchestrator.model.runbook import Include, Runbook
from orchestrator.planning.runbook_rules import PlacedInclude, PlacedStep, runbook_problems

INCLUDED_FILES_MAX = 20

_INPUT = re.compile(r"\$\{([^}]*)\}")
_FILLED = ("steps", "includes")  # what inputs may stand in
_NOT_THEIRS = ("digest", "included")  # what is found out, and cannot stand in the file

Scalar = str | int | float | bool
ReadIncluded = Callable[[str], bytes | None]  # path from the runbook's folder → its bytes; None: there is no such file


def parse_runbook(
    content: bytes, name: str, *, inputs: Mapping[str, Scalar] | None = None, read: ReadIncluded | None = None
) -> Runbook:
    """The runbook in `content`; `name` is what messages call its file, `inputs` wins over the defaults.

    Raises RunbookError, whose message is all problems, each on a line `file:line: what`.
    """
    reading = _Reading(PurePosixPath(name), read or (lambda _: None))
    runbook = reading.whole(content, name, dict(inputs or {}))
    if reading.findings or runbook is None:
        raise RunbookError("\n".join(str(finding) for finding in sorted(set(reading.findings))))
    return runbook


def runbook_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a runbook file, for editors and for `skerry runbook schema`."""
    schema = Runbook.model_json_schema(mode="validation")
    for key in _NOT_THEIRS:
        del schema["properties"][key]
    schema["required"] = [key for key in schema["required"] if key not in _NOT_THEIRS]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "skerry runbook"}


@dataclass
class _Reading:
    """One runbook with all that it includes."""

    root: PurePosixPath
    read: ReadIncluded
    findings: list[Finding] = field(default_factory=list)
    included: dict[str, str] = field(default_factory=dict)  # path → digest
    steps: list[PlacedStep] = field(default_factory=list)
    includes: list[PlacedInclude] = field(default_factory=list)
    has_holes: bool = False  # something that was to be included is not

    def whole(self, content: bytes, name: str, given: dict[str, Scalar]) -> Runbook | None:
        written = parse_written_file(content, name, self.findings)
        runbook = None if written is None else self._file(written, given, self.root.name, ())
        if runbook is None or self.has_holes:
            return None  # of a graph with holes in it, what is missing would be told twice
        self.findings.extend(runbook_problems(self.steps, self.includes))
        if self.findings or not self.included:
            return runbook
        by_id = {placed.step.id: placed.step for placed in self.steps}
        ordered = in_order({step.id: step.needs for step in by_id.values()})
        steps = tuple(by_id[step_id] for step_id in ordered)
        return runbook.model_copy(update={"steps": steps, "included": dict(sorted(self.included.items()))})

    def _file(
        self,
        written: WrittenFile,
        given: dict[str, Scalar],
        path: str,
        above: tuple[str, ...],
        include: Include | None = None,
    ) -> Runbook | None:
        """The runbook of one file; its steps and those of what it includes are noted. `above`: what led here."""
        if not isinstance(written.data, dict):
            message = "must be a mapping with id, version, title, kind, author and steps"
            self.findings.append(written.finding((), message))
            return None
        for key in _NOT_THEIRS:
            if key in written.data:
                self.findings.append(written.finding((key,), f"unknown key {key!r}"))
        steps = written.data.get("steps")
        if isinstance(steps, list) and len(steps) + len(self.steps) > RUNBOOK_STEPS_MAX:
            count = len(steps) + len(self.steps)
            self.findings.append(written.finding(("steps",), f"holds {count} steps, more than {RUNBOOK_STEPS_MAX}"))
            return None
        filled = _fill_inputs(written, given, self.findings)
        known = {key: value for key, value in filled.items() if key not in _NOT_THEIRS}
        judged: list[Finding] = []
        runbook = judge(Runbook, {**known, "digest": written.digest}, written, judged, implied=_NOT_THEIRS)
        # What stands for no input is told already; that it is no number either would be the same mistake told twice.
        told = {finding.line for finding in self.findings if finding.file == written.name}
        found = (finding for finding in judged if not (finding.line in told and "'${" in finding.message))
        self.findings.extend(_with_remedy(finding) for finding in found)
        if runbook is None:
            return None
        for position, each in enumerate(runbook.includes):
            self._include(written, position, each, path, (*above, path))
        for position, step in enumerate(runbook.steps):
            begins = include is not None and not step.needs
            placed = step.model_copy(update={"needs": include.needs}) if include is not None and begins else step
            self.steps.append(PlacedStep(placed, written, ("steps", position)))
        return runbook

    def _include(
        self, written: WrittenFile, position: int, include: Include, path: str, above: tuple[str, ...]
    ) -> None:
        at: Location = ("includes", position)
        wanted = str(PurePosixPath(path).parent / include.file)
        self.includes.append(PlacedInclude(include, written, at))
        if wanted in above:
            circle = " → ".join((*above[above.index(wanted) :], wanted))
            self._refuse(written, at, f"files include each other in a circle: {circle}")
            return
        if wanted in self.included:
            self._refuse(written, at, f"{wanted} is included twice; its steps would be there twice")
            return
        if len(self.included) >= INCLUDED_FILES_MAX:
            self._refuse(written, at, f"more than {INCLUDED_FILES_MAX} files are included")
            return
        content = self.read(wanted)
        if content is None:
            beside = "files are looked for beside the one that includes them"
            self._refuse(written, at, f"{include.file} is not there; {beside}")
            return
        inner = parse_written_file(content, str(self.root.parent / wanted), self.findings)
        if inner is None:
            self.has_holes = True
            return
        self.included[wanted] = inner.digest
        declared = inner.data.get("inputs") if isinstance(inner.data, dict) else None
        known = list(declared) if isinstance(declared, dict) else []
        for name in include.inputs:
            if name not in known:
                near = f"{did_you_mean(name, known)} (it has: {', '.join(known) or 'none'})"
                message = f"{include.file} has no input {name!r}{near}"
                self.findings.append(written.finding((*at, "inputs", name), message))
        given = {name: value for name, value in include.inputs.items() if name in known}
        if self._file(inner, given, wanted, above, include) is None:
            self.has_holes = True

    def _refuse(self, written: WrittenFile, at: Location, message: str) -> None:
        self.findings.append(written.finding((*at, "file"), message))
        self.has_holes = True


def _with_remedy(finding: Finding) -> Finding:
    if not finding.message.endswith("key 'inverse' is missing"):
        return finding
    remedy = "say what undoes the step, inverse: {action: …}, or why nothing does, inverse: {none_because: …}"
    return replace(finding, message=f"{finding.message}: {remedy}")


def _fill_inputs(written: WrittenFile, given: dict[str, Scalar], findings: list[Finding]) -> dict[str, Any]:
    """The file's data with `${name}` replaced; a value that is nothing but `${name}` keeps its type."""
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

    return {key: fill(value, (key,)) if key in _FILLED else value for key, value in written.data.items()}
