"""Clocks that jump, back or ahead, make nobody dead, nobody alive, and no order newer than it is."""

from datetime import timedelta

import pytest

from orchestrator.engine.authority_store import DatabaseAuthority
from orchestrator.engine.database import Database
from orchestrator.engine.worker_store import WorkerStore
from orchestrator.engine.workers_store import WorkersStore
from orchestrator.foundation.errors import AuthorityError
from orchestrator.model.site import Side
from tests.fakes.clock import SetClock

JUMPS = [timedelta(days=400), timedelta(days=-400)]


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/state.db")
    yield database
    database.close()


@pytest.mark.parametrize("jump", JUMPS, ids=["ahead", "back"])
def test_a_worker_lives_by_the_database_s_time_and_not_by_its_own(database, jump):
    clock = SetClock()
    workers = WorkersStore(database, clock)
    workers.register("one", host="h", pid=1)
    clock.pass_time(jump)
    assert workers.live(dead_seconds=60) == {"one"}
    workers.bury(dead_seconds=60)
    assert workers.beat("one")


@pytest.mark.parametrize("jump", JUMPS, ids=["ahead", "back"])
def test_tickets_and_numbers_grow_whatever_the_clock_says(database, jump):
    clock = SetClock()
    rows, authority = WorkerStore(database, clock), DatabaseAuthority(database, clock)
    first = rows.begin_step("run-1", "filing", "fence", "do", attempt=1, worker="one")
    clock.pass_time(jump)
    again = rows.begin_step("run-1", "filing", "fence", "do", attempt=2, worker="two")
    later = rows.begin_step("run-2", "filing", "fence", "do", attempt=1, worker="two")
    assert first.ticket < again.ticket < later.ticket
    assert rows.begin_step("run-1", "archive", "fence", "do", attempt=1, worker="two").ticket == 1
    authority.move("filing", expected_number=1, to=Side.CLOUD, key="out", ticket=again.ticket)
    clock.pass_time(-2 * jump)
    back = authority.move("filing", expected_number=2, to=Side.SOURCE, key="back", ticket=later.ticket)
    assert back.number == 3
    with pytest.raises(AuthorityError):
        authority.move("filing", expected_number=3, to=Side.CLOUD, key="late", ticket=first.ticket)
