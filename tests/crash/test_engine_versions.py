"""A run in flight goes on as it was planned, whatever becomes of the program and the runbooks meanwhile."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from orchestrator.engine.store import open_store
from orchestrator.engine.worker import open_worker
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.foundation.clock import SystemClock
from orchestrator.model.action import Approval
from orchestrator.planning.gates import judge_gate
from tests.fakes.handlers import SimulatedHandlers
from tests.fakes.plans import a_plan, a_step, shipped_steps
from tests.fakes.simulated_site import SimulatedSite

ROOT = Path(__file__).resolve().parents[2]


def a_later_skerry(folder):
    """Another checkout: a version later, and with a runbook of which only the first step is left."""
    for part in ("orchestrator", "tests/fakes", "tests/crash", "runbooks", "playbooks"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    program = folder / "orchestrator" / "__init__.py"
    written = program.read_text()
    later = re.sub(r'__version__ = "[^"]*"', '__version__ = "99.0.0"', written)
    assert later != written
    program.write_text(later)
    runbook = folder / "runbooks" / "migrate.yml"
    head, _, steps = runbook.read_text().partition("steps:\n")
    first = steps.split("\n  - id: ")[0]
    runbook.write_text(f"{head.replace('version:', 'version: # ')}steps:\n{first}\n")
    return folder


def test_another_version_and_an_edited_runbook_do_not_disturb_a_run_that_waits(tmp_path):
    home = tmp_path / "home"
    site = SimulatedSite(home / "site.json")
    steps = [*shipped_steps(), a_step("ask", Approval(), needs=("preflight",), timeout=86400)]
    asked = [step.model_copy(update={"needs": (*step.needs, "ask")}) if step.id == "drain" else step for step in steps]
    plan = a_plan(asked)
    url = f"sqlite:///{home}/state.db"
    store = open_store(url)
    recorder = open_recorder(home / "ledger", origin="skerry.test/crash", source="test", clock=SystemClock())
    worker = open_worker(url, f"sqlite:///{home}/engine.db", SimulatedHandlers(site), recorder, judge_gate=judge_gate)
    worker.start()
    store.runs.submit("run-1", plan, kind="migrate", operator="ana")
    for _ in range(600):
        worker.await_finished("run-1", timeout_seconds=0.05)
        done = {step.step: step.state for step in store.runs.status("run-1").systems[0].steps}
        if done.get("ask") == "waiting" and "started" not in done.values():
            break
    worker.stop()
    recorder.close()
    store.runs.request("run-1", "filing", "confirm", by="ana", reason="go")

    later = a_later_skerry(tmp_path / "later")
    words = "from pathlib import Path; from tests.crash.engine_process import carry; "
    words += f"raise SystemExit(carry(Path({str(home)!r}), 'run-1', ()))"
    ended = subprocess.run([sys.executable, "-c", words], cwd=later, capture_output=True, text=True, check=False)
    assert (ended.returncode, json.loads(ended.stdout or "{}")) == (0, {"filing": "committed"}), ended.stderr
    told = [sys.executable, "-c", "import orchestrator; print(orchestrator.__version__, orchestrator.__file__)"]
    version = subprocess.run(told, cwd=later, capture_output=True, text=True, check=True).stdout.split()
    assert version == ["99.0.0", str(later / "orchestrator" / "__init__.py")]
    status = store.runs.status("run-1")
    store.close()
    assert {step.step for step in status.systems[0].steps} == {step.id for step in plan.systems[0].steps}
    assert status.plan == plan.digest
    ended_site = SimulatedSite(home / "site.json")
    assert ended_site.violations() == []
    assert len(ended_site.deeds("filing")) == len(set(ended_site.deeds("filing")))
    assert verify_log(home / "ledger", vkeys=own_keys(home / "ledger")).verified
