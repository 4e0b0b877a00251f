"""What a person's word on an inverse means for deeds that were ordered before it and come late."""

import pytest

from orchestrator.engine.store import open_store
from orchestrator.engine.worker_store import WorkerStore
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import AuthorityError
from orchestrator.model.outcome import Outcome, Result
from orchestrator.model.site import Side

WAIVED = Outcome(result=Result.WAIVED, message="waived by ana")


@pytest.fixture
def store(tmp_path):
    opened = open_store(f"sqlite:///{tmp_path}/state.db")
    yield opened
    opened.close()


def begun(rows, step, mode="do"):
    return rows.begin_step("run-1", "filing", step, mode, attempt=1, worker="one").ticket


def test_a_move_that_was_ordered_before_its_inverse_was_waived_comes_too_late(store):
    rows = WorkerStore(store.database, SystemClock())
    late = begun(rows, "move_authority")
    begun(rows, "move_authority", "undo")
    assert rows.settle_step("run-1", "filing", "move_authority", "undo", attempt=1, outcome=WAIVED)
    with pytest.raises(AuthorityError, match="this move came too late"):
        store.authority.move("filing", expected_number=1, to=Side.CLOUD, key="late", ticket=late)
    assert (store.authority.read("filing").number, store.authority.read("filing").side) == (1, Side.SOURCE)


def test_what_is_ordered_after_that_word_moves_authority(store):
    rows = WorkerStore(store.database, SystemClock())
    begun(rows, "move_authority", "undo")
    rows.settle_step("run-1", "filing", "move_authority", "undo", attempt=1, outcome=WAIVED)
    moved = store.authority.move("filing", expected_number=1, to=Side.CLOUD, key="next", ticket=begun(rows, "next"))
    assert (moved.number, moved.side) == (2, Side.CLOUD)


def test_a_word_on_a_step_of_the_way_out_closes_nothing(store):
    rows = WorkerStore(store.database, SystemClock())
    ticket = begun(rows, "move_authority")
    rows.settle_step("run-1", "filing", "look_at_it", "do", attempt=0, outcome=Outcome.done("go"))
    assert store.authority.move("filing", expected_number=1, to=Side.CLOUD, key="out", ticket=ticket).number == 2
