"""The model of the protocol (docs/protocol), searched whole within small bounds; `make protocol` has larger ones."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / "scripts" / "check_protocol"

pytestmark = pytest.mark.platform("spin")


def check(*words):
    done = subprocess.run([sys.executable, str(CHECK), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_order_of_steps_breaks_a_rule():
    assert "all as it should be" in check("--small")


@pytest.mark.parametrize("guard", ["WITHOUT_TICKET_OF_MOVE", "VERIFY_BEFORE_FENCE"])
def test_without_a_guard_an_order_of_steps_is_found_that_does(guard):
    assert "counterexample found" in check("--mutants", guard)


def test_every_function_that_the_mapping_names_is_there():
    """README.md says where each step of the model stands in the code."""
    text = (ROOT / "docs" / "protocol" / "README.md").read_text()
    table = text.split("## Where each step")[1].split("## What the model found")[0]
    files = [path for folder in ("orchestrator", "playbooks") for path in (ROOT / folder).rglob("*.py")]
    code = "\n".join(path.read_text() for path in files)
    for line in table.splitlines():
        cells = line.split("|")
        if len(cells) < 4 or cells[2].strip() in ("Code", "---"):
            continue
        for name in cells[2].split("`")[1::2]:
            assert name.split(".")[-1].split()[0] in code, name
