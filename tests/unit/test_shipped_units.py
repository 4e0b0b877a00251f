"""The units that are shipped: systemd reads them without a word, and what they start are commands of ours."""

import subprocess
from pathlib import Path

import pytest

from orchestrator.cli.app import main

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
SERVICES, TIMERS = sorted(PACKAGING.glob("*.service")), sorted(PACKAGING.glob("*.timer"))
INSTALLED = "/opt/skerry/.venv/bin/skerry"


@pytest.mark.platform("systemd")
def test_systemd_finds_nothing_wrong(tmp_path):
    for unit in (*SERVICES, *TIMERS):
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, "/bin/true"))
    words = ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.stem)
def test_what_a_unit_starts_is_a_command_with_options_that_there_are(unit, capsys):
    [line] = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    program, *words = line.removeprefix("ExecStart=").split()
    assert program == INSTALLED
    assert main([*words, "--help"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("timer", TIMERS, ids=lambda path: path.stem)
def test_a_timer_has_a_service_to_start(timer):
    assert timer.with_suffix(".service") in SERVICES
