"""A sample of the crash matrix on the hosts of a lab; `make crash-matrix REAL=1` tries all of it."""

import os
import subprocess
import sys

import pytest

from tests.crash.real_estate import ON_HOSTS, ROOT

pytestmark = [*ON_HOSTS, pytest.mark.timeout(3600)]
CELLS = ("cutover:promote: kill after the deed, go on",)


def test_a_sample_of_the_cells_on_hosts():
    words = [sys.executable, "-m", "tests.crash.matrix_table", "--real", *CELLS]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert ended.stdout.splitlines()[-1].startswith(f"on hosts: {len(CELLS)} cells, 0 failed, 0 not tried, ")
