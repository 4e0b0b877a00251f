"""Every cell of the crash matrix, a row a test; see crash_matrix.py for what a cell demands."""

import itertools
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.crash.crash_matrix import cases, memory_folder, run_case
from tests.fakes.plans import RUNBOOKS

RUNBOOK_NAMES = sorted(path.stem for path in RUNBOOKS.glob("*.yml"))
ROWS = [
    (f"{runbook}:{name}", list(row))
    for runbook in RUNBOOK_NAMES
    for name, row in itertools.groupby(cases(runbook), key=lambda case: case.name)
]


@pytest.mark.parametrize("row", [row for _, row in ROWS], ids=[name for name, _ in ROWS])
def test_a_boundary(row):
    problems = []
    for case in row:
        folder = Path(tempfile.mkdtemp(prefix="skerry-matrix-", dir=memory_folder()))
        try:
            problem = run_case(case, folder)
        finally:
            shutil.rmtree(folder)
        if problem:
            problems.append(f"{case}: {problem}")
    assert not problems, "\n".join(problems)
