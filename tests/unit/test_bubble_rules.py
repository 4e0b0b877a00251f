"""Around a drill in a bubble: who may enter, what it must not change, several systems as one service, as a step."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from orchestrator.contracts.cloud_things import CloudThing
from orchestrator.foundation.errors import GateClosed, UsageError
from orchestrator.model.action import DrillInBubble
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import BubbleRules, Dependency, Look, Objectives, Placement
from orchestrator.steps.bubble_drill import BubbleDriller
from orchestrator.steps.bubble_replication import Streams
from orchestrator.steps.bubbling import bubble_id
from orchestrator.steps.drill_measures import choose_points
from orchestrator.steps.handlers import handlers_over
from tests.fakes.drivers import DR, HOSTS, REGISTER, SOURCE, SYSTEM, a_deed, the_plan
from tests.unit.test_bubble_drill import Ground


@pytest.fixture
def ground(tmp_path):
    made = Ground(tmp_path)
    made.held()
    made.pass_time(-50)
    yield made
    made.store.close()


def drill(ground, *systems, **more):
    known = {each.name: each for each in (SYSTEM, *systems)}
    driller = BubbleDriller(known, HOSTS, ground.world.drivers, ground.record, healthy_seconds_max=1)
    return driller.drill(systems[-1].name if systems else "filing", bubble="d1", by="ben", **more)


def test_writes_that_are_lost_on_the_way_back_fail_the_drill(ground):
    ground.bubbles.fails = {"carry": "register: what was written is one thing, and another once it is carried back"}
    found = drill(ground)
    assert found.why_not == (ground.bubbles.fails["carry"],)
    assert ground.bubbles.open_on == {}


def test_the_way_back_is_left_out_where_nobody_wants_it(ground):
    found = drill(ground, way_back=False)
    assert (found.passed, found.carried_back, len(ground.bubbles.given)) == (True, (), 2)


def test_a_clean_up_that_fails_is_told_and_on_record(ground):
    ground.bubbles.fails = {"close": "dr-filing1: /var/lib/skerry/bubbles/d1: Operation not permitted"}
    found = drill(ground)
    assert found.why_not == (f"the clean-up failed: {ground.bubbles.fails['close']}",)
    assert (found.erased_at, ground.kinds()[-1]) == ("", "drill.finished")


class TestPersonalData:
    RULES = BubbleRules(may_enter=("ana", "eva"), erased_after=600)

    def test_who_may_not_enter_is_refused_before_anything(self, ground):
        with pytest.raises(GateClosed, match="ben may not enter a bubble of filing, which holds internal") as caught:
            drill(ground, SYSTEM.model_copy(update={"bubble": self.RULES}))
        assert "ana, eva" in caught.value.hint
        assert ground.bubbles.asked == []

    def test_who_may_is_on_record_and_it_lives_no_longer_than_declared(self, ground):
        rules = self.RULES.model_copy(update={"may_enter": ("ben", "eva")})
        found = drill(ground, SYSTEM.model_copy(update={"bubble": rules}))
        assert (found.passed, found.may_enter, ground.bubbles.seconds_max) == (True, ("ben", "eva"), 600)
        begun = next(data for _, kind, data in ground.events if kind == "drill.begun")
        lives = datetime.fromisoformat(begun["erased_by"]) - datetime.fromisoformat(begun["begun_at"])
        assert lives.total_seconds() == 600
        assert begun["may_enter"] == ["ben", "eva"]


class TestProductionIsLookedAt:
    def test_what_the_estate_names_must_show_the_same_afterwards(self, ground):
        transport = ground.world.transports(SOURCE)
        tickets = iter([b"3 open", b"4 open"])
        transport.programs["tickets"] = lambda words, stdin: (0, next(tickets), b"")
        looks = (Look(name="tickets", host=SOURCE.name, words=("tickets", "--open")),)
        found = drill(ground, SYSTEM.model_copy(update={"looks": looks}))
        assert found.production_changed == ("tickets of filing was '3 open' and is '4 open'",)
        assert not found.passed

    def test_what_appears_in_the_cloud_for_the_system_is_a_change(self, ground):
        there: list[CloudThing] = []

        class Growing:
            """With each look there is one thing more of filing, and one of archive."""

            def all(self) -> list[CloudThing]:
                for system in ("filing", "archive"):
                    tags = {"skerry:system": system}
                    there.append(CloudThing(kind="machine", id=f"i-{len(there)}", state="running", tags=tags))
                return there

        driller = replace(ground.driller, drivers=replace(ground.world.drivers, cloud_things=Growing()))
        found = driller.drill("filing", bubble="d1", by="ben")
        assert found.production_changed == ("cloud machine i-2 was None and is 'running'",)


def test_a_stream_that_stops_meanwhile_is_named(ground):
    streams = Streams([SYSTEM], HOSTS, ground.world.drivers)
    streams.begin()
    assert streams.during() == []
    ground.world.databases.shut_down(REGISTER, SOURCE)
    assert streams.during() == ["register: replication stopped meanwhile"]
    assert streams.after()[-1] == "register: replication does not go on after the drill"


def permits(**more):
    """A system that needs filing, with its replica on the same host."""
    needs = (Dependency(system="filing"),)
    return SYSTEM.model_copy(update={"name": "permits", "depends_on": needs, **more})


def hold_permits_too(ground, *, run="run-9"):
    """A point of permits, and the one of filing, held by one run."""
    for name in ("filing", "permits"):
        document = ground.world.catalogue.list("recovery_point", prefix="filing/", limit=1)[0][1]
        point = RecoveryPoint.model_validate(document).model_copy(update={"system": name, "holds": (run,)})
        ground.world.catalogue.put("recovery_point", f"{name}/{point.id}", point.model_dump(mode="json"))
    return point.id


class TestSeveralSystems:
    def test_what_a_system_needs_starts_before_it_in_one_bubble(self, ground):
        point = hold_permits_too(ground)
        found = drill(ground, permits(), point="latest_common")
        assert found.passed, found.why_not
        assert [(each.system, each.point) for each in found.with_systems] == [("filing", point)]
        started = [each for each in ground.bubbles.asked if each.startswith(("start", "check", "open"))]
        assert started == ["open", *["start filing-db", "start filing-app filing-mail", "check"] * 2]
        names = [each.name for each in ground.bubbles.given]
        assert names[:4] == ["register", "attachments", "register-too", "attachments-too"]
        assert [each.objective for each in found.with_systems[0].verdicts] == ["RTO", "RPO", "MTPD"]

    def test_the_service_is_measured_by_its_last_system_its_oldest_point_and_its_slowest_work(self, ground):
        point = hold_permits_too(ground)
        document = ground.world.catalogue.get("recovery_point", f"filing/{point}")
        an_hour = {"at": (datetime.fromisoformat(document["at"]) - timedelta(hours=1)).isoformat()}
        ground.world.catalogue.put("recovery_point", f"filing/{point}", {**document, **an_hour})
        lax, strict = ({"rto": 60, "rpo": rpo, "wrt": wrt, "mtpd": 7200} for rpo, wrt in ((7200, 600), (60, 30)))
        found = drill(
            ground,
            SYSTEM.model_copy(update={"objectives": Objectives(**lax)}),
            permits(objectives=Objectives(**strict)),
            point="latest_common",
        )
        assert all(each.met for each in (*found.verdicts, *found.with_systems[0].verdicts))
        measured = {each.objective: each for each in found.service}
        assert measured["RPO"].actual_seconds > 3600
        assert measured["MTPD"].actual_seconds == pytest.approx(measured["RTO"].actual_seconds + 600, abs=0.01)
        assert [why for why in found.why_not if why.startswith("the service: RPO missed: 36")] == list(found.why_not)

    def test_a_service_of_which_a_part_never_came_back_is_not_measured(self, ground):
        hold_permits_too(ground)
        ground.bubbles.wrong = [["status 503"]] * 100
        found = drill(ground, permits(), point="latest_common")
        assert (found.service, found.with_systems[0].verdicts, found.operational_at) == ((), (), "")

    def test_what_has_its_replica_elsewhere_is_left_out_and_named(self, ground):
        hold_permits_too(ground)
        placements = {**SYSTEM.placements, Side.DR: Placement(host=SOURCE.name)}
        away = SYSTEM.model_copy(update={"placements": placements})
        found = drill(ground, away, permits())
        assert (found.with_systems, found.without_systems) == ((), ("filing",))

    def test_a_moment_that_no_run_held_of_all_is_refused(self, ground):
        with pytest.raises(UsageError, match="no run has held a point of each of filing, permits"):
            choose_points(ground.world.drivers, permits(), [SYSTEM], "latest_common")

    def test_the_newest_point_with_the_application_held_still(self, ground):
        found = choose_points(ground.world.drivers, SYSTEM, [], "latest_app_consistent")
        assert found["filing"].consistency == "group_app"


class TestAsAStep:
    def deed(self, **action):
        return a_deed(DrillInBubble(**action), plan=the_plan(), step="bubble")

    def act(self, ground, deed):
        handler = handlers_over(ground.world.drivers)("drill_in_bubble")
        return handler.act(deed, lambda progress: None, ground.world.tell)

    def test_it_tells_what_gates_ask_for(self, ground):
        outcome = self.act(ground, self.deed())
        assert outcome.passed, outcome.message
        assert {key: outcome.observed[key] for key in ("isolated", "left_behind", "production_changed")} == {
            "isolated": True, "left_behind": False, "production_changed": 0,
        }  # fmt: skip
        assert outcome.observed["replication_streamed"]
        told = ["drill.begun", "bubble.proved", "drill.finished", "objective.measured", "objective.measured"]
        assert [kind for kind, _ in ground.world.events] == told
        assert [data["objective"] for _, data in ground.world.events[-2:]] == ["rto", "rpo"]

    def test_what_an_earlier_try_left_is_closed_first(self, ground):
        deed = self.deed()
        ground.bubbles.open_on[DR.name] = bubble_id(deed)
        assert self.act(ground, deed).passed
        assert ground.bubbles.asked[0] == "close"

    def test_a_bubble_of_somebody_else_is_waited_for(self, ground):
        ground.bubbles.open_on[DR.name] = "other"
        outcome = self.act(ground, self.deed())
        assert (outcome.passed, outcome.retryable) == (False, True)

    def test_a_drill_that_fails_is_not_tried_again_blindly(self, ground):
        ground.bubbles.fails = {"start": "filing-db: no such unit"}
        outcome = self.act(ground, self.deed())
        assert (outcome.passed, outcome.retryable, outcome.message) == (False, False, "filing-db: no such unit")
