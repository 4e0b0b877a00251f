"""A worker process over a durable site, for tests that kill it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.engine.store import open_store
from orchestrator.engine.worker import open_worker
from orchestrator.evidence.recorder import open_recorder
from orchestrator.foundation.clock import SystemClock
from orchestrator.planning.gates import judge_gate
from tests.fakes.handlers import Faults, SimulatedHandlers
from tests.fakes.plans import a_plan, shipped_steps
from tests.fakes.simulated_site import SimulatedSite

DEED_SECONDS = 0.004


def carry(folder: Path, run: str, systems: Sequence[str]) -> int:
    """Submit the run of `systems`, if any and not there yet; carry it to its end, and print how each system ended.

    What fails is read from faults.json in `folder`; every deed takes a few milliseconds, so that kills fall into all
    of it.
    """
    url = f"sqlite:///{folder}/state.db"
    store = open_store(url)
    if systems:
        store.runs.submit(run, a_plan(shipped_steps(), systems=systems), kind="migrate", operator="ana")
    faults = Faults()
    faults.boundary = lambda _name, _when: time.sleep(DEED_SECONDS)
    given = folder / "faults.json"
    failing = json.loads(given.read_text()) if given.exists() else {}
    handlers = FailingSystems(SimulatedSite(folder / "site.json"), faults, failing)
    recorder = open_recorder(folder / "ledger", origin="skerry.test/crash", source="test", clock=SystemClock())
    worker = open_worker(url, f"sqlite:///{folder}/engine.db", handlers, recorder, judge_gate=judge_gate)
    worker.start()
    status = worker.await_finished(run, timeout_seconds=60)
    worker.stop()
    recorder.close()
    print(json.dumps({found.system: found.state for found in status.systems}))
    return 0


class FailingSystems(SimulatedHandlers):
    """Some systems' steps always fail: `{system: step}`."""

    def __init__(self, site: SimulatedSite, faults: Faults, failing: dict[str, str]) -> None:
        super().__init__(site, faults)
        self._failing = failing

    def __call__(self, verb):
        inner = super().__call__(verb)
        return _Failing(inner, self._failing)


class _Failing:
    def __init__(self, inner, failing):
        self._inner, self._failing = inner, failing

    def probe(self, deed):
        return self._inner.probe(deed)

    def act(self, deed, progress, emit):
        from orchestrator.model.outcome import Outcome

        if deed.mode == "do" and self._failing.get(deed.system_plan.system.name) == deed.step.id:
            return Outcome.failed("told to fail")
        return self._inner.act(deed, progress, emit)
