"""Laws of contracts.trees.PointStore: inherit, give a `ground` fixture, and every law runs against it.

The ground has: `store`, `write(name, bytes)` (aside and renamed), `remove(name)`, `read_point(point) -> {name: bytes}`,
`foreign() -> name` (makes what looks like a point but is not ours) and `foreign_is_there(name)`.
"""

import pytest

from orchestrator.foundation.errors import SnapshotError


class PointStoreLaws:
    def test_a_point_holds_what_the_tree_held(self, ground):
        ground.write("a", b"one")
        ground.write("b/c", b"two")
        point = ground.store.take("p1")
        assert ground.read_point(point) == {"a": b"one", "b/c": b"two"}

    def test_a_later_change_of_the_tree_does_not_change_the_point(self, ground):
        ground.write("a", b"one")
        ground.write("gone", b"soon")
        point = ground.store.take("p1")
        ground.write("a", b"changed")
        ground.write("new", b"later")
        ground.remove("gone")
        assert ground.read_point(point) == {"a": b"one", "gone": b"soon"}

    def test_taking_one_id_twice_makes_one_point_and_changes_nothing(self, ground):
        ground.write("a", b"one")
        first = ground.store.take("p1")
        ground.write("a", b"changed")
        second = ground.store.take("p1")
        assert second == first
        assert [point.id for point in ground.store.list()] == ["p1"]
        assert ground.read_point(second) == {"a": b"one"}

    def test_points_are_listed_oldest_first(self, ground):
        ground.write("a", b"one")
        for name in ("zebra", "ant", "m3"):
            ground.store.take(name)
        assert [point.id for point in ground.store.list()] == ["zebra", "ant", "m3"]

    def test_a_point_is_found_by_its_id(self, ground):
        ground.write("a", b"one")
        taken = ground.store.take("p1")
        assert ground.store.find("p1") == taken
        assert ground.store.find("p2") is None

    def test_a_deleted_point_is_gone_and_deleting_it_again_succeeds(self, ground):
        ground.write("a", b"one")
        ground.store.take("p1")
        ground.store.take("p2")
        ground.store.delete("p1")
        ground.store.delete("p1")
        ground.store.delete("never-was")
        assert [point.id for point in ground.store.list()] == ["p2"]

    def test_what_others_made_is_neither_listed_nor_touched(self, ground):
        ground.write("a", b"one")
        name = ground.foreign()
        ground.store.take("p1")
        assert [point.id for point in ground.store.list()] == ["p1"]
        ground.store.delete(name)
        assert ground.foreign_is_there(name)

    def test_a_held_point_is_not_deleted_until_everybody_let_go(self, ground):
        ground.write("a", b"one")
        ground.store.take("p1")
        ground.store.hold("p1", "drill-7")
        ground.store.hold("p1", "drill-7")
        assert ground.store.hold("p1", "transfer-dr").holds == ("drill-7", "transfer-dr")
        with pytest.raises(SnapshotError, match="drill-7"):
            ground.store.delete("p1")
        ground.store.release("p1", "drill-7")
        with pytest.raises(SnapshotError, match="transfer-dr"):
            ground.store.delete("p1")
        found = ground.store.find("p1")
        assert found is not None
        assert found.holds == ("transfer-dr",)
        ground.store.release("p1", "transfer-dr")
        ground.store.delete("p1")
        assert ground.store.list() == []

    def test_taking_a_held_point_again_keeps_its_holds(self, ground):
        ground.write("a", b"one")
        ground.store.take("p1")
        ground.store.hold("p1", "drill-7")
        assert ground.store.take("p1").holds == ("drill-7",)
        ground.store.release("p1", "drill-7")

    def test_a_missing_point_cannot_be_held_but_be_let_go(self, ground):
        ground.write("a", b"one")
        with pytest.raises(SnapshotError):
            ground.store.hold("p1", "drill-7")
        ground.store.release("p1", "drill-7")
