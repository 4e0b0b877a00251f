"""Images from recovery points, machines that start from them, and test machines where nothing leads out."""

import pytest

from orchestrator.model import action as actions
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.machine_boot import MachineBoot
from orchestrator.model.outcome import Result
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.steps.drill_measures import trend_of
from orchestrator.steps.handlers import handlers_over
from tests.fakes.drivers import CLOUD, FRONT, SOURCE, SYSTEM, FakeWorld, a_deed, the_plan

DISK = BlockVolume(name="disk", path="/srv/machine/disk.img")
MACHINE = SYSTEM.model_copy(update={"datasets": (DISK,), "services": (), "quiesce": None})


@pytest.fixture
def world():
    made = FakeWorld()
    made.volumes.volumes.content[SOURCE.name, DISK.path] = b"bootable" + bytes(2_000_000)
    act(made, actions.Replicate(source=Side.SOURCE, replica=Side.DR))
    return made


def plan(**spec):
    made = the_plan(MACHINE)
    wanted = {"image": "dataset:disk", "drill_subnet": "closed", "drill_security_group": "closed", **spec}
    return made.model_copy(update={"machines": {CLOUD.name: made.machines[CLOUD.name].model_copy(update=wanted)}})


def act(world, action, **spec):
    deed = a_deed(action, step=action.verb, plan=plan(**spec))
    return handlers_over(world.drivers)(action.verb).act(deed, lambda _: None, world.emit)


def passed(world, action, **spec):
    outcome = act(world, action, **spec)
    assert outcome.passed, outcome.message
    return outcome


def test_a_machine_starts_from_what_dr_held_at_the_point(world):
    point = passed(world, actions.TakeRecoveryPoint())
    seeded = passed(world, actions.SeedImage()).observed["images"]["disk"]
    assert seeded["digest"] == point.observed["datasets"]["disk"]
    assert seeded["needs"][0]["holds"] is None
    passed(world, actions.ProvisionTarget())
    assert seeded["image"] in world.target.images
    [machine] = world.target.machines.values()
    assert machine.state == "running"


def test_the_recovery_point_says_which_image_is_its_own(world):
    point = passed(world, actions.TakeRecoveryPoint()).observed["point"]
    seeded = passed(world, actions.SeedImage()).observed["images"]["disk"]
    kept = RecoveryPoint.model_validate(world.catalogue.get("recovery_point", f"filing/{point}"))
    assert [(each.dataset, each.image, each.digest) for each in kept.images] == [
        ("disk", seeded["image"], seeded["digest"])
    ]
    passed(world, actions.SeedImage())  # once more is the same
    again = RecoveryPoint.model_validate(world.catalogue.get("recovery_point", f"filing/{point}"))
    assert again == kept
    assert len(world.images.snapshots) == len(world.images.made) == 1


def test_what_reads_back_as_something_else_is_no_image(world):
    passed(world, actions.TakeRecoveryPoint())
    world.images.spoiled.add("disk")
    outcome = act(world, actions.SeedImage())
    assert (outcome.result, outcome.error) == (Result.FAILED, "DigestMismatch")
    assert world.images.made == {}
    assert act(world, actions.ProvisionTarget()).error == "PlanningError"


def test_without_a_point_and_without_a_machine_of_its_own_it_says_what_is_missing(world):
    assert "no recovery point" in act(world, actions.SeedImage()).message
    passed(world, actions.TakeRecoveryPoint())
    assert "starts from a volume" in act(world, actions.SeedImage(), image="plain").message
    assert "register is no block volume" in act(world, actions.SeedImage(), image="dataset:register").message


def test_a_test_machine_stands_beside_the_real_one_and_goes(world):
    passed(world, actions.TakeRecoveryPoint())
    passed(world, actions.SeedImage())
    passed(world, actions.ProvisionTarget())
    started = passed(world, actions.StartTestMachine()).observed["machines"]
    [tested] = started.values()
    assert tested["isolated_before"] == tested["isolated_after"] == ["no route out"]
    assert world.isolation.proofs == ["", tested["machine"]]
    assert len(world.target.machines) == 2
    ended = passed(world, actions.EndTestMachine()).observed["machines"]
    assert ended == [tested["machine"]]
    assert passed(world, actions.EndTestMachine()).observed["machines"] == []
    states = {each.id: each.state for each in world.target.machines.values()}
    assert sorted(states.values()) == ["running", "terminated"]


class TestWhatATestMachineShows:
    def started(self, world, **boot):
        volume = DISK.model_copy(update={"boot": MachineBoot(**boot)})
        made = plan()
        system = made.systems[0].system.model_copy(update={"datasets": (volume,)})
        made = made.model_copy(update={"systems": (made.systems[0].model_copy(update={"system": system}),)})
        deed = a_deed(actions.StartTestMachine(), step="start_test_machine", plan=made)
        return handlers_over(world.drivers)("start_test_machine").act(deed, lambda _: None, world.emit)

    @pytest.fixture
    def seeded(self, world):
        passed(world, actions.TakeRecoveryPoint())
        passed(world, actions.SeedImage())
        return world

    def seen(self, world):
        return next(data for kind, data in world.events if kind == "machine.seen")

    def test_it_is_up_by_its_console_which_comes_late_and_is_kept_with_its_screen(self, seeded):
        seeded.machine_console.late = 3
        outcome = self.started(seeded, console="login:")
        assert outcome.passed, outcome.message
        [machine] = outcome.observed["machines"].values()
        seen = self.seen(seeded)
        assert (machine["up"], machine["console"]) == (True, seen["console"]["digest"])
        assert (seen["picture"]["mediaType"], seen["picture"]["digest"]) == ("image/jpeg", machine["picture"])

    def test_it_asks_itself_the_systems_checks_and_its_console_tells(self, seeded):
        [machine] = self.started(seeded).observed["machines"].values()
        assert [(each["name"], each["level"], each["passed"]) for each in machine["checks"]] == [
            ("answers", "technical", True),
            ("attachments-ready", "business", True),
        ]

    def test_one_whose_check_does_not_pass_is_not_up(self, seeded):
        seeded.machine_console.failing = {"attachments-ready"}
        outcome = self.started(seeded, up_within=60.0)
        assert not outcome.passed
        assert "the machine was not up after 65 s: attachments-ready: no answer; its console said" in outcome.message

    def test_one_that_tells_of_no_check_is_not_up(self, seeded):
        seeded.machine_console.mute = True
        outcome = self.started(seeded, up_within=60.0)
        assert "its console tells of no check (cloud-init of its image runs them)" in outcome.message

    def test_one_that_never_says_it_fails_by_name_and_is_on_record(self, seeded):
        seeded.machine_console.text = "Give root password for maintenance"
        seeded.machine_console.dark = True
        outcome = self.started(seeded, console="login:", up_within=60.0)
        assert (outcome.passed, outcome.error) == (False, "DataError")
        assert "its console does not say 'login:'; its console said last: Give root password" in outcome.message
        assert (self.seen(seeded)["up"], self.seen(seeded)["picture"]) == (False, "")


def test_where_something_leads_out_nothing_starts(world):
    passed(world, actions.TakeRecoveryPoint())
    passed(world, actions.SeedImage())
    world.isolation.leak = "route table rtb-1 leads to 0.0.0.0/0"
    outcome = act(world, actions.StartTestMachine())
    assert outcome.error == "TargetForbidden"
    assert world.target.machines == {}
    assert "drill_subnet" in act(world, actions.StartTestMachine(), drill_subnet="").hint


class TestDrillsAtTheCloud:
    def drilled(self, world, **spec):
        passed(world, actions.TakeRecoveryPoint())
        passed(world, actions.SeedImage())
        return act(world, actions.DrillAtCloud(), **spec)

    def test_the_systems_machines_start_closed_in_are_measured_and_gone(self, world):
        outcome = self.drilled(world)
        assert outcome.passed, outcome.message
        kinds = [kind for kind, _ in world.events]
        assert kinds[-8:] == [
            *("drill.begun", "test_machine.started", "machine.seen", "bubble.proved", "test_machine.ended"),
            *("drill.finished", "objective.measured", "objective.measured"),
        ]
        told = dict(world.events)["drill.finished"]
        assert (told["at"], told["isolated"], told["attempts"], told["passed"]) == ("cloud", True, 1, True)
        assert [each["objective"] for each in told["verdicts"]] == ["RTO", "RPO", "MTPD"]
        assert [(each["name"], each["passed"]) for each in told["checks"]] == [
            ("answers", True),
            ("attachments-ready", True),
        ]
        assert {each.state for each in world.target.machines.values()} == {"terminated"}
        assert trend_of(world.catalogue, "filing") == []
        assert [each.passed for each in trend_of(world.catalogue, "filing", at=Side.CLOUD)] == [True]

    def test_where_something_leads_out_nothing_starts_and_the_drill_failed(self, world):
        world.isolation.leak = "route table rtb-1 leads to 0.0.0.0/0"
        outcome = self.drilled(world)
        assert "the drill's network is not closed: route table rtb-1" in outcome.message
        assert (world.target.machines, dict(world.events)["drill.finished"]["passed"]) == ({}, False)

    def test_a_machine_that_an_earlier_try_left_is_ended_first(self, world):
        passed(world, actions.TakeRecoveryPoint())
        passed(world, actions.SeedImage())
        [left] = passed(world, actions.StartTestMachine()).observed["machines"].values()
        assert act(world, actions.DrillAtCloud()).passed
        assert world.target.machines[left["machine"]].state == "terminated"
        assert len(world.target.machines) == 2

    def test_what_starts_from_no_image_of_ours_cannot_be_drilled_there(self, world):
        outcome = self.drilled(world, image="ami-1")
        assert "has no images of one recovery point that machines would start from" in outcome.message


def test_clients_are_made_to_follow_quickly_before_they_are_moved(world):
    front = FRONT
    world.front.settle(front.model_copy(update={"ttl_seconds": 300}), key="slow")
    usual = front.ttl_seconds
    assert 0 < usual < 5  # what the estate wants is quicker than what the runbook would make of it
    for asked, before, after in ((5, 300, usual), (0, usual, 0), (5, 0, 0)):
        observed = passed(world, actions.PrepareFront(ttl_seconds=asked)).observed
        told = observed["ttl_before_seconds"], observed["ttl_seconds"], observed["address"]
        assert told == (before, after, SOURCE.address)
        assert world.front.records[front.name].ttl_seconds == after
    world.front.records.clear()
    assert "no record" in act(world, actions.PrepareFront()).message
