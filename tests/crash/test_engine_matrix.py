"""Every cell of the crash matrix with deeds side by side in threads, and every one of workers killed on PostgreSQL."""

import itertools

import pytest

from tests.crash.crash_matrix import try_case
from tests.crash.matrix_cells import all_cells, cases, shipped_runbooks
from tests.fakes.postgres_server import running_postgres

ROWS = [
    (f"{runbook}:{name}", list(row))
    for (runbook, name), row in itertools.groupby(
        (case for case in all_cells() if not case.on_postgresql), key=lambda case: (case.runbook, case.name)
    )
]


@pytest.mark.parametrize("row", [row for _, row in ROWS], ids=[name for name, _ in ROWS])
def test_a_boundary(row):
    problems = [f"{case}: {problem}" for case in row if (problem := try_case(case, side_by_side=True))]
    assert not problems, "\n".join(problems)


@pytest.mark.platform("postgresql")
@pytest.mark.parametrize("runbook", shipped_runbooks())
def test_workers_that_are_killed_on_postgresql(runbook):
    chosen = [case for case in cases(runbook) if case.on_postgresql]
    with running_postgres() as server:
        url = server.new_database()
        problems = [f"{case}: {problem}" for case in chosen if (problem := try_case(case, url))]
    assert not problems, "\n".join(problems)
