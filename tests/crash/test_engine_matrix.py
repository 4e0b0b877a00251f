"""Every cell of the crash matrix, a row a test; see crash_matrix.py for what a cell demands."""

import itertools

import pytest

from tests.crash.crash_matrix import ON_POSTGRESQL, Case, cases, shipped_runbooks, try_case
from tests.fakes.postgres_server import running_postgres

ROWS = [
    (f"{runbook}:{name}", list(row))
    for runbook in shipped_runbooks()
    for name, row in itertools.groupby(cases(runbook), key=lambda case: case.name)
]


@pytest.mark.parametrize("row", [row for _, row in ROWS], ids=[name for name, _ in ROWS])
def test_a_boundary(row):
    problems = [f"{case}: {problem}" for case in row if (problem := try_case(case))]
    assert not problems, "\n".join(problems)


@pytest.mark.platform("postgresql")
@pytest.mark.parametrize("runbook", shipped_runbooks())
def test_workers_that_are_killed_on_postgresql(runbook):
    chosen: list[Case] = [case for case in cases(runbook, postgresql=True) if case.trouble == ON_POSTGRESQL][::3]
    with running_postgres() as server:
        problems = [f"{case}: {problem}" for case in chosen if (problem := try_case(case, server.new_database))]
    assert not problems, "\n".join(problems)
