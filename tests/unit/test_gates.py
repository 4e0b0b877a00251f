"""Gates: what is not observed, or cannot be compared, closes them."""

import pytest

from orchestrator.model.step import Criterion, Gate
from orchestrator.planning.gates import judge_gate

EARLIER = {"verify": {"equal": True, "bytes": 10, "deep": {"side": "cloud"}, "none": None, "names": [], "text": ""}}


def judged(observed, comparison="equal", expected=None, step="verify"):
    criterion = Criterion(id="c", step=step, observed=observed, comparison=comparison, expected=expected)
    return judge_gate(Gate(id="G5", criteria=(criterion,)), EARLIER)


@pytest.mark.parametrize(
    ("observed", "comparison", "expected", "passes"),
    [
        ("equal", "equal", True, True),
        ("equal", "equal", False, False),
        ("equal", "equal", 1, False),  # a claim is no count
        ("bytes", "equal", 10, True),
        ("bytes", "equal", True, False),
        ("bytes", "at_least", 10, True),
        ("bytes", "at_least", 11, False),
        ("bytes", "at_most", 10, True),
        ("bytes", "at_most", 9.5, False),
        ("equal", "at_least", 0, False),  # a claim has no size
        ("text", "at_least", 0, False),
        ("bytes", "at_least", None, False),
        ("deep.side", "equal", "cloud", True),
        ("deep.side", "not_empty", None, True),
        ("deep", "not_empty", None, True),
        ("names", "not_empty", None, False),
        ("text", "not_empty", None, False),
        ("none", "not_empty", None, False),
        ("none", "equal", None, True),
        ("bytes", "not_empty", None, True),
        ("deep.missing", "equal", None, False),
        ("bytes.deeper", "equal", 10, False),
        ("missing", "equal", None, False),
        ("missing", "at_most", 5, False),
    ],
)
def test_a_criterion(observed, comparison, expected, passes):
    assert judged(observed, comparison, expected).passed is passes


def test_an_empty_gate_is_closed():
    verdict = judge_gate(Gate(id="G6"), EARLIER)
    assert not verdict.passed
    assert "nothing was judged" in verdict.message


def test_a_step_that_never_ran_closes_the_gate_and_is_named():
    verdict = judged("equal", "equal", True, step="compare")
    assert not verdict.passed
    assert verdict.criteria[0].missing
    assert verdict.message == "gate G5 is closed: c: compare.equal was not observed"


def test_every_criterion_is_judged_with_what_was_seen():
    gate = Gate(
        id="G5",
        criteria=(
            Criterion(id="same", step="verify", observed="equal", expected=True),
            Criterion(id="size", step="verify", observed="bytes", comparison="at_most", expected=5),
        ),
    )
    verdict = judge_gate(gate, EARLIER)
    assert [(found.id, found.observed, found.passed) for found in verdict.criteria] == [
        ("same", True, True),
        ("size", 10, False),
    ]
    assert verdict.message == "gate G5 is closed: size: verify.bytes is 10, expected at most 5"
