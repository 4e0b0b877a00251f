"""The laws of contracts.authority.AuthorityStore. Inherit, and give a `store` fixture."""

import threading

import pytest

from orchestrator.foundation.errors import AuthorityError
from orchestrator.model.site import Side


class AuthorityStoreLaws:
    def test_a_system_never_seen_is_at_the_source_with_number_one(self, store):
        found = store.read("filing")
        assert (found.system, found.number, found.side) == ("filing", 1, Side.SOURCE)

    def test_a_move_gives_the_next_number_and_is_read_back(self, store):
        moved = store.move("filing", expected_number=1, to=Side.CLOUD, key="run-1/filing/move/do")
        assert (moved.number, moved.side, moved.by) == (2, Side.CLOUD, "run-1/filing/move/do")
        assert store.read("filing") == moved

    def test_the_same_move_twice_is_one(self, store):
        first = store.move("filing", expected_number=1, to=Side.CLOUD, key="k")
        assert store.move("filing", expected_number=1, to=Side.CLOUD, key="k") == first
        assert store.read("filing").number == 2

    def test_an_old_move_repeated_after_a_newer_one_is_refused(self, store):
        store.move("filing", expected_number=1, to=Side.CLOUD, key="out")
        store.move("filing", expected_number=2, to=Side.SOURCE, key="back")
        with pytest.raises(AuthorityError, match="not the newest"):
            store.move("filing", expected_number=1, to=Side.CLOUD, key="out")
        assert store.read("filing").side is Side.SOURCE

    def test_a_move_from_an_old_number_is_refused_and_changes_nothing(self, store):
        store.move("filing", expected_number=1, to=Side.CLOUD, key="k")
        with pytest.raises(AuthorityError, match="filing"):
            store.move("filing", expected_number=1, to=Side.DR, key="other")
        assert store.read("filing").side is Side.CLOUD

    def test_a_move_of_a_deed_that_was_overtaken_is_refused_whatever_number_it_read(self, store):
        store.move("filing", expected_number=1, to=Side.CLOUD, key="out", ticket=7)
        back = store.move("filing", expected_number=2, to=Side.SOURCE, key="back", ticket=9)
        with pytest.raises(AuthorityError, match="too late"):
            store.move("filing", expected_number=3, to=Side.CLOUD, key="late", ticket=8)
        assert store.read("filing") == back
        assert store.move("filing", expected_number=3, to=Side.CLOUD, key="on", ticket=10).ticket == 10

    def test_a_move_without_a_ticket_leaves_the_newest_as_it_is(self, store):
        store.move("filing", expected_number=1, to=Side.CLOUD, key="out", ticket=7)
        assert store.move("filing", expected_number=2, to=Side.SOURCE, key="by hand").ticket == 7

    def test_an_order_of_now_is_newer_than_every_move_before_and_nothing_moves_by_a_deed_from_before(self, store):
        ticket = store.order("filing", Side.SOURCE).ticket
        store.move("filing", expected_number=1, to=Side.CLOUD, key="out", ticket=ticket)
        moved = store.read("filing")
        order = store.order("filing", Side.CLOUD)
        assert (order.system, order.number) == ("filing", 2)
        assert order.ticket > moved.ticket
        with pytest.raises(AuthorityError, match="too late"):
            store.move("filing", expected_number=2, to=Side.SOURCE, key="late", ticket=moved.ticket)
        found = store.read("filing")
        assert (found.number, found.side, found.by, found.at) == (2, Side.CLOUD, "out", moved.at)
        assert store.order("filing", Side.CLOUD).ticket > order.ticket

    def test_a_side_that_does_not_hold_authority_gets_no_order(self, store):
        with pytest.raises(AuthorityError, match="source"):
            store.order("filing", Side.CLOUD)
        store.move("filing", expected_number=1, to=Side.CLOUD, key="out")
        with pytest.raises(AuthorityError, match="cloud"):
            store.order("filing", Side.SOURCE)

    def test_systems_do_not_know_each_other(self, store):
        store.move("filing", expected_number=1, to=Side.CLOUD, key="k")
        assert store.read("archive").number == 1

    def test_of_many_movers_from_one_number_exactly_one_wins(self, store):
        won, refused = [], []

        def move(number):
            try:
                won.append(store.move("filing", expected_number=1, to=Side.CLOUD, key=f"mover-{number}"))
            except AuthorityError:
                refused.append(number)

        movers = [threading.Thread(target=move, args=(number,)) for number in range(8)]
        for mover in movers:
            mover.start()
        for mover in movers:
            mover.join()
        assert (len(won), len(refused)) == (1, 7)
        assert store.read("filing") == won[0]
