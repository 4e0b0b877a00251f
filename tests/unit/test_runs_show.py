"""`skerry runs show` says of a step under way since when, what it does, and what became of the attempt before."""

import threading
import time

import pytest

from orchestrator.cli.app import main
from orchestrator.contracts.progress import Progress
from orchestrator.engine.doing import Doing
from orchestrator.engine.store import open_store
from orchestrator.engine.worker import open_worker
from orchestrator.engine.worker_store import WorkerStore
from orchestrator.foundation.clock import SystemClock
from orchestrator.model.action import Preflight
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.planning.gates import judge_gate
from tests.fakes.plans import a_plan, a_step
from tests.fakes.recorder import FakeRecorder


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path))
    store = open_store(f"sqlite:///{tmp_path / 'state.db'}")
    plan = a_plan((a_step("bring", Preflight()),), systems=("filing",), wave="first")
    store.runs.submit("run-1", plan, kind="migrate", operator="ana")
    yield store
    store.close()


class Patient:
    """A handler that says what it does, and goes on when it may."""

    def __init__(self):
        self.may_end = threading.Event()

    def probe(self, deed):
        return Probe.ABSENT

    def act(self, deed, progress, emit):
        progress(Progress(text="dr-1 follows onprem-1"))
        assert self.may_end.wait(30)
        return Outcome.done("it does")


def test_how_a_run_goes_on_that_stands_at_what_failed_is_a_line_of_its_own(store, capsys):
    rows = WorkerStore(store.database, SystemClock())
    fail(rows)
    rows.set_system_state("run-1", "filing", "failed", "bring: the line is cut", holds=True)
    assert main(["runs", "show", "run-1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert any(line.startswith("To have it done again: skerry runs ask retry run-1") for line in told)
    assert not any("nobody carries it now" in line for line in told)


def fail(rows: WorkerStore) -> None:
    rows.begin_step("run-1", "filing", "bring", "do", attempt=1, worker="w")
    failed = Outcome.failed("the line is cut", hint="Look at the router.", retryable=True)
    rows.finish_step("run-1", "filing", "bring", "do", starts=1, state="failed", outcome=failed, seconds=1.0)


def test_what_can_be_done_about_a_step_that_failed_stands_below(store, capsys):
    fail(WorkerStore(store.database, SystemClock()))
    assert main(["runs", "show", "run-1"]) == 0
    assert "bring: Look at the router." in capsys.readouterr().out


def test_a_step_under_way_tells_what_it_does_and_how_the_attempt_before_failed(store, capsys):
    rows = WorkerStore(store.database, SystemClock())
    fail(rows)
    rows.begin_step("run-1", "filing", "bring", "do", attempt=2, worker="w")
    assert main(["runs", "show", "run-1"]) == 0
    assert "under way; attempt 1: the line is cut" in capsys.readouterr().out

    doing = Doing(store.database)
    doing.progress("run-1", "filing", "bring", Progress(text="it follows", bytes_done=1024, bytes_total=4096))
    doing.write_news()
    assert main(["runs", "show", "run-1"]) == 0
    told = capsys.readouterr().out
    assert "it follows  1.0 KiB of 4.0 KiB (25%); attempt 1: the line is cut" in told
    assert "Look at the router" not in told

    rows.begin_step("run-1", "filing", "bring", "do", attempt=3, worker="w")
    assert main(["runs", "show", "run-1"]) == 0
    assert "it follows" not in capsys.readouterr().out


def test_other_processes_see_what_a_worker_is_at(store, tmp_path, capsys):
    handler, urls = Patient(), (store.database.url, f"sqlite:///{tmp_path}/engine.db")
    worker = open_worker(*urls, lambda _: handler, FakeRecorder(), judge_gate=judge_gate)
    worker.start()
    try:
        told, until = "", time.monotonic() + 30
        while "dr-1 follows onprem-1" not in told and time.monotonic() < until:
            time.sleep(0.2)
            assert main(["runs", "show", "run-1"]) == 0
            told = capsys.readouterr().out
        assert "dr-1 follows onprem-1" in told
        handler.may_end.set()
        assert worker.await_finished("run-1", timeout_seconds=30).systems[0].state == "committed"
    finally:
        worker.stop()
    assert main(["runs", "show", "run-1"]) == 0
    told = capsys.readouterr().out
    assert ("dr-1 follows" in told, "it does" in told) == (False, True)
