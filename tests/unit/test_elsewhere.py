"""What is asked of a run that another process carries is obeyed by that one, and waited for; if it ends, here. And
what waits while nobody carries it is seen.
"""

import threading

import pytest

from orchestrator.engine.worker_lock import worker_lock
from orchestrator.foundation.places import state_database
from orchestrator.operations.elsewhere import here_or_elsewhere
from orchestrator.operations.wave import ask_wave, run_wave
from orchestrator.operations.wave_status import wave_status
from orchestrator.operations.way_back import something_waits_in_vain
from tests.fakes.wave_desk import approved_plan, wave_desk_fixtures, waves_of
from tests.unit.test_way_back_open import ONE_WAVE

__all__ = ["desk", "estate", "keys"]  # fixtures
keys, estate, desk = wave_desk_fixtures(1)


@pytest.fixture
def at_cloud(desk, keys):
    """A wave of one system that waits for its commit."""
    waves = waves_of(ONE_WAVE, desk.inventory)
    approved_plan(desk, waves, "pilot", keys)
    run_wave(desk, waves, "pilot", operator="ben")
    return waves


class Asked(threading.Thread):
    """A rollback that somebody asks for meanwhile; `told` is what they are told of the run."""

    def __init__(self, desk, waves):
        super().__init__()
        self.desk, self.waves, self.told, self.heard = desk, waves, [], threading.Event()

    def run(self):
        ask_wave(self.desk, self.waves, "pilot", "rollback", operator="ben", because="no", on_run=self.hear)

    def hear(self, run):
        self.told.append(run)
        self.heard.set()


def test_a_wave_that_another_process_carries_goes_back_there(desk, at_cloud):
    with desk.worker() as worker:
        worker.start()
        try:
            asked = Asked(desk, at_cloud)
            asked.start()
            asked.join(30)
        finally:
            worker.stop()
    assert wave_status(desk, at_cloud, "pilot").members[0].state == "rolled_back"
    (told,) = asked.told
    assert "asked and waiting: process" in told
    assert desk.site.violations() == []


def test_where_the_other_process_ends_first_the_wave_goes_back_here(desk, at_cloud):
    lock = worker_lock(f"sqlite:///{state_database()}")
    lock.take()
    asked = Asked(desk, at_cloud)
    asked.start()
    assert asked.heard.wait(30)
    assert wave_status(desk, at_cloud, "pilot").members[0].state == "paused"
    lock.release()
    asked.join(30)
    status = wave_status(desk, at_cloud, "pilot")
    assert (status.members[0].state, asked.told[1:]) == ("rolled_back", list(status.runs))
    assert desk.site.violations() == []


def test_what_waits_at_its_new_side_and_nobody_carries_is_seen_until_it_is_home(desk, at_cloud):
    assert something_waits_in_vain()
    lock = worker_lock(f"sqlite:///{state_database()}")
    lock.take()
    assert not something_waits_in_vain()
    lock.release()
    ask_wave(desk, at_cloud, "pilot", "rollback", operator="ben", because="no")
    assert not something_waits_in_vain()


def test_who_writes_to_the_ledger_at_that_moment_is_waited_for(desk, at_cloud):
    with desk.recorder():
        asked = Asked(desk, at_cloud)
        asked.start()
        assert asked.heard.wait(30)
    asked.join(30)
    status = wave_status(desk, at_cloud, "pilot")
    assert (status.members[0].state, asked.told[1:]) == ("rolled_back", list(status.runs))
    assert "is writing to this ledger" in asked.told[0]


def test_nothing_is_asked_before_a_caretaker_made_room(desk, at_cloud):
    """It would begin what is asked at once, and whoever asked would not see that step."""
    (run,) = wave_status(desk, at_cloud, "pilot").runs
    asked = []

    def carry(ask_now):
        before = list(asked)
        with desk.worker():  # a caretaker has made room
            ask_now()
        assert (before, asked) == ([], ["rollback"])

    here_or_elsewhere(run, desk.runs, ask=lambda: asked.append("rollback"), carry=carry, on_run=lambda _: None)
    assert asked == ["rollback"], "once"
