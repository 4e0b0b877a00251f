"""Drills in a bubble: proved isolated before anything starts, measured, and taken away whatever came of it."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from orchestrator.cli import drill as cli_drill
from orchestrator.contracts.bubbles import Leftovers
from orchestrator.foundation.errors import DataError, Interrupted, RunFailed, UsageError
from orchestrator.model.drill import INJECTS, InjectName
from orchestrator.steps.bubble_drill import BubbleDriller
from orchestrator.steps.bubble_result import complain
from orchestrator.steps.drill_measures import choose_point, points_at_dr
from orchestrator.steps.inject_turns import in_turn
from orchestrator.steps.injects import SLOW_READ_SECONDS, Inject
from tests.fakes.drivers import ATTACHMENTS, DR, REGISTER, SOURCE, SYSTEM
from tests.fakes.replicated import Replicated
from tests.fakes.trees import FakeFile

WITH_CREDENTIAL = SYSTEM.model_copy(
    update={"datasets": (REGISTER.model_copy(update={"replication_password": "env:SECRET"}), ATTACHMENTS)}
)


class Ground(Replicated):
    """A system with a recovery point at DR, and a clone of its cluster there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bubbles, self.found = self.world.bubbles, self.world.found_within
        self.driller = BubbleDriller(
            self.inventory.systems, self.inventory.hosts, self.world.drivers, self.record, healthy_seconds_max=1
        )

    def held(self) -> str:
        done = self.round()
        self.world.databases.clones[REGISTER.name, DR.name, done.point] = "sha256:" + "0" * 64
        return done.point

    def drill_with_credential(self, **more):
        driller = replace(self.driller, systems={"filing": WITH_CREDENTIAL})
        return driller.drill("filing", bubble="d1", by="ben", **more)


@pytest.fixture
def ground(tmp_path):
    made = Ground(tmp_path)
    yield made
    made.store.close()


def test_a_held_point_is_started_checked_and_taken_away(ground):
    point = ground.held()
    ground.pass_time(-50)
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert (found.passed, found.point, found.isolated, found.left.any) == (True, point, True, False)
    begun = ["open", "prove", "start filing-db", "start filing-app filing-mail", "check"]
    back = ["stop filing-mail filing-app", "carry register to /run/skerry-way-back/register", "close"]
    assert ground.bubbles.asked == ["look", "look", *begun, *back, "look", "look"]
    assert [each.objective for each in found.verdicts] == ["RTO", "RPO", "MTPD"]
    assert ground.kinds()[-3:] == ["drill.begun", "bubble.proved", "drill.finished"]
    register, attachments, *second = ground.bubbles.given
    assert [each.places for each in second] == [
        (("", f"/run/skerry-way-back/{name}"),) for name in ("register", "attachments")
    ]
    assert [each.dataset for each in found.carried_back] == ["register", "attachments"]
    assert [(each.when, each.streaming) for each in found.replication] == [
        (when, True) for when in ("before", "during", "after")
    ]
    assert register.places == (("data", REGISTER.data_directory), ("", f"/clones/{point}"))
    assert attachments.places == (("", ATTACHMENTS.path),)
    assert [each.data for each in ground.bubbles.clusters] == [REGISTER.data_directory]
    complain(found)


def test_every_host_service_and_name_of_the_estate_is_tried(ground):
    ground.held()
    ground.driller.drill("filing", bubble="d1", by="ben")
    tried = {(each.address, each.port) for each in ground.bubbles.targets}
    for host in ground.inventory.hosts.values():
        assert {(host.address, port) for port in (22, 25, 53, 5432, 8025, 8080)} <= tried
    assert ("169.254.169.254", 80) in tried


def test_nothing_starts_in_a_bubble_from_which_production_is_reached(ground):
    ground.held()
    ground.bubbles.reached = ("source-filing1",)
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert "not isolated, so nothing was started in it: network source-filing1" in found.why_not[0]
    assert not any(each.startswith("start") for each in ground.bubbles.asked)
    assert ground.bubbles.open_on == {}
    with pytest.raises(RunFailed, match="not isolated"):
        complain(found)


@pytest.mark.parametrize("broken", ["open", "prove", "start", "check"])
def test_whatever_fails_the_bubble_is_closed_and_it_is_on_record(ground, broken):
    ground.held()
    ground.bubbles.fails = {broken: "the host says no"}
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert found.why_not == ("the host says no",)
    assert "close" in ground.bubbles.asked
    assert ground.kinds()[-1] == "drill.finished"


def test_services_may_take_their_time_and_it_counts(ground):
    ground.held()
    ground.pass_time(-55)
    ground.bubbles.wrong = [["status 503"], ["status 503"]]
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert found.passed
    assert ground.bubbles.asked.count("check") == 3
    assert found.verdicts[0].actual_seconds >= 0.4


def test_checks_that_never_pass_fail_the_drill(ground):
    ground.held()
    ground.bubbles.wrong = [["status 503"]] * 10_000
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert "answers: status 503" in found.why_not[0]
    assert (found.operational_at, found.verdicts) == ("", ()), "what never came back has no recovery time"


def test_earlier_drills_stand_beside_a_result_without_their_own(ground):
    ground.held()
    ground.pass_time(-50)
    for name in ("d1", "d2", "d3"):
        found = ground.driller.drill("filing", bubble=name, by="ben")
        ground.pass_time(1)
    assert [each.drill for each in found.trend] == ["d1", "d2"]
    assert ground.world.catalogue.get("drill_result", "filing/d3")["trend"] == []


def test_a_point_older_than_the_objective_is_a_miss(ground):
    ground.held()
    ground.pass_time(3600)
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert [each.met for each in found.verdicts] == [True, False, True]
    assert "RPO missed: 36" in found.why_not[0]


@pytest.mark.parametrize("asked", [{"older_than_seconds": 60.0}, {"point": "rp-"}])
def test_the_age_of_a_point_that_somebody_named_is_told_and_fails_no_drill(ground, asked):
    ground.held()
    ground.pass_time(3600)
    found = ground.driller.drill("filing", bubble="d1", by="ben", **asked)
    assert [each.met for each in found.verdicts] == [True, False, True]
    assert (found.passed, found.point_named) == (True, True)


def test_production_that_changed_meanwhile_and_what_is_left_behind_fail_the_drill(ground):
    ground.held()
    ground.bubbles.changes = True
    ground.bubbles.left = Leftovers(processes=(4711,))
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert any("production changed meanwhile: dr-filing1: open tcp was" in each for each in found.why_not)
    assert any("left something behind" in each and "4711" in each for each in found.why_not)


def test_held_data_that_is_not_what_was_proved_is_not_started(ground):
    point = ground.held()
    ground.found["attachments"] = "sha256:other"
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert f"attachments: what dr-filing1 holds as {point} is sha256:other once it is opened" in found.why_not[0]
    assert not any(each.startswith("start") for each in ground.bubbles.asked)


def test_a_database_that_opens_as_something_else_serves_nobody(ground):
    ground.held()
    ground.found["register"] = "sha256:other"
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert "register: what dr-filing1 holds" in found.why_not[0]
    assert [each for each in ground.bubbles.asked if each.startswith("start")] == ["start filing-db"]


def test_a_bubble_that_was_killed_is_not_waited_for(ground):
    ground.held()
    ground.found["register"] = "killed"
    driller = replace(ground.driller, healthy_seconds_max=3600)
    assert driller.drill("filing", bubble="d1", by="ben").why_not == ("there is no bubble d1",)


@pytest.mark.parametrize("at", ["open", "prove", "start filing-db", "check", "close"])
@pytest.mark.parametrize("inject", [None, "dead_primary"])
def test_a_drill_that_is_cut_off_takes_its_bubble_away_and_is_on_record(ground, at, inject):
    ground.held()
    ground.bubbles.interrupts = at
    found = ground.driller.drill("filing", bubble="d1", by="ben", inject=inject)
    assert (found.cut_off, found.passed, ground.bubbles.open_on) == (True, False, {})
    assert (ground.kinds()[-1], ground.bubbles.asked[-2:]) == ("drill.finished", ["look", "look"])
    assert ground.world.catalogue.list("drill_inject", prefix="filing/") == [], "its turn comes again"
    with pytest.raises(Interrupted, match="filing: .*cut off in its bubble.*; nothing of it is left"):
        complain(found)
    assert not ground.driller.drill("filing", bubble="d2", by="ben").cut_off


def test_a_database_that_ended_is_not_waited_for(ground):
    ground.held()
    ground.found["register"], ground.bubbles.server_runs = "closed", False
    driller = replace(ground.driller, healthy_seconds_max=3600)
    found = driller.drill("filing", bubble="d1", by="ben")
    assert found.why_not == ("register: no server runs on its data; filing-db said: nothing",)


def test_a_file_of_a_cluster_that_decayed_is_named_before_recovery_touches_it(ground):
    ground.held()
    ground.bubbles.decayed = 'pg_verifybackup: error: checksum mismatch for file "base/5/1255"'
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert found.why_not == ('register: pg_verifybackup: error: checksum mismatch for file "base/5/1255"',)


class TestInjects:
    @pytest.mark.parametrize(
        ("inject", "finding"),
        [("tampered_file", "attachments"), ("wrong_mapping", "attachments"), ("stopped_dependency", "register")],
    )
    def test_what_is_found_and_named_passes(self, ground, inject, finding):
        ground.held()
        ground.found[finding] = "closed" if inject == "stopped_dependency" else "sha256:other"
        found = ground.driller.drill("filing", bubble="d1", by="ben", inject=inject)
        assert found.passed
        assert finding in found.found

    def test_what_nobody_names_fails(self, ground):
        ground.held()
        found = ground.driller.drill("filing", bubble="d1", by="ben", inject="tampered_file")
        assert "tampered_file was put into the drill (attachments), and nothing named it" in found.why_not[0]
        assert ground.bubbles.commands[0][-1] == ATTACHMENTS.path

    def test_a_wall_that_is_open_finds_no_inject(self, ground):
        """The name of a dataset in the path of a hole in the wall is no finding of what was broken."""
        ground.held()
        ground.bubbles.reached = ("dr-filing1",)
        found = ground.driller.drill("filing", bubble="d1", by="ben", inject="quota_full")
        assert not found.passed
        assert [each.bytes_max for each in ground.bubbles.given] == [65536, 65536]

    @pytest.mark.parametrize(
        ("inject", "words"),
        [
            ("missing_point", "register: what is held is not there: "),
            ("expired_credential", "the password of replicator expired at 2000-01-01"),
            ("dead_primary", "source-filing1 could not be looked at: source-filing1: connection refused"),
            ("dead_link", "attachments: the copy broke off, 1 of 2 files came: timeout"),
            ("slow_disk", "is too slow to recover on: register: a read takes 0.40 s"),
            ("quota_full", "has no room to recover on: register: 64.0 KiB are left, attachments: 64.0 KiB are left"),
            ("clock_off", "the clock of dr-filing1 and the one here differ by 3600 s"),
        ],
    )
    def test_what_is_broken_in_the_drills_world_is_named(self, ground, inject, words):
        ground.held()
        ground.pass_time(-50)
        ground.bubbles.read_seconds = SLOW_READ_SECONDS if inject == "slow_disk" else 0.001
        found = ground.drill_with_credential(inject=inject)
        assert (found.passed, found.inject) == (True, inject)
        assert words in found.found
        assert ground.bubbles.open_on == {}

    def test_the_system_recovers_while_its_primary_is_dead(self, ground):
        ground.held()
        ground.pass_time(-50)
        found = ground.driller.drill("filing", bubble="d1", by="ben", inject="dead_primary")
        assert found.operational_at
        ground.bubbles.wrong = [["status 503"]] * 10_000
        found = ground.driller.drill("filing", bubble="d2", by="ben", inject="dead_primary")
        assert not found.passed
        assert "status 503" in found.why_not[0]

    def test_a_replica_that_is_behind_is_told_by_the_point_it_stands_at(self, ground):
        ground.held()
        ground.world.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path]["new"] = FakeFile(b"filed meanwhile")
        older, newest = points_at_dr(ground.world.catalogue, "filing")[0], ground.held()
        ground.pass_time(-50)
        ground.found["attachments"] = older.digests["attachments"]
        found = ground.driller.drill("filing", bubble="d1", by="ben", inject="replica_behind")
        assert found.passed
        assert f"dr-filing1 is behind: what it holds as {newest}" in found.found
        assert f"is what {older.id} held" in found.found
        assert older.id in ground.bubbles.given[1].held

    def test_a_replica_cannot_be_behind_where_nothing_changed(self, ground):
        ground.held()
        ground.held()
        with pytest.raises(UsageError, match="in which attachments was another, so it cannot be behind"):
            ground.driller.drill("filing", bubble="d1", by="ben", inject="replica_behind")

    def test_the_first_run_that_finds_an_inject_proves_it(self, ground):
        ground.held()
        ground.pass_time(-50)
        kept = partial(ground.world.catalogue.get, "drill_inject", "filing/clock_off")
        ground.driller.drill("filing", bubble="d1", by="ben", inject="clock_off")
        assert (kept()["proved_by"], ground.kinds().count("inject.proved")) == ("d1", 1)
        ground.driller.drill("filing", bubble="d2", by="ben", inject="clock_off")
        assert (kept()["drill"], kept()["proved_by"], ground.kinds().count("inject.proved")) == ("d2", "d1", 1)

    def test_an_inject_that_was_not_found_is_not_proved(self, ground):
        ground.held()
        ground.driller.drill("filing", bubble="d1", by="ben", inject="tampered_file")
        assert ground.world.catalogue.get("drill_inject", "filing/tampered_file")["proved_by"] == ""
        assert "inject.proved" not in ground.kinds()

    def test_every_inject_comes_up_once_before_any_does_again(self):
        last: dict[InjectName, str] = {}
        for number in range(2 * len(INJECTS)):
            last[in_turn(WITH_CREDENTIAL, last)[0]] = f"2026-11-{number + 1:02d}T00:00:00.000Z"
            assert number + 1 < len(INJECTS) or set(last) == set(INJECTS)
        assert in_turn(SYSTEM, {}, ["expired_credential", "slow_disk"]) == ["slow_disk"]

    def test_the_command_line_knows_all_of_them(self):
        assert cli_drill.INJECTS == INJECTS

    def test_what_a_system_does_not_have_cannot_be_broken(self, ground):
        bare = SYSTEM.model_copy(update={"datasets": (REGISTER,)})
        with pytest.raises(UsageError, match="filing has no file tree, so tampered_file cannot"):
            Inject("tampered_file", bare)


def test_a_point_without_a_clone_of_its_cluster_is_refused_before_anything(ground):
    ground.round()
    with pytest.raises(DataError, match="keeps no clone of rp-") as caught:
        ground.driller.drill("filing", bubble="d1", by="ben")
    assert "points: clone at register" in caught.value.hint
    assert ground.bubbles.asked == []


def test_which_point_is_meant(ground):
    points = [ground.held() for _ in range(3)]  # a minute apart
    drivers = ground.world.drivers
    ground.world.clock.pass_time(timedelta(seconds=-30))
    assert choose_point(drivers, SYSTEM, "latest").id == points[2]
    assert choose_point(drivers, SYSTEM, points[0]).id == points[0]
    assert choose_point(drivers, SYSTEM, "latest", older_than_seconds=60).id == points[1]
    lax = SYSTEM.model_copy(update={"objectives": SYSTEM.objectives.model_copy(update={"rpo": 120})})
    assert choose_point(drivers, lax, "worst").id == points[1]
    with pytest.raises(UsageError, match="no recovery point at DR is sound and at least 1 d old"):
        choose_point(drivers, SYSTEM, "latest", older_than_seconds=86400)
    ground.world.clock.pass_time(timedelta(days=1))
    with pytest.raises(UsageError, match="no recovery point at DR is within the RPO of 2 min"):
        choose_point(drivers, lax, "worst")
    with pytest.raises(UsageError, match="more than one recovery point begins with rp-"):
        choose_point(drivers, SYSTEM, "rp-")
