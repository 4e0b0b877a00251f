"""Recovery points as people handle them: held, released, and pruned without ever taking what somebody needs."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import GateClosed, HostUnreachable, SnapshotError, UsageError
from orchestrator.model.recovery_point import HeldDataset, RecoveryPoint
from orchestrator.model.replication import ReplicationPolicy, Round
from orchestrator.model.retention import RetentionPolicy
from orchestrator.model.site import Side
from tests.fakes.drivers import ATTACHMENTS, DR, SOURCE, the_plan
from tests.fakes.handlers import SimulatedCrash
from tests.fakes.plans import DIGEST
from tests.fakes.replicated import Replicated

LAST_ONE = ReplicationPolicy(retention=RetentionPolicy(last=1, daily=0, weekly=0, monthly=0))


@pytest.fixture
def ground(tmp_path):
    made = Replicated(tmp_path, LAST_ONE)
    yield made
    made.store.close()


def on(ground, host):
    return set(ground.world.trees.hosts.points.get((host.name, ATTACHMENTS.name), {}))


def listed(ground):
    return [each.point.id for each in ground.points.known("filing")]


def test_points_are_told_newest_first_with_where_they_are(ground):
    rounds = [ground.round() for _ in range(3)]
    told = ground.points.known("filing", ask_hosts=True)
    assert [each.point.id for each in told] == [each.point for each in reversed(rounds)]
    assert [each.age_seconds for each in told] == [60.0, 120.0, 180.0]
    assert {each.present for each in told} == {(Side.SOURCE, Side.DR)}
    ground.world.drivers.trees.points(ATTACHMENTS, DR).delete(rounds[0].point)
    assert ground.points.show("filing", rounds[0].point).present == (Side.SOURCE,)


def test_a_prune_removes_what_no_rule_keeps_everywhere_and_on_record(ground):
    rounds = [ground.round() for _ in range(3)]
    dry = ground.points.decide("filing")
    assert dry.remove == (rounds[0].point, rounds[1].point)
    assert len(listed(ground)) == 3  # deciding touches nothing
    assert ground.points.prune("filing", by="ops") == dry
    assert listed(ground) == [rounds[2].point]
    assert on(ground, SOURCE) == on(ground, DR) == {rounds[2].point}
    removed = [(kind, data["point"]) for _, kind, data in ground.events if kind.startswith("point.")]
    assert removed == [
        (kind, each.point) for each in rounds[:2] for kind in ("point.removal_began", "point.removed")
    ]
    assert ground.points.prune("filing", by="ops").remove == ()


def test_a_hold_keeps_a_point_until_it_is_released(ground):
    rounds = [ground.round() for _ in range(2)]
    ground.points.hold("filing", rounds[0].point, hold="audit", by="ops", because="case 7")
    assert ground.points.prune("filing", by="ops").keep[rounds[0].point][0] == "held by audit"
    # It is held on the hosts too, against whoever else might remove it there.
    with pytest.raises(SnapshotError, match="held by audit"):
        ground.world.drivers.trees.points(ATTACHMENTS, DR).delete(rounds[0].point)
    with pytest.raises(UsageError, match="is not held by other"):
        ground.points.release("filing", rounds[0].point, hold="other", by="ops", because="x")
    ground.points.release("filing", rounds[0].point, hold="audit", by="ops", because="closed")
    assert ground.points.prune("filing", by="ops").remove == (rounds[0].point,)
    kinds = [kind for kind in ground.kinds() if kind in ("point.held", "point.released")]
    assert kinds == ["point.held", "point.released"]


def test_a_locked_hold_is_released_by_nobody_before_its_time(ground):
    rounds = [ground.round() for _ in range(2)]
    held = {"hold": "audit", "by": "ops", "because": "case 7"}
    ground.points.hold("filing", rounds[0].point, **held, locked_seconds=3600)
    ground.points.hold("filing", rounds[0].point, **held, locked_seconds=60)  # it becomes no shorter
    ground.pass_time(1800)
    with pytest.raises(GateClosed, match="locked by audit until .*: nobody releases it before"):
        ground.points.release("filing", rounds[0].point, **held)
    assert ground.kinds()[-1] == "point.release_refused"
    assert ground.points.prune("filing", by="ops").keep[rounds[0].point][0] == "held by audit"
    with pytest.raises(SnapshotError, match="held by audit"):
        ground.world.drivers.trees.points(ATTACHMENTS, DR).delete(rounds[0].point)
    ground.pass_time(1801)
    ground.points.release("filing", rounds[0].point, **held)
    assert ground.points.show("filing", rounds[0].point).locked == {}
    assert ground.points.prune("filing", by="ops").remove == (rounds[0].point,)


def test_a_hold_of_a_host_alone_keeps_the_point_everywhere(ground):
    rounds = [ground.round() for _ in range(2)]
    ground.world.drivers.trees.points(ATTACHMENTS, DR).hold(rounds[0].point, "drill-3")
    decision = ground.points.prune("filing", by="ops")
    assert decision.remove == ()
    assert "held by drill-3 at dr" in decision.keep[rounds[0].point]
    assert rounds[0].point in on(ground, SOURCE)


def test_nothing_is_removed_while_a_host_cannot_say_what_is_held_there(ground):
    rounds = [ground.round() for _ in range(2)]
    ground.world.interruption.arm(1, HostUnreachable("dr-filing1: no route"))
    with pytest.raises(HostUnreachable):
        ground.points.prune("filing", by="ops")
    ground.world.interruption.arm()
    assert on(ground, SOURCE) == {each.point for each in rounds}


def test_what_a_run_took_stays_until_its_way_back_is_closed(ground):
    store = ground.store
    first = ground.round()
    store.runs.submit("run-7", the_plan(), kind="migrate", operator="ben")
    point = RecoveryPoint.model_validate(ground.world.catalogue.get("recovery_point", f"filing/{first.point}"))
    later = point.model_copy(update={"id": "rp-run", "at": timestamp(ground.world.clock.now()), "holds": ("run-7",)})
    ground.pass_time(60)
    newest = later.model_copy(update={"id": "rp-newest", "at": timestamp(ground.world.clock.now()), "holds": ()})
    for each in (later, newest):
        ground.world.catalogue.put("recovery_point", f"filing/{each.id}", each.model_dump(mode="json"))
        for host in (SOURCE, DR):
            ground.world.drivers.trees.points(ATTACHMENTS, host).take(each.id)
        ground.pass_time(60)
    decision = ground.points.decide("filing")
    assert decision.keep["rp-run"] == ("held by run run-7, which has not ended",)
    # rp-newest came while the run went on, and the first before it.
    assert "held by run run-7, which has not ended" in decision.keep["rp-newest"]
    assert decision.remove == (first.point,)


def test_a_broken_off_prune_is_finished_by_the_next(ground):
    rounds = [ground.round() for _ in range(4)]
    place = 1
    while True:
        ground.world.interruption.arm(place)
        try:
            ground.points.prune("filing", by="ops")
        except SimulatedCrash:
            ground.world.interruption.arm()
            assert listed(ground)[0] == rounds[3].point
            place += 3
            continue
        break
    ground.world.interruption.arm()
    assert listed(ground) == [rounds[3].point]
    assert on(ground, SOURCE) == on(ground, DR) == {rounds[3].point}


def test_points_of_others_are_not_touched_and_those_of_broken_rounds_are(ground):
    kept = ground.round()
    points = [ground.world.drivers.trees.points(ATTACHMENTS, host) for host in (SOURCE, DR)]
    points[0].take("rp-somebody-else")
    points[0].take("rp-left-over")
    broken = Round(
        id="round-x", system="filing", by="ops", started_at=kept.started_at, result="broken_off", point="rp-left-over"
    )
    ground.store.replication.put_round(broken)
    decision = ground.points.prune("filing", by="ops")
    assert (decision.remove, decision.left_over) == ((), ("rp-left-over",))
    assert on(ground, SOURCE) == {kept.point, "rp-somebody-else"}


def test_a_point_is_named_by_the_beginning_of_its_id(ground):
    done = ground.round()
    assert ground.points.show("filing", done.point[:6]).point.id == done.point
    with pytest.raises(UsageError, match="there is no recovery point rp-nothing"):
        ground.points.show("filing", "rp-nothing")


POLICIES = st.builds(
    RetentionPolicy, last=st.integers(1, 3), hourly=st.integers(0, 3), daily=st.integers(0, 3), weekly=st.just(0),
    monthly=st.just(0),
)  # fmt: skip
# Of each point: hours since the one before, what holds it in the catalogue, by a person, at source, at DR
POINTS = st.lists(
    st.tuples(st.integers(0, 30), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans()), max_size=9
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(POINTS, POLICIES)
def test_no_prune_ever_takes_what_somebody_needs_or_somebody_else_made(tmp_path_factory, drawn, policy):
    ground = Replicated(tmp_path_factory.mktemp("prune"), ReplicationPolicy(retention=policy))
    stores = {Side.SOURCE: ground.points.drivers.trees.points(ATTACHMENTS, SOURCE)}
    stores[Side.DR] = ground.points.drivers.trees.points(ATTACHMENTS, DR)
    ground.world.trees.hosts.trees[DR.name, ATTACHMENTS.path] = {}
    needed, foreign = set(), set()
    for number, (hours, held, by_person, at_source, at_dr, is_foreign) in enumerate(drawn):
        ground.pass_time(hours * 3600 + 1)
        name = f"rp-{number}"
        for store in stores.values():
            store.take(name)
        if is_foreign:
            foreign.add(name)
            continue
        point = RecoveryPoint(
            id=name, system="filing", at=timestamp(ground.world.clock.now()), consistency="group_crash",
            datasets=(HeldDataset(dataset="attachments", digest=DIGEST, mark=name),), sides=(Side.SOURCE, Side.DR),
            holds=("drill-1",) if held else (),
        )  # fmt: skip
        ground.world.catalogue.put("recovery_point", f"filing/{name}", point.model_dump(mode="json"))
        if by_person:
            ground.points.hold("filing", name, hold="audit", by="ops", because="law")
        for side, wanted in ((Side.SOURCE, at_source), (Side.DR, at_dr)):
            if wanted:
                stores[side].hold(name, "transfer-x")
        if held or by_person or at_source or at_dr:
            needed.add(name)
    made = {each.point.id for each in ground.points.known("filing")}
    decision = ground.points.prune("filing", by="ops")
    left = {each.point.id for each in ground.points.known("filing")}
    assert needed | foreign <= on(ground, SOURCE) & on(ground, DR)
    assert needed <= left
    assert left == made - set(decision.remove)
    assert on(ground, SOURCE) == left | foreign
    newest = max(made, key=lambda name: int(name.removeprefix("rp-")), default=None)
    assert newest is None or newest in left
    assert ground.points.decide("filing").remove == ()
    ground.store.close()


def test_an_image_in_the_cloud_and_a_copy_in_the_vault_are_places_of_a_point(ground):
    done = ground.round()
    document = ground.world.catalogue.get("recovery_point", f"filing/{done.point}")
    digest = document["datasets"][0]["digest"]
    image = {"dataset": "disk", "snapshot": "snap-1", "image": "ami-1", "digest": digest, "aggregate": "x"}
    ground.world.catalogue.put("recovery_point", f"filing/{done.point}", {**document, "images": [image]})
    (known,) = ground.points.known("filing")
    assert (known.point.sides, known.copies) == ((Side.SOURCE, Side.DR), ("cloud:ami-1",))
