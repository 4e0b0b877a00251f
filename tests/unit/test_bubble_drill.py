"""Drills in a bubble: proved isolated before anything starts, measured, and taken away whatever came of it."""

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.bubbles import Leftovers
from orchestrator.foundation.errors import DataError, RunFailed, UsageError
from orchestrator.operations.bubble import BubbleDriller, choose_point, complain
from tests.fakes.bubbles import FakeBubbles
from tests.fakes.drivers import ATTACHMENTS, DR, REGISTER, SYSTEM
from tests.fakes.replicated import Replicated
from tests.fakes.trees import FakeFile

CHECKS = Path(__file__).parents[2] / "playbooks" / "files" / "checks.py"


class Ground(Replicated):
    """A system with a recovery point at DR, and a clone of its cluster there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bubbles = FakeBubbles()
        self.driller = BubbleDriller(self.inventory, self.world.drivers, self.bubbles, self.record, CHECKS)

    def held(self) -> str:
        done = self.round()
        self.world.databases.clones[REGISTER.name, DR.name, done.point] = "sha256:" + "0" * 64
        return done.point


@pytest.fixture
def ground(tmp_path):
    made = Ground(tmp_path)
    yield made
    made.store.close()


def test_a_held_point_is_started_checked_and_taken_away(ground):
    point = ground.held()
    ground.pass_time(-50)
    found = ground.driller.drill("filing", by="ben")
    assert (found.passed, found.point, found.isolated, found.left.any) == (True, point, True, False)
    started = "start filing-db filing-app filing-mail"
    assert ground.bubbles.asked == ["look", "look", "open", "prove", started, "check", "close", "look", "look"]
    assert [each.objective for each in found.verdicts] == ["RTO", "RPO", "MTPD"]
    assert ground.kinds()[-3:] == ["drill.begun", "bubble.proved", "drill.finished"]
    register, attachments = ground.bubbles.given
    assert register.places == (("data", REGISTER.data_directory), ("", f"/clones/{point}"))
    assert attachments.places == (("", ATTACHMENTS.path),)
    assert [each.data for each in ground.bubbles.clusters] == [REGISTER.data_directory]
    complain(found)


def test_every_host_service_and_name_of_the_estate_is_tried(ground):
    ground.held()
    ground.driller.drill("filing", by="ben")
    tried = {(each.address, each.port) for each in ground.bubbles.targets}
    for host in ground.inventory.hosts.values():
        assert {(host.address, port) for port in (22, 25, 53, 5432, 8025, 8080)} <= tried
    assert ("169.254.169.254", 80) in tried


def test_nothing_starts_in_a_bubble_from_which_production_is_reached(ground):
    ground.held()
    ground.bubbles.reached = ("source-filing1",)
    found = ground.driller.drill("filing", by="ben")
    assert "not isolated, so nothing was started in it: network source-filing1" in found.why_not[0]
    assert not any(each.startswith("start") for each in ground.bubbles.asked)
    assert ground.bubbles.open_on == {}
    with pytest.raises(RunFailed, match="not isolated"):
        complain(found)


@pytest.mark.parametrize("broken", ["open", "prove", "start", "check"])
def test_whatever_fails_the_bubble_is_closed_and_it_is_on_record(ground, broken):
    ground.held()
    ground.bubbles.fails = {broken: "the host says no"}
    found = ground.driller.drill("filing", by="ben")
    assert found.why_not == ("the host says no",)
    assert "close" in ground.bubbles.asked
    assert ground.kinds()[-1] == "drill.finished"


def test_services_may_take_their_time_and_it_counts(ground):
    ground.held()
    ground.pass_time(-55)
    ground.bubbles.wrong = [["status 503"], ["status 503"]]
    found = ground.driller.drill("filing", by="ben")
    assert found.passed
    assert ground.bubbles.asked.count("check") == 3
    assert found.verdicts[0].actual_seconds >= 0.4


def test_checks_that_never_pass_fail_the_drill(ground):
    ground.held()
    ground.bubbles.wrong = [["status 503"]] * 10_000
    found = ground.driller.drill("filing", by="ben")
    assert "answers: status 503" in found.why_not[0]


def test_a_point_older_than_the_objective_is_a_miss(ground):
    ground.held()
    ground.pass_time(3600)
    found = ground.driller.drill("filing", by="ben")
    assert [each.met for each in found.verdicts] == [True, False, True]
    assert "RPO missed: 36" in found.why_not[0]


def test_production_that_changed_meanwhile_and_what_is_left_behind_fail_the_drill(ground):
    ground.held()
    ground.bubbles.changes = True
    ground.bubbles.left = Leftovers(processes=(4711,))
    found = ground.driller.drill("filing", by="ben")
    assert any("production changed meanwhile: dr-filing1: open tcp was" in each for each in found.why_not)
    assert any("left something behind" in each and "4711" in each for each in found.why_not)


def test_held_data_that_is_not_what_was_proved_is_not_started(ground):
    point = ground.held()
    _, files = ground.world.trees.hosts.points[DR.name, ATTACHMENTS.name][point]
    files["filing-1"] = FakeFile(b"decayed")
    found = ground.driller.drill("filing", by="ben")
    assert f"as {point}, which was sha256:" in found.why_not[0]
    assert "open" not in ground.bubbles.asked


def test_a_point_without_a_clone_of_its_cluster_is_refused_before_anything(ground):
    ground.round()
    with pytest.raises(DataError, match="keeps no clone of rp-") as caught:
        ground.driller.drill("filing", by="ben")
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
    with pytest.raises(UsageError, match="no recovery point at DR is latest and at least 86400 s old"):
        choose_point(drivers, SYSTEM, "latest", older_than_seconds=86400)
    with pytest.raises(UsageError, match="more than one recovery point begins with rp-"):
        choose_point(drivers, SYSTEM, "rp-")
