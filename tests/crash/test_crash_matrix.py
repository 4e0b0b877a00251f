"""Every cell of the crash matrix on the simulated site; `make crash-matrix` prints the same as a table."""

import os
from functools import partial

import pytest

from tests.crash.crash_matrix import try_case
from tests.crash.crash_walks import try_walking
from tests.crash.matrix_cells import all_cells
from tests.fakes.postgres_server import running_postgres

CELLS = [case for case in all_cells() if not case.on_postgresql]
ON_A_SERVER = [case for case in all_cells() if case.on_postgresql]
# No divisors of the number of troubles and ways: none is left out because of its place in the list.
EVERY_NTH_WITH_THREADS, EVERY_NTH_ON_POSTGRESQL = 43, 37


@pytest.mark.timeout(1800)
def test_every_cell():
    every_cell_passes(CELLS)


@pytest.mark.timeout(1800)
@pytest.mark.platform("postgresql")
def test_every_cell_of_a_worker_that_is_killed_on_postgresql():
    every_cell_passes(ON_A_SERVER)


def every_cell_passes(cells):
    found = dict(try_walking(cells, jobs=os.cpu_count() or 1))
    problems = [f"{case}: {problem}" for case, problem in found.items() if problem]
    assert not problems, "\n".join(problems)
    assert set(cells) <= set(found)


@pytest.mark.timeout(600)
def test_a_sample_of_the_cells_with_deeds_side_by_side():
    problems = [
        f"{case}: {problem}"
        for case in CELLS[::EVERY_NTH_WITH_THREADS]
        if (problem := try_case(case, side_by_side=True))
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.timeout(600)
@pytest.mark.platform("postgresql")
def test_a_sample_of_the_workers_that_are_on_postgresql_from_the_beginning():
    with running_postgres() as server:
        try_on_server = partial(try_case, url=server.new_database())
        chosen = ON_A_SERVER[::EVERY_NTH_ON_POSTGRESQL]
        problems = [f"{case}: {problem}" for case in chosen if (problem := try_on_server(case))]
    assert not problems, "\n".join(problems)
