"""Verifications: a side that is not what was proved is found and named; what could not be compared has failed."""

from dataclasses import replace

import pytest

from orchestrator.foundation.errors import DigestMismatch, UsageError
from orchestrator.model import action as actions
from orchestrator.model.site import Side
from orchestrator.operations.lag import complain_of_lag, lag_of_estate
from orchestrator.operations.verify import complain_of_difference
from orchestrator.steps.damages import damages
from orchestrator.steps.drill_measures import choose_point
from orchestrator.steps.handlers import handlers_over
from tests.fakes.drivers import ATTACHMENTS, CLOUD, DR, REGISTER, SOURCE, SYSTEM, a_deed
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


def test_how_much_is_to_be_read_of_a_tree_is_told_by_its_point(ground):
    done = ground.round()
    point = ground.world.drivers.catalogue.get("recovery_point", f"filing/{done.point}")
    size = next(held["bytes_total"] for held in point["datasets"] if held["dataset"] == "attachments")
    told = []
    replace(ground.verifier, progress=told.append).verify("filing", sides=[Side.DR])
    assert size > 0
    assert {(each.bytes_done, each.bytes_total) for each in told if each.dataset == "attachments"} == {(size, size)}


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


def test_a_point_that_decayed_at_dr_is_used_by_nothing(ground):
    older, newer = ground.round(), ground.round()
    _, files = ground.world.trees.hosts.points[DR.name, ATTACHMENTS.name][newer.point]
    good, files["filing-1"] = files["filing-1"], FakeFile(b"decayed")
    ground.verifier.verify("filing", scrub=True)
    assert [each.damaged for each in ground.points.known("filing")] == [(Side.DR,), ()]
    assert choose_point(ground.world.drivers, SYSTEM, "latest").id == older.point
    with pytest.raises(DigestMismatch, match=rf"filing/attachments at dr \({newer.point}\) is damaged since 20"):
        choose_point(ground.world.drivers, SYSTEM, newer.point)
    seed = actions.Replicate(source=Side.DR, replica=Side.CLOUD, read="point")
    outcome = handlers_over(ground.world.drivers)("replicate").act(a_deed(seed), lambda _: None, ground.world.emit)
    assert outcome.error == "DigestMismatch"
    files["filing-1"] = good
    ground.verifier.verify("filing", scrub=True)
    assert choose_point(ground.world.drivers, SYSTEM, "latest").id == newer.point


def test_a_replica_that_is_damaged_is_told_by_status_switched_to_by_nobody_and_mended_by_a_round(ground):
    ground.round()
    ground.world.trees.hosts.trees[DR.name, ATTACHMENTS.path]["filing-1"] = FakeFile(b"forged")
    ground.verifier.verify("filing")

    def lag():
        now = ground.world.clock.now()
        world = ground.world
        return lag_of_estate(ground.inventory, world.catalogue, world.authority, ground.store.replication, now)

    with pytest.raises(DigestMismatch, match=r"filing/attachments at dr \(live\) is damaged: .*filing-1"):
        complain_of_lag(lag())
    for action in (
        actions.MoveAuthority(from_side=Side.SOURCE, to_side=Side.DR),
        actions.SeizeAuthority(from_side=Side.SOURCE, to_side=Side.DR),
        actions.Replicate(source=Side.DR, replica=Side.CLOUD),
    ):
        deed = a_deed(action, step=action.verb)
        outcome = handlers_over(ground.world.drivers)(action.verb).act(deed, lambda _: None, ground.world.emit)
        assert (outcome.error, "is damaged since" in outcome.message) == ("DigestMismatch", True)
    assert ground.world.authority.read("filing").side is Side.SOURCE
    assert ground.round().result == "passed"
    complain_of_lag(lag())


def test_a_point_that_is_kept_is_read_by_itself(ground):
    first, second = ground.round(), ground.round()
    points = ground.world.trees.hosts.points[DR.name, ATTACHMENTS.name]
    points[first.point][1]["filing-1"] = FakeFile(b"decayed")
    ground.world.trees.hosts.trees[DR.name, ATTACHMENTS.path]["filing-2"] = FakeFile(b"live, and not asked for")
    known = {each.id: each for each in ground.points.named("filing", "all")}
    assert list(known) == [first.point, second.point]
    good = ground.verifier.verify("filing", held=known[second.point])
    assert good.passed
    assert {each.what for each in good.comparisons} == {f"point {second.point}"}
    assert not ground.verifier.verify("filing", held=known[first.point], scrub=True).passed
    assert [each.damaged for each in ground.points.known("filing")] == [(), (Side.DR,)]
    assert ground.verifier.last_passed("filing", scrub=False) is None  # of what lives, nothing was said
    assert [each.id for each in ground.points.named("filing", second.point[:8])] == [second.point]


def test_the_clone_of_a_cluster_is_opened_where_one_is_kept(ground):
    with_clone = REGISTER.model_copy(update={"points": "clone"})
    system = SYSTEM.model_copy(update={"datasets": (with_clone,)})
    ground.inventory.systems["filing"] = system
    done = ground.round()
    (point,) = ground.points.named("filing", done.point)
    (found,) = ground.verifier.verify("filing", held=point).comparisons
    assert (found.dataset, found.side, found.equal) == ("register", Side.DR, True)
    ground.world.databases.clones["register", DR.name, done.point] = "sha256:" + "0" * 64
    (found,) = ground.verifier.verify("filing", held=point).comparisons
    assert (found.equal, found.damaged) == (False, True)
    ground.inventory.systems["filing"] = SYSTEM.model_copy(update={"datasets": (REGISTER,)})
    with pytest.raises(UsageError, match="nothing of filing .* is held there"):
        ground.verifier.verify("filing", sides=[Side.SOURCE], held=point)


def test_what_moved_on_is_different_and_not_damaged(ground):
    """DR as the source is now; DR behind another side that may write; the cloud, of which no round proves anything."""
    ground.round()
    ground.world.client_files()
    trees = ground.world.trees.hosts.trees
    trees[DR.name, ATTACHMENTS.path] = dict(trees[SOURCE.name, ATTACHMENTS.path])
    trees[CLOUD.name, ATTACHMENTS.path] = {"seed": FakeFile(b"of an older point")}
    assert not ground.verifier.verify("filing", sides=[Side.DR, Side.CLOUD]).passed
    assert damages(ground.world.catalogue, "filing") == []
    trees[DR.name, ATTACHMENTS.path]["filing-1"] = FakeFile(b"written at the cloud")
    ground.world.authority.move("filing", expected_number=1, to=Side.CLOUD, key="k")
    assert not ground.verifier.verify("filing", sides=[Side.DR]).passed
    assert damages(ground.world.catalogue, "filing") == []


def test_a_host_that_cannot_be_asked_is_not_called_damaged(ground):
    ground.round()
    with cut_off(ground.world.trees.hosts, DR):
        ground.verifier.verify("filing", sides=[Side.DR])
    assert ground.points.known("filing")[0].damaged == ()


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
