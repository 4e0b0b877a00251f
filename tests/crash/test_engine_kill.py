"""kill -9 at random moments: the same command goes on, and ends as if nothing had been."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.engine.store import open_store
from tests.fakes.plans import shipped_steps
from tests.fakes.simulated_site import SimulatedSite

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("SKERRY_KILLS", "8"))
COMMAND_SECONDS_MAX = 90


def worker(folder: Path) -> subprocess.Popen:
    words = [sys.executable, "-m", "tests.crash.engine_process", str(folder), "run-1", "filing", "archive"]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended_steps(folder: Path) -> dict[tuple[str, str, str], tuple[str, str]]:
    """What the journal says is done, with when."""
    if not (folder / "state.db").exists():
        return {}
    store = open_store(f"sqlite:///{folder}/state.db")
    try:
        if not store.runs.list():
            return {}
        return {
            (found.system, step.step, step.mode): (step.started_at, step.finished_at)
            for found in store.runs.status("run-1").systems
            for step in found.steps
            if step.state == "done"
        }
    finally:
        store.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_survives_kills_at_random_moments(tmp_path, seed):
    chance = random.Random(seed)
    (tmp_path / "faults.json").write_text(json.dumps({"archive": "check_front"}))
    for _ in range(KILLS):
        process = worker(tmp_path)
        time.sleep(chance.uniform(0.4, 2.2))
        process.kill()
        process.communicate()
        before = ended_steps(tmp_path)
    process = worker(tmp_path)
    said, complaints = process.communicate(timeout=COMMAND_SECONDS_MAX)

    assert process.returncode == 0, complaints
    assert json.loads(said) == {"filing": "committed", "archive": "rolled_back"}
    site = SimulatedSite(tmp_path / "site.json")
    assert site.violations() == []
    assert sorted(site.deeds("filing")) == sorted(step.id for step in shipped_steps())
    after = ended_steps(tmp_path)
    assert {key: after[key] for key in before} == before, "a step that was done was begun again"
    assert site.system("archive").state["authority"]["side"] == "source"
    assert site.system("archive").serves("source", through_front=True)
