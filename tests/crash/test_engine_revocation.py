"""An approval that is taken back under a run that goes on: the real engine obeys, stays stopped, and may go back."""

import threading
import time

import pytest

from orchestrator.engine.store import open_store
from orchestrator.engine.worker import open_worker
from orchestrator.evidence.preface import PrefacedRecorder
from orchestrator.foundation.errors import GateClosed
from orchestrator.model.action import Preflight
from orchestrator.operations.migrate import run_plan
from orchestrator.operations.revoke import pause_runs
from orchestrator.planning.gates import judge_gate
from tests.fakes.handlers import NoOpHandlers
from tests.fakes.plans import a_plan, a_step
from tests.fakes.recorder import FakeRecorder
from tests.fakes.run_papers import FewPapers, word

SECONDS_MAX = 30
PLAN = a_plan(
    (
        a_step("one", Preflight(), inverse=Preflight()),
        a_step("two", Preflight(), needs=("one",), inverse=Preflight()),
        a_step("three", Preflight(), needs=("two",), inverse=Preflight()),
    )
)


class Place:
    def __init__(self, folder):
        self.folder, self.url = folder, f"sqlite:///{folder}/state.db"
        self.store = open_store(self.url)
        self.kept = FakeRecorder()
        self.papers = FewPapers()
        self.papers.given = [word(PLAN.digest, "ana", "approve", 1)]

    def worker(self, handlers):
        recorder = PrefacedRecorder(self.kept, self.papers, lambda run: self.store.runs.status(run).plan)
        engine = f"sqlite:///{self.folder}/engine.db"
        return open_worker(self.url, engine, handlers, recorder, judge_gate=judge_gate)

    def told(self, kind):
        return [(event.step, event.data.get("mode")) for event in self.kept.recorded if event.type == kind]

    def go_on(self):
        return run_plan(
            PLAN,
            operator="dan",
            kind="migrate",
            runs=self.store.runs,
            worker=self.worker(NoOpHandlers()),
            allowed=lambda plan, operator: None,
            withdrawn=lambda plan: "ana revoked the approval",
        )


def test_what_is_under_way_ends_nothing_more_begins_and_the_way_back_stays_open(tmp_path):
    place = Place(tmp_path)
    reached, gate = threading.Event(), threading.Event()

    def hold(deed, _emit):
        if deed.step.id == "two":
            reached.set()
            gate.wait(SECONDS_MAX)

    place.store.runs.submit("run-1", PLAN, kind="migrate", operator="dan")
    worker = place.worker(NoOpHandlers(script=hold))
    worker.start()
    try:
        assert reached.wait(SECONDS_MAX)
        place.papers.given.append(word(PLAN.digest, "ana", "revoke", 2, comment="the window moved"))
        assert [status.run for status in pause_runs(PLAN, place.store.runs, by="ana", because="x")] == ["run-1"]
        deadline = time.monotonic() + SECONDS_MAX
        while place.store.runs.status("run-1").requests_open and time.monotonic() < deadline:
            time.sleep(0.02)
        gate.set()
        while place.store.runs.status("run-1").systems[0].state != "paused" and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        gate.set()
        worker.stop()
    kinds = [event.type for event in place.kept.recorded]
    assert kinds.count("approval.revoked") == 1
    assert kinds.index("approval.revoked") < kinds.index("request.accepted")
    assert place.told("step.started") == [("one", "do"), ("two", "do")]

    with pytest.raises(GateClosed, match="run run-1 does not go on: ana revoked the approval"):
        place.go_on()
    assert place.told("step.started") == [("one", "do"), ("two", "do")]

    place.store.runs.request("run-1", "", "rollback", by="dan", reason="nobody approves")
    assert place.go_on().systems[0].state == "rolled_back"
    assert place.told("step.started")[2:] == [("two", "undo"), ("one", "undo")]
    place.store.close()
