"""A sample of the crash matrix on the hosts of a lab; `make crash-matrix REAL=1` tries all of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.real_estate import ON_HOSTS, ROOT

pytestmark = [*ON_HOSTS, pytest.mark.timeout(3600)]
CELLS = (
    "cutover:promote: kill after the deed, go on",
    "seed:recovery_point: ledger full, roll back",
    "drill-at-cloud:passed: kill before the journal, go on",
)


def crash_matrix(*words: str) -> str:
    command = [sys.executable, "-m", "tests.crash.matrix_table", "--real", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert ended.stdout.splitlines()[-1].startswith(f"on hosts: {len(CELLS)} cells, 0 failed, 0 not tried, ")
    return ended.stdout


def test_a_sample_of_the_cells_on_hosts_which_are_not_tried_again_once_they_passed(tmp_path: Path) -> None:
    kept, document = tmp_path / "kept.jsonl", tmp_path / "crash_matrix.md"
    first = crash_matrix("--kept", str(kept), *CELLS)
    assert f"s  {CELLS[0]}: ok" in first
    again = crash_matrix("--kept", str(kept), "--document", str(document), *CELLS)
    assert f"{len(CELLS)} of {len(CELLS)} cells passed before" in again
    assert f"s  {CELLS[0]}: ok" not in again
    assert f"{len(CELLS)} of " in document.read_text()
