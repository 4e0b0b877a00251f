"""A sample of the crash matrix on the hosts of a lab; `make crash-matrix REAL=1` tries all of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.platform("hosts"),
    pytest.mark.platform("rsync"),
    pytest.mark.platform("postgresql"),
    pytest.mark.timeout(1800),
]
ROOT = Path(__file__).resolve().parents[2]
EVERY_NTH = 67  # some four cells


def test_a_sample_of_the_cells_of_a_cutover_on_hosts():
    words = [sys.executable, "-m", "tests.crash.matrix_table", "--real", "--sample", str(EVERY_NTH), "cutover"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    tried, failed, not_tried = ended.stdout.splitlines()[-1].split(", ")[:3]
    assert int(tried.split()[0]) >= 4
    assert (failed, not_tried) == ("0 failed", "0 not tried")
