"""A fixed sample of the crash matrix in every test run; `make crash-matrix` tries all of it and prints the table."""

import pytest

from tests.crash.crash_matrix import TROUBLES, sample, shipped_runbooks, try_case

# A prime: no trouble and no way is left out because its place in the list divides it.
EVERY_NTH = 19
CELLS = list(sample(EVERY_NTH))


@pytest.mark.parametrize("runbook", shipped_runbooks())
def test_a_sample_of_the_cells(runbook):
    chosen = [case for case in CELLS if case.runbook == runbook]
    problems = [f"{case}: {problem}" for case in chosen if (problem := try_case(case))]
    assert chosen
    assert not problems, "\n".join(problems)


def test_the_sample_meets_every_trouble_and_both_directions():
    assert {case.trouble for case in CELLS} == set(TROUBLES)
    assert {case.mode for case in CELLS} == {"do", "undo"}
    assert {case.way for case in CELLS} == {"go on", "roll back"}
