"""The way back of a run that waits is kept open by the run itself, and never beside a deed of it."""

import threading
import time

import pytest

from orchestrator.engine.store import open_store
from orchestrator.engine.worker import WorkerSettings, open_worker
from orchestrator.foundation.errors import HostUnreachable, LedgerFull
from orchestrator.planning.gates import judge_gate
from tests.fakes.handlers import SimulatedHandlers
from tests.fakes.plans import a_plan, shipped_steps
from tests.fakes.recorder import FakeRecorder
from tests.fakes.simulated_site import SimulatedSite

SECONDS_MAX = 30.0
RUN = "run-1"


class Waiting:
    """A move by the shipped runbook over the simulated site, and its rounds; `on_round` is what happens in each."""

    def __init__(self, folder):
        self.folder = folder
        self.url = f"sqlite:///{folder}/state.db"
        self.store = open_store(self.url)
        self.site = SimulatedSite()
        self.recorder = FakeRecorder()
        self.rounds = []
        self.on_round = lambda: None
        self.workers = []

    def keep(self, deed):
        self.rounds.append(deed)
        self.on_round()

    def go(self, pause_before="commit", **inputs):
        plan = a_plan(shipped_steps("migrate", inputs=inputs), systems=("filing",))
        self.store.runs.submit(RUN, plan, kind="migrate", operator="ana", pause_before=[pause_before])
        self.work()
        self.await_state("paused")

    def work(self):
        worker = open_worker(
            self.url, f"sqlite:///{self.folder}/engine.db", SimulatedHandlers(self.site), self.recorder,
            judge_gate=judge_gate, keep_open=self.keep,
            settings=WorkerSettings(poll_seconds=0.02, way_back_every_seconds=0.03),
        )  # fmt: skip
        self.workers.append(worker)
        worker.start()
        return worker

    def ask(self, operation, step=""):
        self.store.runs.request(RUN, "filing", operation, by="ana", reason="so", step=step)

    @property
    def system(self):
        return self.store.runs.status(RUN).systems[0]

    def await_state(self, state):
        self.until(lambda: self.system.state == state and not self.store.runs.status(RUN).requests_open)

    def until(self, come):
        deadline = time.monotonic() + SECONDS_MAX
        while not come():
            assert time.monotonic() < deadline, self.store.runs.status(RUN)
            time.sleep(0.01)

    def close(self):
        for worker in self.workers:
            worker.stop()
        self.store.close()


@pytest.fixture
def waiting(tmp_path):
    made = Waiting(tmp_path)
    yield made
    made.close()


def test_rounds_go_on_while_the_run_waits_for_its_commit_and_end_with_it(waiting):
    waiting.go()
    waiting.until(lambda: len(waiting.rounds) >= 3)
    assert {(deed.run, deed.step.id, deed.mode) for deed in waiting.rounds} == {(RUN, "follow_back", "do")}
    tickets = [deed.ticket for deed in waiting.rounds]
    assert tickets == sorted(set(tickets))
    assert tickets[0] > 0
    waiting.ask("resume")
    waiting.await_state("committed")
    known = len(waiting.rounds)
    time.sleep(0.15)
    assert len(waiting.rounds) == known
    assert waiting.site.violations() == []


def test_nothing_is_brought_back_before_clients_were_sent_there(waiting):
    waiting.go(pause_before="drain")
    time.sleep(0.2)
    assert waiting.rounds == []
    waiting.ask("rollback")
    waiting.await_state("rolled_back")
    assert waiting.rounds == []


@pytest.mark.parametrize(("operation", "end"), [("rollback", "rolled_back"), ("resume", "committed")])
def test_what_is_asked_within_a_round_comes_after_it(waiting, operation, end):
    begun, may_end = threading.Event(), threading.Event()

    def last():
        begun.set()
        assert may_end.wait(SECONDS_MAX)

    waiting.on_round = last
    waiting.go()
    assert begun.wait(SECONDS_MAX)
    before = waiting.system.steps
    waiting.ask(operation)
    time.sleep(0.3)
    assert waiting.system.steps == before, "a deed began beside a round"
    may_end.set()
    waiting.await_state(end)
    assert len(waiting.rounds) == 1
    assert waiting.site.violations() == []


def test_a_commit_that_does_not_come_takes_all_back_after_the_round_under_way(waiting):
    waiting.on_round = lambda: time.sleep(1.2)
    waiting.go(**{"watch": "0s", "commit-within": "1s"})
    waiting.await_state("rolled_back")
    assert "not passed within 1 s after switch_front" in waiting.system.reason
    assert waiting.site.violations() == []


@pytest.mark.parametrize(
    ("error", "why"), [(HostUnreachable("no route"), "no route"), (ValueError(7), "it broke: ValueError(7)")]
)
def test_a_round_that_fails_is_told_and_the_next_one_comes(waiting, error, why):
    def fail():
        raise error

    waiting.on_round = fail
    waiting.go()
    waiting.until(lambda: len(waiting.rounds) >= 3)
    told = [event.data["why"] for event in waiting.recorder.recorded if event.type == "replication.behind"]
    assert len(told) >= 2
    assert set(told) == {why}
    waiting.ask("rollback")
    waiting.await_state("rolled_back")


def test_a_worker_that_halts_in_a_round_leaves_it_to_the_next_one(waiting):
    def fail():
        raise LedgerFull("no room")

    waiting.on_round = fail
    waiting.go()
    worker = waiting.workers[-1]
    with pytest.raises(LedgerFull):
        worker.await_finished(RUN, timeout_seconds=SECONDS_MAX)
    worker.stop()
    waiting.on_round = lambda: None
    known = len(waiting.rounds)
    waiting.ask("rollback")  # comes before any other round
    waiting.work()
    waiting.await_state("rolled_back")
    assert len(waiting.rounds) == known


