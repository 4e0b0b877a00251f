"""Verifications: a side that is not what was proved is found and named; what could not be compared has failed."""

import pytest

from orchestrator.foundation.errors import DigestMismatch, UsageError
from orchestrator.model.site import Side
from orchestrator.operations.verify import complain_of_difference
from tests.fakes.drivers import ATTACHMENTS, DR, REGISTER, SOURCE
from tests.fakes.replicated import Replicated
from tests.fakes.trees import FakeFile, cut_off


@pytest.fixture
def ground(tmp_path):
    made = Replicated(tmp_path)
    yield made
    made.store.close()


def test_sides_that_hold_what_was_proved_pass(ground):
    done = ground.round()
    found = ground.verifier.verify("filing")
    assert found.passed
    assert found.point == done.point
    looked_at = [(each.dataset, each.side, each.what.split()[0]) for each in found.comparisons]
    assert looked_at == [
        ("register", Side.SOURCE, "moment"),
        ("register", Side.DR, "moment"),
        ("attachments", Side.SOURCE, "point"),
        ("attachments", Side.DR, "point"),
        ("attachments", Side.DR, "live"),
    ]
    complain_of_difference([found])
    assert ground.events[-1][1] == "verification.finished"


def test_writes_at_the_source_after_the_point_are_no_difference(ground):
    ground.round()
    ground.world.client_files()
    assert ground.verifier.verify("filing").passed


def test_a_replica_changed_behind_our_back_is_found_and_the_file_named(ground):
    ground.round()
    ground.world.trees.hosts.trees[DR.name, ATTACHMENTS.path]["filing-1"] = FakeFile(b"forged")
    found = ground.verifier.verify("filing")
    assert not found.passed
    with pytest.raises(DigestMismatch, match=r"filing/attachments at dr \(live\).*filing-1: content"):
        complain_of_difference([found])


def test_a_held_point_that_decayed_is_found_at_its_side(ground):
    done = ground.round()
    _, files = ground.world.trees.hosts.points[SOURCE.name, ATTACHMENTS.name][done.point]
    files["filing-1"] = FakeFile(b"decayed")
    (bad,) = [each for each in ground.verifier.verify("filing", scrub=True).comparisons if not each.equal]
    assert (bad.side, bad.what) == (Side.SOURCE, f"point {done.point}")
    assert bad.digest != bad.expected


def test_what_could_not_be_compared_has_failed(ground):
    ground.round()
    with cut_off(ground.world.trees.hosts, DR):
        found = ground.verifier.verify("filing", sides=[Side.DR])
    assert not found.passed
    with pytest.raises(DigestMismatch, match="could not be compared: dr-filing1: no route"):
        complain_of_difference([found])


def test_a_database_whose_moment_cannot_be_held_fails_at_every_side(ground):
    ground.round()
    ground.world.databases.servers.pop((REGISTER.name, SOURCE.name))
    found = [each for each in ground.verifier.verify("filing").comparisons if each.dataset == "register"]
    assert [each.equal for each in found] == [False, False]
    assert "there is no moment to compare with" in found[1].why


def test_without_a_recovery_point_there_is_nothing_to_compare_with(ground):
    with pytest.raises(UsageError, match="filing has no recovery point"):
        ground.verifier.verify("filing")


def test_what_is_due_is_told_by_the_last_one_that_passed(ground):
    week, both = 7 * 86400.0, (Side.SOURCE, Side.DR)

    def due(*, scrub, sides=both):
        return ground.verifier.is_due("filing", older_than_seconds=week, scrub=scrub, sides=sides)

    ground.round()
    assert due(scrub=False)
    ground.verifier.verify("filing")
    assert not due(scrub=False)
    assert due(scrub=True)  # to read is less than to scrub
    assert due(scrub=False, sides=(Side.DR, Side.CLOUD))
    ground.verifier.verify("filing", scrub=True)
    assert not due(scrub=True)
    ground.pass_time(week + 1)
    assert due(scrub=True)
    ground.world.trees.hosts.trees[DR.name, ATTACHMENTS.path] = {}
    ground.verifier.verify("filing", scrub=True)
    assert due(scrub=True)  # one that failed leaves it due
