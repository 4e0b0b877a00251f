"""What must hold of a runbook's graph, whichever files its steps were written in. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.foundation.name_graph import ancestors, circles_in
from orchestrator.foundation.written_file import Finding, Location, WrittenFile, did_you_mean
from orchestrator.model.runbook import Include
from orchestrator.model.step import Step


@dataclass(frozen=True)
class PlacedStep:
    """A step, and where it was written."""

    step: Step
    written: WrittenFile
    at: Location

    def finding(self, below: Location, message: str) -> Finding:
        return self.written.finding((*self.at, *below), message)


@dataclass(frozen=True)
class PlacedInclude:
    """An include, and where it was written."""

    include: Include
    written: WrittenFile
    at: Location


def runbook_problems(steps: Sequence[PlacedStep], includes: Sequence[PlacedInclude]) -> Iterator[Finding]:
    """Every reason why the steps are no graph that could be run, each with file and line."""
    ids = [placed.step.id for placed in steps]
    for position, placed in enumerate(steps):
        step = placed.step
        if ids.index(step.id) != position:
            first = steps[ids.index(step.id)]
            line = first.written.line_of(first.at)
            where = f"in line {line}" if first.written is placed.written else f"in {first.written.name}:{line}"
            yield placed.finding(("id",), f"step {step.id} is there twice (first {where})")
        written_needs = placed.written.holds((*placed.at, "needs"))
        for index, needed in enumerate(step.needs if written_needs else ()):
            if needed not in ids:
                near = did_you_mean(needed, ids)
                yield placed.finding(("needs", index), f"step {step.id} needs {needed}, which is no step{near}")
    for include in includes:
        for index, needed in enumerate(include.include.needs):
            if needed not in ids:
                near = did_you_mean(needed, ids)
                message = f"what {include.include.file} begins with needs {needed}, which is no step{near}"
                yield include.written.finding((*include.at, "needs", index), message)
    yield from _graph_problems(steps, ids)


def _graph_problems(steps: Sequence[PlacedStep], ids: list[str]) -> Iterator[Finding]:
    graph = {placed.step.id: placed.step.needs for placed in steps}
    circles = list(circles_in(graph))
    for circle in circles:
        begins = steps[ids.index(circle[0])]
        yield begins.finding(("needs",), f"steps need each other in a circle: {' → '.join(circle)}")
    if circles:
        return
    before = ancestors(graph)
    for placed in steps:
        step = placed.step
        yield from _gate_problems(placed, before[step.id], ids)
        yield from _deadline_problems(placed, steps, before)
        since = getattr(step.action, "since", None)
        if since is not None and since not in before[step.id]:
            what = "which is no step" + did_you_mean(since, ids) if since not in ids else "for which it does not wait"
            yield placed.finding(("action", "since"), f"step {step.id} counts since {since}, {what}")
        for earlier in (other.step for other in steps if other.step.id in before[step.id]):
            if earlier.point_of_no_return and step.inverse.action is not None:
                message = f"step {step.id} has an inverse, but comes after the point of no return ({earlier.id})"
                yield placed.finding(("inverse",), message)


def _deadline_problems(
    placed: PlacedStep, steps: Sequence[PlacedStep], before: Mapping[str, frozenset[str]]
) -> Iterator[Finding]:
    """A deadline counts from an earlier step, and leaves time for what must happen in between."""
    step, limit = placed.step, placed.step.not_later_than
    if limit is None:
        return
    if limit.after not in before[step.id]:
        known = limit.after in before
        what = "for which it does not wait" if known else "which is no step" + did_you_mean(limit.after, list(before))
        message = f"the deadline of {step.id} counts from {limit.after}, {what}"
        yield placed.finding(("not_later_than", "after"), message)
        return
    earlier = (other.step for other in steps if other.step.id in before[step.id])
    for other in (found for found in earlier if limit.after in before[found.id]):
        seconds = getattr(other.action, "seconds", 0.0)
        if seconds >= limit.seconds:
            message = f"{step.id} must pass within {limit.seconds:g} s, but {other.id} alone lasts {seconds:g} s"
            yield placed.finding(("not_later_than", "seconds"), message)


def _gate_problems(placed: PlacedStep, before: frozenset[str], ids: list[str]) -> Iterator[Finding]:
    step = placed.step
    if step.gate is None:
        return
    if not step.gate.criteria:
        message = f"gate {step.gate.id} of step {step.id} has no criteria, so it could never open"
        yield placed.finding(("gate",), message)
    for position, criterion in enumerate(step.gate.criteria):
        location = ("gate", "criteria", position, "step")
        if criterion.step not in ids:
            near = did_you_mean(criterion.step, ids)
            yield placed.finding(location, f"criterion {criterion.id} asks {criterion.step}, which is no step{near}")
        elif criterion.step not in before:
            message = f"criterion {criterion.id} asks {criterion.step}, which {step.id} does not wait for (needs)"
            yield placed.finding(location, message)
