"""Rounds of replication outside of runs: what they bring, what they refuse, and what is remembered of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contracts.trees import CopyOutlook
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import HostUnreachable, ReplicaLagging, RunInProgress, SourceShrank, UsageError
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.replication import LagSample
from orchestrator.operations.lag import complain_of_lag, lag_of_estate
from orchestrator.operations.lag_past import lag_past
from orchestrator.operations.replication import error_named
from orchestrator.operations.standing import complain_of_rounds
from orchestrator.steps.shrinking import SMALL_ENTRIES, shrinkage
from tests.fakes.drivers import ATTACHMENTS, CLOUD, DR, REGISTER, SOURCE, SYSTEM, the_plan
from tests.fakes.replicated import Replicated
from tests.fakes.run_in_hand import RunInHand
from tests.fakes.trees import FakeFile, cut_off


@pytest.fixture
def ground(tmp_path):
    made = Replicated(tmp_path)
    yield made
    made.store.close()


def lag(ground):
    return lag_of_estate(
        ground.inventory, ground.world.catalogue, ground.world.authority, ground.store.replication,
        ground.world.clock.now(),
    )  # fmt: skip


def test_a_round_brings_everything_and_holds_a_proved_point(ground):
    done = ground.round()
    assert (done.result, done.system, done.by) == ("passed", "filing", "ops")
    trees = ground.world.trees.hosts.trees
    assert trees[DR.name, ATTACHMENTS.path] == trees[SOURCE.name, ATTACHMENTS.path]
    assert ground.world.databases.rows(REGISTER, DR) == ground.world.acknowledged
    document = ground.world.catalogue.get("recovery_point", f"filing/{done.point}")
    assert document["holds"] == []
    assert document["sides"] == ["source", "dr"]
    assert ground.kinds()[0] == "replication.started"
    assert ground.kinds()[-1] == "replication.finished"
    assert "recovery_point.held" in ground.kinds()
    assert {data.get("round") for _, _, data in ground.events} == {done.id}
    assert [each.id for each in ground.store.replication.rounds("filing")] == [done.id]


def test_rounds_are_told_apart_and_the_objective_is_judged_by_the_last_good_one(ground):
    first = ground.round()
    ground.world.client_files()
    second = ground.round()
    assert second.point != first.point
    (system,) = lag(ground)
    rows = {row.dataset: row for row in system.datasets}
    assert rows["attachments"].good_point == second.point
    assert rows["attachments"].seconds_behind == 60.0
    assert system.met  # the objective is 60 s
    complain_of_lag([system])
    ground.pass_time(1)
    with pytest.raises(ReplicaLagging, match=r"filing/attachments is 1 min 1 s behind \(objective 1 min\)"):
        complain_of_lag(lag(ground))


def test_before_the_first_round_nothing_is_good(ground):
    (system,) = lag(ground)
    assert [row.seconds_behind for row in system.datasets] == [None, None]
    with pytest.raises(ReplicaLagging, match="filing/register is not replicated yet"):
        complain_of_lag([system])


def test_bytes_that_wait_are_seen_before_they_are_copied(ground):
    ground.round()
    ground.world.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path]["new"] = FakeFile(b"x" * 500)
    ground.pass_time(5)
    ground.world.interruption.on_place = lambda _: ground.pass_time(0.01)  # every call takes its time
    ground.round()
    before, after = ground.store.replication.samples("filing", "attachments")[-2:]
    assert (before.bytes_behind, after.bytes_behind) == (500, 0)
    assert 65.0 <= before.seconds_behind < 66.0
    assert 0.0 < after.seconds_behind < 1.0


def test_a_look_at_databases_alone_leaves_what_was_seen_of_trees(ground):
    ground.round()
    ground.world.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path]["new"] = FakeFile(b"x" * 500)
    ground.replication.ask_lag("filing", trees_too=True)
    seen_at = {row.dataset: row.seen_at for row in lag(ground)[0].datasets}
    ground.pass_time(5)
    ground.replication.ask_lag("filing", trees_too=False)
    rows = {row.dataset: row for row in lag(ground)[0].datasets}
    assert (rows["attachments"].bytes_behind, rows["attachments"].seen_at) == (500, seen_at["attachments"])
    assert rows["register"].seen_at > seen_at["register"]


def past(ground, seconds):
    return lag_past(
        ground.inventory, ground.store.replication, ground.world.clock.now(), systems=["filing"], seconds=seconds
    )


def test_what_the_night_was_like_is_told_by_the_worst_of_each_stretch(ground):
    def sample(seconds, pending=None):
        at = timestamp(ground.world.clock.now())
        behind = LagSample(system="filing", dataset="attachments", at=at, seconds_behind=seconds, bytes_behind=pending)
        ground.store.replication.note([behind])
        return at

    sample(9.0)
    ground.pass_time(3 * 3600)
    began = sample(5.0, 500)
    ground.pass_time(60)
    sample(90.0, 20)
    ground.pass_time(2 * 3600)
    unknown = sample(None)
    with cut_off(ground.world.trees.hosts, DR):
        failed = ground.round()
    found = past(ground, 4 * 3600)
    looked = {each.dataset: each.stretches for each in found.datasets}["attachments"]
    assert [(each.since, each.looks, each.seconds_behind, each.bytes_behind) for each in looked[:1]] == [
        (began, 2, 90.0, 500)
    ]
    assert [each.met for each in looked] == [False, False]  # 90 s of 60 s; not known
    assert (looked[1].since, looked[1].seconds_behind) == (unknown, None)
    assert [each.id for each in found.rounds] == [failed.id]
    assert past(ground, 30).rounds == ()


def test_a_failed_round_says_so_and_the_last_good_point_stays(ground):
    good = ground.round()
    with cut_off(ground.world.trees.hosts, DR):
        bad = ground.round()
    assert (bad.result, bad.error) == ("failed", "HostUnreachable")
    with pytest.raises(HostUnreachable, match="filing failed: dr-filing1: no route"):
        complain_of_rounds([good, bad])
    (system,) = lag(ground)
    assert system.datasets[0].good_point == good.point
    assert system.last_round.result == "failed"
    assert ground.round().result == "passed"


def test_a_round_that_was_cut_off_is_told_by_the_next(ground):
    ground.round()
    left = ground.store.replication.rounds("filing")[0].model_copy(update={"id": "round-x", "result": "running"})
    ground.store.replication.put_round(left)
    assert ground.round().result == "passed"
    results = {each.id: each.result for each in ground.store.replication.rounds("filing")}
    assert results["round-x"] == "broken_off"
    assert ("filing", "replication.finished", {"round": "round-x", "result": "broken_off"}) in ground.events


def test_a_system_that_a_run_holds_is_refused_and_named(ground):
    ground.store.runs.submit("run-7", the_plan(), kind="migrate", operator="ben")
    done = ground.round()
    assert (done.result, done.error) == ("refused", "RunInProgress")
    with pytest.raises(RunInProgress, match="filing is held by run run-7"):
        complain_of_rounds([done])
    assert (DR.name, ATTACHMENTS.path) not in ground.world.trees.hosts.trees


def test_rounds_of_a_system_that_lives_at_the_cloud_go_home_and_never_from_home(ground):
    assert RunInHand(ground.world, the_plan()).live().status == "committed"
    trees = ground.world.trees.hosts.trees
    trees[CLOUD.name, ATTACHMENTS.path]["written-at-the-cloud"] = FakeFile(b"paper")
    trees[SOURCE.name, ATTACHMENTS.path]["of-old"] = FakeFile(b"left behind")
    ground.world.client_files()
    done = ground.round()
    assert (done.result, done.point) == ("passed", ""), done.message
    at_cloud = trees[CLOUD.name, ATTACHMENTS.path]
    assert trees[SOURCE.name, ATTACHMENTS.path] == trees[DR.name, ATTACHMENTS.path] == at_cloud
    assert "written-at-the-cloud" in trees[SOURCE.name, ATTACHMENTS.path]
    assert ground.world.databases.rows(REGISTER, SOURCE) == ground.world.acknowledged
    assert ground.world.violations == []
    (system,) = lag(ground)
    assert (system.replicated, system.met, system.datasets) == (False, True, ())


# -- a source that has shrunk


def test_an_empty_source_does_not_empty_its_replica(ground):
    ground.round()
    trees = ground.world.trees.hosts.trees
    before = dict(trees[DR.name, ATTACHMENTS.path])
    trees[SOURCE.name, ATTACHMENTS.path] = {}
    done = ground.round()
    assert (done.result, done.error) == ("refused", "SourceShrank")
    assert trees[DR.name, ATTACHMENTS.path] == before
    refusal = "filing refused: attachments: the source is empty, the replica has 2 entries"
    with pytest.raises(SourceShrank, match=refusal) as raised:
        complain_of_rounds([done])
    assert raised.value.exit_code == 39
    assert "--accept-shrinkage attachments --because WHY" in raised.value.hint
    assert "recovery_point.held" not in ground.kinds()[-3:]


def test_a_word_lets_a_dataset_shrink_and_stands_in_the_evidence(ground):
    ground.round()
    ground.world.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path] = {}
    other = ground.round(datasets=frozenset({"register"}), because="a word for another dataset")
    assert other.result == "refused"
    done = ground.round(datasets=frozenset({"attachments"}), because="the year was archived")
    assert done.result == "passed"
    assert ground.world.trees.hosts.trees[DR.name, ATTACHMENTS.path] == {}
    (said,) = [data for _, kind, data in ground.events if kind == "deviation.recorded"]
    assert (said["by"], said["reason"]) == ("ops", "the year was archived")
    assert "attachments" in said["what"]


def test_a_volume_that_became_empty_waits_for_a_word_too(ground):
    disk = BlockVolume(name="ledger-disk", path="/srv/filing/ledger.img")
    with_disk = SYSTEM.model_copy(update={"datasets": (*SYSTEM.datasets, disk)})
    ground.replication.inventory = ground.inventory.model_copy(update={"systems": {SYSTEM.name: with_disk}})
    content = ground.world.volumes.volumes.content
    content[SOURCE.name, disk.path] = b"entries" + bytes(200_000)
    assert ground.round().result == "passed"
    good = content[DR.name, disk.path]
    content[SOURCE.name, disk.path] = bytes(200_007)
    done = ground.round()
    assert (done.result, done.error) == ("refused", "SourceShrank")
    assert content[DR.name, disk.path] == good
    done = ground.round(datasets=frozenset({"ledger-disk"}), because="a new disk")
    assert done.result == "passed"
    assert content[DR.name, disk.path] == bytes(200_007)
    (said,) = [data for _, kind, data in ground.events if kind == "deviation.recorded"]
    assert (said["what"], said["reason"]) == ("ledger-disk: may shrink", "a new disk")


def an_outlook(source, replica, deleted, size=1000):
    return CopyOutlook(
        dataset="files", entries_source=source, bytes_source=size, entries_replica=replica, entries_deleted=deleted,
        bytes_pending=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outlook", "bytes_before", "words"),
    [
        (an_outlook(1, 1, 0, 0), 0, ""),  # both empty
        (an_outlook(100, 0, 0), 0, ""),  # the first copy
        (an_outlook(1, 2, 1, 0), 0, "the source is empty, the replica has 1 entries"),
        (an_outlook(100, 200, 100), 0, ""),  # half is allowed
        (an_outlook(99, 200, 101), 0, "would delete 101 of 200 entries at the replica (50%, 50% are allowed)"),
        (an_outlook(5, 20, 15), 0, ""),  # so few come and go
        (an_outlook(200, 200, 0, 499), 1000, "(50% less, 50% are allowed)"),
        (an_outlook(200, 200, 0, 500), 1000, ""),
        (an_outlook(200, 200, 0, 0), 1000, "holds no byte any more"),  # every file cut to nothing
    ],
)
def test_shrinkage_by_table(outlook, bytes_before, words):
    found = shrinkage(outlook, share_max=0.5, bytes_before=bytes_before)
    assert words in found
    assert bool(found) is bool(words)


@given(st.integers(2, 10**6), st.integers(0, 10**12))
def test_a_source_without_content_is_never_let_through(replica, before):
    assert shrinkage(an_outlook(1, replica, replica - 1, 0), share_max=1.0, bytes_before=before)


@given(st.integers(SMALL_ENTRIES + 1, 10**5), st.floats(0.01, 0.99), st.data())
def test_what_may_be_deleted_is_bounded_by_the_share(replica, share, data):
    deleted = data.draw(st.integers(SMALL_ENTRIES + 1, replica))
    found = shrinkage(an_outlook(max(2, replica - deleted), replica, deleted), share_max=share)
    assert bool(found) is (deleted / replica > share)


def test_an_error_is_found_again_by_its_name():
    assert type(error_named("SourceShrank", "x", "")) is SourceShrank
    assert error_named("SourceShrank", "x", "").hint
    assert type(error_named("UsageError", "x", "y")) is UsageError


def test_an_unknown_system_is_named_with_those_that_exist(ground):
    with pytest.raises(UsageError, match="no system is called fling") as raised:
        ground.replication.round("fling", by="ops")
    assert SYSTEM.name in raised.value.hint
