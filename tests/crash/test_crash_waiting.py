"""The crash matrix at steps that no deed carries: they wait for a person's answer, or for time."""

import pytest

from tests.crash.crash_matrix import FULL_DISKS, KILLS, WAYS, Case, shipped_runbooks, steps_of, try_case
from tests.fakes.handlers import PERSON_STEPS

# What can meet them: nothing of them is on a host or at a site.
TROUBLES = (*(kill for kill in KILLS if not kill.endswith("the deed")), *FULL_DISKS)
WAITING = [
    (runbook, step.id)
    for runbook in shipped_runbooks()
    for step in steps_of(runbook)
    if step.action.verb in PERSON_STEPS
]


@pytest.mark.parametrize(("runbook", "step"), WAITING)
def test_a_step_that_waits_is_answered_and_on_record_whatever_dies(runbook, step):
    cells = [Case(runbook, step, "do", trouble, way) for trouble in TROUBLES for way in WAYS]
    problems = [f"{case}: {problem}" for case in cells if (problem := try_case(case))]
    assert not problems, "\n".join(problems)


def test_every_shipped_decision_and_wait_is_among_them():
    assert {runbook for runbook, _ in WAITING} >= {"drill", "drill-at-cloud", "seed"}
