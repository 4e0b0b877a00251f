"""Every cell of the crash matrix on the simulated site; `make crash-matrix` prints the same as a table."""

import os
from functools import partial

import pytest

from tests.crash.crash_matrix import ON_POSTGRESQL, TROUBLES, WAYS, cases, shipped_runbooks, try_case
from tests.crash.crash_walks import try_walking
from tests.fakes.postgres_server import running_postgres

CELLS = [case for runbook in shipped_runbooks() for case in cases(runbook)]
ON_A_SERVER = [
    case for runbook in shipped_runbooks() for case in cases(runbook, postgresql=True) if case.on_postgresql
]
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


def test_the_cells_are_every_trouble_in_both_ways_and_directions_of_every_runbook():
    for runbook in shipped_runbooks():
        chosen = [case for case in CELLS if case.runbook == runbook]
        assert {(case.trouble, case.way) for case in chosen if case.mode == "do"} == {
            (trouble, way) for trouble in TROUBLES for way in WAYS
        }
    assert {case.mode for case in CELLS} == {"do", "undo"}
    assert {(case.runbook, case.trouble, case.way) for case in ON_A_SERVER} == {
        (runbook, kill, way) for runbook in shipped_runbooks() for kill in ON_POSTGRESQL for way in WAYS
    }


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
