"""Standing work: it waits its turn for so long and no longer, and keeps its beat whatever a round comes to."""

from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.contracts.progress import Progress
from orchestrator.foundation.errors import EngineUnavailable, HostUnreachable, RunInProgress
from orchestrator.model.replication import Round, RoundProgress
from orchestrator.operations.standing import WAIT_POLL_SECONDS, pace_of, repeat, when_free
from tests.fakes.clock import SetClock
from tests.fakes.replicated import Replicated


class BusyDesk:
    """Others are at the ledger until `free_after` seconds have passed."""

    def __init__(self, free_after: float) -> None:
        self.clock = SetClock()
        self.free_after = free_after
        self.open = 0

    @contextmanager
    def between_runs(self):
        if self.clock.monotonic_seconds() < self.free_after:
            raise RunInProgress("process 7 carries the runs already")
        self.open += 1
        try:
            yield "recorder"
        finally:
            self.open -= 1


def entered(desk: Any, wait_seconds: float, show: Any = lambda progress: None) -> str:
    with when_free(desk, wait_seconds, show) as recorder:
        assert desk.open == 1
        return str(recorder)


def test_a_desk_that_is_free_is_entered_at_once_and_left_again():
    desk = BusyDesk(0)
    assert entered(desk, 0.0) == "recorder"
    assert (desk.open, desk.clock.monotonic_seconds()) == (0, 0.0)


def test_a_busy_desk_is_waited_for_as_long_as_was_said():
    desk = BusyDesk(10)
    told: list[Progress] = []
    assert entered(desk, 60.0, told.append) == "recorder"
    assert [each.text for each in told] == ["waiting: process 7 carries the runs already"]
    assert 10 <= desk.clock.monotonic_seconds() < 10 + WAIT_POLL_SECONDS
    for wait_seconds in (0.0, 5.0):
        desk = BusyDesk(1000)
        with pytest.raises(RunInProgress, match="process 7"):
            entered(desk, wait_seconds)
        assert desk.clock.monotonic_seconds() <= wait_seconds + WAIT_POLL_SECONDS


def test_what_fails_inside_is_not_taken_for_a_busy_desk():
    desk: Any = BusyDesk(0)
    with pytest.raises(RunInProgress, match="by a run"), when_free(desk, 60.0):
        raise RunInProgress("filing is held by a run")
    assert desk.open == 0
    assert desk.clock.monotonic_seconds() == 0.0


def test_rounds_keep_their_beat_and_leave_out_what_was_overrun():
    desk: Any = BusyDesk(0)
    begun, trouble = [], []
    lasting = iter([10, 130, 10, 10])

    def deed():
        begun.append(desk.clock.monotonic_seconds())
        desk.clock.pass_time(timedelta(seconds=next(lasting)))
        if len(begun) == 3:
            raise HostUnreachable("dr-a: no route")
        if len(begun) == 4:
            raise EngineUnavailable("the store is gone")

    with pytest.raises(EngineUnavailable):
        repeat(desk, 60.0, deed, lambda error: trouble.append(error.message))
    assert begun == [0, 60, 240, 300]  # the second lasted over two beats
    assert trouble == ["dr-a: no route"]


def test_the_pace_of_a_round_is_told_while_it_goes_on(tmp_path):
    ground = Replicated(tmp_path)
    desk: Any = type("Desk", (), {"replication": ground.store.replication, "clock": ground.world.clock})
    at = "2026-11-21T22:00:00.000Z"
    round_ = Round(id="r1", system="filing", by="ops", started_at=at)
    ground.store.replication.put_round(round_)
    assert pace_of(desk, "filing", fresh_seconds=15) is None
    said = RoundProgress(
        system="filing", round="r1", at=at, dataset="scans", bytes_done=100, bytes_total=400, bytes_per_second=50.0
    )
    ground.store.replication.put_progress(said)
    found = pace_of(desk, "filing", fresh_seconds=15)
    assert (found.dataset, found.seconds_left) == ("scans", 6.0)
    ground.store.replication.put_progress(said.model_copy(update={"bytes_total": 0}))
    assert pace_of(desk, "filing", fresh_seconds=15).seconds_left is None
    ground.pass_time(16)  # it has said nothing since
    assert pace_of(desk, "filing", fresh_seconds=15) is None
    ground.store.replication.put_round(round_.model_copy(update={"result": "passed"}))
    ground.store.replication.put_progress(said.model_copy(update={"at": "2026-11-21T22:00:16.000Z"}))
    assert pace_of(desk, "filing", fresh_seconds=15) is None
    ground.store.close()
