"""A system is taken over from a wave's run: that member is waited for, and no other."""

import threading
import time

from orchestrator.contracts.engine import RunStatus
from orchestrator.engine.store import open_store
from orchestrator.engine.worker_lock import worker_lock
from orchestrator.engine.worker_store import WorkerStore
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.places import state_database
from orchestrator.operations.lost_sides import leave
from orchestrator.operations.migrate import new_run_id
from orchestrator.operations.wave import run_wave
from tests.fakes.wave_desk import approved_plan, wave_desk_fixtures, waves_of

__all__ = ["desk", "estate", "keys"]  # fixtures
keys, estate, desk = wave_desk_fixtures(2)
ASKED_TWICE = 2
TWO = "waves:\n  order:\n    - {wave: pilot, systems: [s0, s1]}\n"


def state_of(status: RunStatus, system: str) -> str:
    return next(each.state for each in status.systems if each.system == system)


def test_a_member_is_left_while_another_one_is_at_work_for_hours(desk, keys):
    waves = waves_of(TWO, desk.inventory)
    approved_plan(desk, waves, "pilot", keys)
    (run,) = run_wave(desk, waves, "pilot", operator="ben").runs
    rows = WorkerStore(open_store(f"sqlite:///{state_database()}", clock=SystemClock()).database, SystemClock())
    heard, told = threading.Event(), []

    def hear(what: str) -> None:
        told.append(what)
        heard.set()

    lock = worker_lock(f"sqlite:///{state_database()}")
    lock.take()  # another process carries the run
    asks = threading.Thread(
        target=lambda: leave(desk, run, "s0", operator="ben", because="the cloud is lost", on_run=hear)
    )
    try:
        rows.set_system_state(run, "s1", "running", "", holds=True)
        asks.start()
        assert heard.wait(30)
        asks.join(1)
        assert asks.is_alive(), "nobody has obeyed yet"
        rows.set_system_state(run, "s0", "cancelled", "left as it stood", holds=False)
        asks.join(30)
        assert not asks.is_alive()
    finally:
        lock.release()
    assert state_of(desk.runs.status(run), "s1") == "running"
    assert "asked and waiting: process" in told[0]


def test_a_member_that_nobody_carries_is_left_here_and_the_other_one_stands(desk, keys):
    waves = waves_of(TWO, desk.inventory)
    approved_plan(desk, waves, "pilot", keys)
    (run,) = run_wave(desk, waves, "pilot", operator="ben").runs
    leave(desk, run, "s0", operator="ben", because="the cloud is lost", on_run=lambda _: None)
    status = desk.runs.status(run)
    assert (state_of(status, "s0"), state_of(status, "s1")) == ("cancelled", "paused")
    assert desk.site.violations() == []


def test_what_is_under_way_comes_to_rest_first_and_is_left_then(desk, keys):
    """Whoever asks while a step is under way is refused; the run goes on with what it was at, and is asked again."""
    waves = waves_of(TWO, desk.inventory)
    plan = approved_plan(desk, waves, "pilot", keys)
    run = new_run_id()
    begun, told = threading.Event(), []

    def slow(deed: str, when: str) -> None:
        if (deed, when) == ("seed_cloud", "before"):
            begun.set()
            time.sleep(1.0)

    desk.faults.boundary = slow
    desk.runs.submit(run, plan, kind="migrate", operator="ben", pause_before=["drain"])
    with desk.worker() as worker:
        worker.start()
        try:
            assert begun.wait(30)
            leave(desk, run, "s0", operator="ben", because="the cloud is lost", on_run=told.append)
        finally:
            worker.stop()
    (left,) = [each for each in desk.runs.status(run).systems if each.system == "s0"]
    assert (left.state, left.reason) == ("cancelled", "left as it stood, for ben: the cloud is lost")
    assert all(step.state != "started" for step in left.steps)
    assert len(told) == ASKED_TWICE
    assert desk.site.violations() == []
