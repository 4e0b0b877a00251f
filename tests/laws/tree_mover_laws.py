"""Laws of contracts.trees.TreeMover: inherit, give a `ground` fixture, and every law runs against it.

The ground has: `mover`, `tree`, hosts `source` and `replica`; `write(host, name, bytes)`, `remove(host, name)`,
`change(host, name, aspect)` for an aspect of ASPECTS, `read(host) -> {name: bytes}`, and `traces() -> list` of whatever
access (keys, certificates, entries) lies on the hosts.
"""

import pytest

from orchestrator.foundation.errors import DataError, SnapshotError, SourceShrank
from tests.laws.copy_order_laws import CopyOrderLaws

ASPECTS = ("bit", "mode", "owner", "mtime", "attribute", "target")


class TreeMoverLaws(CopyOrderLaws):
    counts_files = True  # a stream of a file system brings what changed, and does not tell in how many files

    def fill(self, ground):
        ground.write(ground.source, "a", b"one")
        ground.write(ground.source, "b/c", b"two" * 1000)
        ground.write(ground.source, "b/d/e", b"")

    def prepare(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        ground.mover.prepare_last(ground.tree, ground.source, ground.replica)
        ground.write(ground.source, "a", b"changed")

    def copies(self, ground):
        ends = (ground.tree, ground.source, ground.replica)
        return {
            "last": lambda order: ground.mover.copy_last(*ends, order=order),
            "any": lambda order: ground.mover.copy(*ends, order=order),
        }

    def test_a_copy_makes_the_replica_equal(self, ground):
        self.fill(ground)
        report = ground.mover.copy(ground.tree, ground.source, ground.replica)
        assert ground.read(ground.replica) == ground.read(ground.source)
        assert report.files == 3 or not self.counts_files
        assert (report.source, report.replica) == (ground.source.name, ground.replica.name)
        assert report.bytes_total == 3003 or not self.counts_files
        assert report.bytes_wire >= 3003

    def test_a_copy_follows_changes_and_deletions(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        ground.write(ground.source, "a", b"changed")
        ground.write(ground.source, "new/one", b"new")
        ground.remove(ground.source, "b/c")
        ground.write(ground.replica, "stray", b"not of the source")
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        assert ground.read(ground.replica) == {"a": b"changed", "b/d/e": b"", "new/one": b"new"}

    def test_an_outlook_tells_what_a_copy_would_do_and_does_not_do_it(self, ground):
        self.fill(ground)
        first = ground.mover.outlook(ground.tree, ground.source, ground.replica)
        assert (first.bytes_source, first.bytes_pending, first.entries_deleted) == (3003, 3003, 0)
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        ground.write(ground.source, "a", b"changed")
        ground.remove(ground.source, "b/c")
        before = ground.read(ground.replica)
        second = ground.mover.outlook(ground.tree, ground.source, ground.replica)
        assert (second.bytes_pending, second.entries_deleted) == (7, 1)
        assert second.entries_replica == second.entries_source + 1
        assert ground.read(ground.replica) == before
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        third = ground.mover.outlook(ground.tree, ground.source, ground.replica)
        assert (third.bytes_pending, third.entries_deleted, third.entries_replica) == (0, 0, third.entries_source)

    def test_a_second_copy_moves_no_file(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        again = ground.mover.copy(ground.tree, ground.source, ground.replica)
        assert again.files == 0
        assert again.changed == ()

    @pytest.mark.parametrize("ready", [True, False])
    def test_the_last_copy_brings_all_and_nothing_else_whether_or_not_it_was_prepared(self, ground, ready):
        self.fill(ground)
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        if ready:
            ground.mover.prepare_last(ground.tree, ground.source, ground.replica)
        ground.write(ground.source, "a", b"changed")
        ground.write(ground.source, "new/one", b"new")
        ground.remove(ground.source, "b/c")
        ground.mover.copy_last(ground.tree, ground.source, ground.replica)
        assert ground.read(ground.replica) == {"a": b"changed", "b/d/e": b"", "new/one": b"new"}
        here = ground.mover.digest(ground.tree, ground.source, reading="watched")
        there = ground.mover.digest(ground.tree, ground.replica, reading="watched")
        assert here.digest == there.digest == ground.mover.digest(ground.tree, ground.source).digest
        ground.mover.release_last(ground.tree)
        ground.mover.release_last(ground.tree)
        assert ground.traces() == []
        ground.write(ground.source, "later", b"after all")
        ground.mover.copy_last(ground.tree, ground.source, ground.replica)
        assert ground.read(ground.replica)["later"] == b"after all"

    def test_a_stray_at_the_replica_is_gone_after_the_last_copy(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        ground.write(ground.replica, "stray", b"not of the source")
        ground.mover.prepare_last(ground.tree, ground.source, ground.replica)
        ground.write(ground.replica, "b/other", b"nor this")
        ground.mover.copy_last(ground.tree, ground.source, ground.replica)
        assert ground.read(ground.replica) == ground.read(ground.source)
        ground.mover.release_last()

    def test_an_empty_tree_does_not_empty_a_replica_but_by_a_word(self, ground):
        """An unmounted disk looks like this; it holds for the last copy too, whatever was made ready for it."""
        ground.write(ground.source, "a", b"one")
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        ground.mover.prepare_last(ground.tree, ground.source, ground.replica)
        ground.remove(ground.source, "a")
        for copy in (ground.mover.copy, ground.mover.copy_last):
            with pytest.raises(SourceShrank, match="holds something"):
                copy(ground.tree, ground.source, ground.replica)
            assert ground.read(ground.replica) == {"a": b"one"}
        ground.mover.release_last()
        assert ground.traces() == []
        ground.mover.let_empty(ground.tree)
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        assert ground.read(ground.replica) == {}
        ground.mover.copy(ground.tree, ground.source, ground.replica)

    def test_a_copy_leaves_no_access_behind(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        assert ground.traces() == []

    def test_a_copy_from_a_point_brings_the_point(self, ground):
        self.fill(ground)
        ground.mover.points(ground.tree, ground.source).take("p1")
        ground.write(ground.source, "a", b"later")
        ground.mover.copy(ground.tree, ground.source, ground.replica, from_point="p1")
        assert ground.read(ground.replica)["a"] == b"one"
        held = ground.mover.digest(ground.tree, ground.source, point="p1")
        assert ground.mover.digest(ground.tree, ground.replica).digest == held.digest

    def test_a_copy_from_a_missing_point_is_refused(self, ground):
        self.fill(ground)
        with pytest.raises(SnapshotError):
            ground.mover.copy(ground.tree, ground.source, ground.replica, from_point="never-was")

    def test_the_digest_is_equal_after_a_copy_and_names_its_host(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        here = ground.mover.digest(ground.tree, ground.source)
        there = ground.mover.digest(ground.tree, ground.replica)
        assert here.digest == there.digest
        assert (here.host, there.host) == (ground.source.name, ground.replica.name)
        assert ground.mover.differences(ground.tree, ground.source, ground.replica) == []

    @pytest.mark.parametrize("aspect", ASPECTS)
    def test_any_difference_gives_another_digest_and_is_named(self, ground, aspect):
        self.fill(ground)
        ground.write(ground.source, "link", b"")
        ground.change(ground.source, "link", "target")
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        before = ground.mover.digest(ground.tree, ground.source).digest
        name = "link" if aspect == "target" else "b/c"
        ground.change(ground.replica, name, aspect)
        assert ground.mover.digest(ground.tree, ground.replica).digest != before
        found = ground.mover.differences(ground.tree, ground.source, ground.replica)
        assert any(line.startswith(f"{name}:") for line in found), found

    def test_a_name_too_many_is_found(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        before = ground.mover.digest(ground.tree, ground.replica).digest
        ground.write(ground.replica, "b/stray", b"")
        assert ground.mover.digest(ground.tree, ground.replica).digest != before
        found = ground.mover.differences(ground.tree, ground.source, ground.replica)
        assert any("b/stray" in line and ground.replica.name in line for line in found), found

    def test_files_that_parted_are_told_with_what_either_side_has_and_no_others(self, ground):
        self.fill(ground)
        ground.write(ground.source, "b/same", b"same")
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        assert ground.mover.parted(ground.tree, ground.source, ground.replica) == []
        ground.write(ground.source, "new/deep/one", b"12345")
        ground.write(ground.source, "new/two", b"1")
        ground.write(ground.replica, "b/stray", b"123")
        ground.change(ground.replica, "b/c", "content")
        found = {file.path: file for file in ground.mover.parted(ground.tree, ground.source, ground.replica)}
        assert found.keys() == {"b/c", "b/stray", "new/deep/one", "new/two"}  # neither folders nor what is the same
        sizes = {path: (file.one and file.one.bytes, file.other and file.other.bytes) for path, file in found.items()}
        assert (sizes["new/deep/one"], sizes["new/two"], sizes["b/stray"]) == ((5, None), (1, None), (None, 3))
        assert None not in sizes["b/c"]
        assert len(ground.mover.parted(ground.tree, ground.source, ground.replica, limit=2)) == 2

    def test_a_missing_tree_has_no_digest(self, ground):
        with pytest.raises(DataError):
            ground.mover.digest(ground.tree, ground.replica)
