"""Judges gates: pure, over what earlier steps observed. Nothing judged means closed."""

from collections.abc import Mapping
from typing import Any

from orchestrator.model.gate import CriterionVerdict, GateVerdict
from orchestrator.model.step import Criterion, Gate

_MISSING = object()


def judge_gate(gate: Gate, earlier: Mapping[str, Mapping[str, Any]]) -> GateVerdict:
    """The verdict over `gate`, given the `observed` of finished steps by step id.

    A value that is not there, or that cannot be compared with what is expected, closes the gate.
    """
    if not gate.criteria:
        message = f"gate {gate.id} names no criteria, so nothing was judged"
        return GateVerdict(gate=gate.id, passed=False, message=message)
    verdicts = tuple(_judge(criterion, earlier) for criterion in gate.criteria)
    failed = [_sentence(verdict) for verdict in verdicts if not verdict.passed]
    return GateVerdict(
        gate=gate.id,
        passed=not failed,
        criteria=verdicts,
        message=f"gate {gate.id} is closed: " + "; ".join(failed) if failed else "",
    )


def _judge(criterion: Criterion, earlier: Mapping[str, Mapping[str, Any]]) -> CriterionVerdict:
    value = _value_at(earlier.get(criterion.step, _MISSING), criterion.observed)
    missing = value is _MISSING
    return CriterionVerdict(
        id=criterion.id,
        step=criterion.step,
        observed_key=criterion.observed,
        comparison=criterion.comparison,
        expected=criterion.expected,
        observed=None if missing else _shown(value),
        missing=missing,
        passed=not missing and _holds(criterion, value),
    )


def _value_at(value: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _MISSING
        value = value[part]
    return value


def _holds(criterion: Criterion, value: Any) -> bool:
    expected = criterion.expected
    match criterion.comparison:
        case "not_empty":
            # A number or a boolean is never empty: 0 and False are values. Whoever wants them otherwise says equal.
            return value is not None and not (isinstance(value, str | list | tuple | dict) and len(value) == 0)
        case "equal":
            # True == 1 in Python; a gate must not take a count for a claim.
            return isinstance(value, bool) == isinstance(expected, bool) and bool(value == expected)
        case "at_least":
            return _numbers(value, expected) and value >= expected
        case "at_most":
            return _numbers(value, expected) and value <= expected


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _shown(value: Any) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, str | int | float | bool) else repr(value)[:200]


def _sentence(verdict: CriterionVerdict) -> str:
    asked = f"{verdict.step}.{verdict.observed_key}"
    if verdict.missing:
        return f"{verdict.id}: {asked} was not observed"
    wanted = "not empty" if verdict.comparison == "not_empty" else f"{verdict.comparison} {verdict.expected!r}"
    return f"{verdict.id}: {asked} is {verdict.observed!r}, expected {wanted.replace('_', ' ')}"
