"""Laws of contracts.volumes.VolumeMover: inherit, give a `ground` fixture, and every law runs against it.

The ground has: `mover`, `volume`, hosts `source` and `replica`; `put(host, offset, bytes)` writes into it (made,
`SIZE` bytes of hole, at the first writing), `read(host) -> bytes`.
"""

import os

import pytest

from orchestrator.foundation.errors import DataError, SnapshotError, SourceShrank
from tests.laws.copy_order_laws import CopyOrderLaws

MIB = 1 << 20
SIZE = 12 * MIB + 4096 + 100  # the last leaf and the last page are not whole


class VolumeMoverLaws(CopyOrderLaws):
    def fill(self, ground):
        ground.put(ground.source, 0, b"boot" + bytes(508))
        ground.put(ground.source, 3 * MIB, os.urandom(2 * MIB))
        ground.put(ground.source, SIZE - 77, os.urandom(77))

    def prepare(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        ground.put(ground.source, 3 * MIB + 5, b"x")

    def copies(self, ground):
        ends = (ground.volume, ground.source, ground.replica)
        return {"any": lambda order: ground.mover.copy(*ends, order=order)}

    def test_a_copy_makes_the_replica_equal(self, ground):
        self.fill(ground)
        report = ground.mover.copy(ground.volume, ground.source, ground.replica)
        assert ground.read(ground.replica) == ground.read(ground.source)
        assert report.bytes_total == SIZE
        assert report.bytes_wire < 3 * MIB  # holes cost nothing

    def test_a_second_copy_moves_no_page(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        again = ground.mover.copy(ground.volume, ground.source, ground.replica)
        assert again.detail["bytes_written"] == "0"
        assert again.bytes_wire < 64 * 1024

    def test_a_change_moves_its_pages(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        ground.put(ground.source, 3 * MIB + 5, b"x")
        ground.put(ground.source, 9 * MIB, b"where there was a hole")
        ground.put(ground.source, SIZE - 1, b"e")
        report = ground.mover.copy(ground.volume, ground.source, ground.replica)
        assert ground.read(ground.replica) == ground.read(ground.source)
        assert report.bytes_wire < 200 * 1024

    def test_what_became_zero_becomes_zero(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        ground.put(ground.source, 3 * MIB, bytes(MIB))
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        assert ground.read(ground.replica) == ground.read(ground.source)

    def test_the_digest_is_equal_after_a_copy_and_tells_a_bit_apart(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        here = ground.mover.digest(ground.volume, ground.source)
        there = ground.mover.digest(ground.volume, ground.replica)
        assert here.digest == there.digest
        assert (here.host, there.host) == (ground.source.name, ground.replica.name)
        assert ground.mover.differences(ground.volume, ground.source, ground.replica) == []
        byte = ground.read(ground.replica)[4 * MIB]
        ground.put(ground.replica, 4 * MIB, bytes([byte ^ 1]))
        assert ground.mover.digest(ground.volume, ground.replica).digest != here.digest
        assert ground.mover.differences(ground.volume, ground.source, ground.replica) == [
            f"bytes {4 * MIB} to {4 * MIB + 65535}"
        ]

    def test_a_hole_is_no_difference_from_zeros(self, ground):
        self.fill(ground)
        before = ground.mover.digest(ground.volume, ground.source).digest
        ground.put(ground.source, 8 * MIB, bytes(MIB))
        assert ground.mover.digest(ground.volume, ground.source).digest == before

    def test_a_change_at_the_replica_is_found_and_undone(self, ground):
        self.fill(ground)
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        ground.put(ground.replica, 3 * MIB + 70_000, b"written behind our back")
        ground.put(ground.replica, 10 * MIB, b"and here")
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        assert ground.read(ground.replica) == ground.read(ground.source)

    @pytest.mark.parametrize("left", [0, 10])
    def test_a_source_that_lost_most_of_its_data_changes_nothing_before_a_word(self, ground, left):
        self.fill(ground)
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        good = ground.read(ground.replica)
        ground.put(ground.source, 0, bytes(SIZE))
        ground.put(ground.source, 3 * MIB, os.urandom(left * 64 * 1024))
        with pytest.raises(SourceShrank):
            ground.mover.copy(ground.volume, ground.source, ground.replica)
        assert ground.read(ground.replica) == good
        ground.mover.let_empty(ground.volume)
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        assert ground.read(ground.replica) == ground.read(ground.source)

    def test_a_missing_source_is_an_error(self, ground):
        with pytest.raises(DataError):
            ground.mover.copy(ground.volume, ground.source, ground.replica)
        with pytest.raises(DataError):
            ground.mover.digest(ground.volume, ground.source)

    def test_a_point_is_copied_and_digested_as_it_was(self, ground):
        self.fill(ground)
        held = ground.read(ground.source)
        ground.mover.points(ground.volume, ground.source).take("p1")
        ground.put(ground.source, 3 * MIB, b"written after the point")
        report = ground.mover.copy(ground.volume, ground.source, ground.replica, from_point="p1")
        assert report.bytes_total == SIZE
        assert ground.read(ground.replica) == held
        point = ground.mover.digest(ground.volume, ground.source, point="p1").digest
        assert point == ground.mover.digest(ground.volume, ground.replica).digest
        assert point != ground.mover.digest(ground.volume, ground.source).digest
        found = ground.mover.points(ground.volume, ground.source).find("p1")
        assert found is not None
        assert found.holds == ()  # nothing of the transfer is left

    def test_a_missing_point_is_an_error(self, ground):
        self.fill(ground)
        with pytest.raises(SnapshotError):
            ground.mover.copy(ground.volume, ground.source, ground.replica, from_point="never-was")
        with pytest.raises(SnapshotError):
            ground.mover.digest(ground.volume, ground.source, point="never-was")
