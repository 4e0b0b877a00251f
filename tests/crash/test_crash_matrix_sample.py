"""Every third cell of the crash matrix in every test run; `make crash-matrix` tries all of it and prints the table."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from tests.crash.crash_matrix import TROUBLES, WAYS, sample, shipped_runbooks, try_case

# No divisor of the number of troubles and ways: none is left out because of its place in the list.
EVERY_NTH = 3
CELLS = list(sample(EVERY_NTH))


def test_a_sample_of_the_cells():
    fresh = multiprocessing.get_context("spawn")  # no process of ours is copied with its threads
    with ProcessPoolExecutor(max_workers=os.cpu_count() or 1, mp_context=fresh) as pool:
        found = dict(zip(CELLS, pool.map(try_case, CELLS, chunksize=16), strict=True))
    problems = [f"{case}: {problem}" for case, problem in found.items() if problem]
    assert not problems, "\n".join(problems)


def test_the_sample_meets_every_trouble_in_both_ways_and_directions_of_every_runbook():
    for runbook in shipped_runbooks():
        chosen = [case for case in CELLS if case.runbook == runbook]
        assert {(case.trouble, case.way) for case in chosen if case.mode == "do"} == {
            (trouble, way) for trouble in TROUBLES for way in WAYS
        }
    assert {case.mode for case in CELLS} == {"do", "undo"}
