"""kill -9 at random moments: the same command goes on, and ends as if nothing had been."""

import json
import os
import random
import time
from pathlib import Path

import pytest

from orchestrator.engine.store import open_store
from tests.crash.engine_process import carry
from tests.fakes.plans import shipped_steps
from tests.fakes.ready_processes import ReadyProcess
from tests.fakes.simulated_site import SimulatedSite

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("SKERRY_KILLS", "8"))
LIFE_SECONDS_MAX = 1.0
COMMAND_SECONDS_MAX = 90


def worker(folder: Path) -> ReadyProcess:
    said = {"stdout": folder / "said", "stderr": folder / "complaints"}
    return ReadyProcess(carry, folder, "run-1", ("filing", "archive"), environment=os.environ, folder=ROOT, **said)


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
        time.sleep(chance.uniform(0.0, LIFE_SECONDS_MAX))
        process.kill()
        process.wait()
        before = ended_steps(tmp_path)
    code = worker(tmp_path).wait(COMMAND_SECONDS_MAX)

    assert code == 0, (tmp_path / "complaints").read_text()
    said = (tmp_path / "said").read_text().splitlines()
    assert json.loads(said[-1]) == {"filing": "committed", "archive": "rolled_back"}
    site = SimulatedSite(tmp_path / "site.json")
    assert site.violations() == []
    assert sorted(site.deeds("filing")) == sorted(step.id for step in shipped_steps())
    after = ended_steps(tmp_path)
    assert {key: after[key] for key in before} == before, "a step that was done was begun again"
    assert site.system("archive").state["authority"]["side"] == "source"
    assert site.system("archive").serves("source", through_front=True)
