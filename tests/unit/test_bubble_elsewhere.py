"""Drills in a bubble at the cloud: what DR holds is brought to the machine there, and nothing of it stays."""

from dataclasses import replace

import pytest

from orchestrator.foundation.errors import UsageError
from orchestrator.model.site import Side
from orchestrator.model.system import MachineSpec, Placement
from orchestrator.operations.drill_asked import runbook_asked
from orchestrator.steps.bubble_elsewhere import FOLDER, MAKE_PLACES, TAKE_AWAY
from orchestrator.steps.drill_measures import trend_of
from tests.fakes.drivers import ATTACHMENTS, CLOUD, DR, REGISTER
from tests.fakes.trees import FakeFile
from tests.unit.test_bubble_drill import Ground


class GroundWithCloud(Ground):
    point = ""


@pytest.fixture
def ground(tmp_path):
    made = GroundWithCloud(tmp_path)
    made.point = made.held()
    made.pass_time(-50)
    made.world.transports(CLOUD).programs["sh"] = lambda words, stdin: (0, b"", b"")
    held = made.world.trees.points(ATTACHMENTS, DR).find(made.point).path
    for path in (held, f"/clones/{made.point}"):
        made.world.trees.hosts.trees[DR.name, path] = {"a": FakeFile(b"held")}
    drivers = replace(made.world.drivers, transports=made.world.transports)
    made.driller = replace(made.driller, at=Side.CLOUD, drivers=drivers)
    yield made
    made.store.close()


def scripts(ground):
    """What was asked of the machine itself, with the places it was asked for."""
    return [(words[2], words[4:]) for words, _ in ground.world.transports(CLOUD).ran if words[0] == "sh"]


def test_what_dr_holds_comes_to_life_at_the_cloud_and_is_taken_away(ground):
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert (found.why_not, found.at, found.host, found.point) == ((), Side.CLOUD, CLOUD.name, ground.point)
    register, attachments, *_ = ground.bubbles.given
    assert register.held == f"{FOLDER}/clones/{ground.point}"
    assert register.places == (("data", REGISTER.data_directory), ("", f"/clones/{ground.point}"))
    assert attachments.held.startswith(f"{FOLDER}/")
    places = (REGISTER.data_directory, f"/clones/{ground.point}", ATTACHMENTS.path)
    assert scripts(ground) == [(TAKE_AWAY, ()), (MAKE_PLACES, places), (TAKE_AWAY, ())]
    assert "bring" in found.seconds
    catalogue = ground.world.catalogue
    assert [each.drill for each in trend_of(catalogue, "filing", at=Side.CLOUD)] == ["d1"]
    assert trend_of(catalogue, "filing") == [], "what it takes at DR is another matter"


@pytest.mark.parametrize("broken", ["bring", "open", "start"])
def test_whatever_fails_what_was_brought_is_taken_away(ground, broken):
    if broken == "bring":
        ground.world.trees.hosts.full.add(CLOUD.name)
    else:
        ground.bubbles.fails = {broken: "the host says no"}
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert not found.passed
    assert (scripts(ground)[-1], found.left.any) == ((TAKE_AWAY, ()), False)


def test_what_cannot_be_taken_away_fails_the_drill(ground):
    def stuck(words, stdin):
        return (1, b"", b"Device or resource busy") if ground.bubbles.asked[-1:] == ["close"] else (0, b"", b"")

    ground.world.transports(CLOUD).programs["sh"] = stuck
    found = ground.driller.drill("filing", bubble="d1", by="ben")
    assert "the clean-up failed" in found.why_not[-1]
    assert "Device or resource busy" in found.why_not[-1]


class TestWhichRunbook:
    def test_machines_that_start_from_volumes_are_drilled_as_images(self, ground):
        inventory = ground.inventory
        assert runbook_asked(inventory, ["filing"], "dr") == "drill"
        assert runbook_asked(inventory, ["filing"], "cloud") == "drill-on-machine"
        assert runbook_asked(from_image(inventory), ["filing"], "cloud") == "drill-at-cloud"

    def test_both_kinds_are_not_drilled_together(self, ground):
        inventory = from_image(ground.inventory)
        other = inventory.systems["filing"].model_copy(
            update={"name": "other", "placements": dict.fromkeys(Side, Placement(host=DR.name))}
        )
        both = inventory.model_copy(update={"systems": {**inventory.systems, "other": other}})
        with pytest.raises(UsageError, match="machines of filing start from images, those of other systems do not"):
            runbook_asked(both, ["filing", "other"], "cloud")


def from_image(inventory):
    spec = MachineSpec(image="dataset:disk", subnet="s", security_group="g")
    return inventory.model_copy(update={"machines": {CLOUD.name: spec}})
