"""A system with a block volume: replicated hop by hop, held in a recovery point, compared, carried back."""

import pytest

from orchestrator.model import action as actions
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.outcome import Result
from orchestrator.model.site import Side
from orchestrator.steps.handlers import handlers_over
from tests.fakes.drivers import ATTACHMENTS, CLOUD, DR, REGISTER, SOURCE, SYSTEM, FakeWorld, a_deed, the_plan
from tests.fakes.trees import FakeFile

LEDGER = BlockVolume(name="ledger-disk", path="/srv/filing/ledger.img")
WITH_VOLUME = SYSTEM.model_copy(update={"datasets": (REGISTER, ATTACHMENTS, LEDGER)})
TO_DR = actions.Replicate(source=Side.SOURCE, replica=Side.DR)
TO_CLOUD = actions.Replicate(source=Side.DR, replica=Side.CLOUD)
SEED = actions.Replicate(source=Side.DR, replica=Side.CLOUD, read="point")
ALL_SIDES = actions.VerifyDigests(sides=(Side.SOURCE, Side.DR, Side.CLOUD))


@pytest.fixture
def world():
    made = FakeWorld()
    made.volumes.volumes.content[SOURCE.name, LEDGER.path] = b"entries" + bytes(200_000)
    return made


def act(world, action, ticket=0):
    deed = a_deed(action, step=action.verb, plan=the_plan(WITH_VOLUME)).model_copy(update={"ticket": ticket})
    return handlers_over(world.drivers)(action.verb).act(deed, lambda _: None, world.emit)


def passed(world, action):
    outcome = act(world, action)
    assert outcome.passed, outcome.message
    return outcome


def content(world, host):
    return world.volumes.volumes.content[host.name, LEDGER.path]


def test_a_volume_goes_from_source_over_dr_to_the_cloud(world):
    passed(world, actions.Preflight())
    assert passed(world, TO_DR).observed["datasets"]["ledger-disk"]["method"] == "block_delta"
    passed(world, actions.ProvisionTarget())
    passed(world, TO_CLOUD)
    assert content(world, CLOUD) == content(world, DR) == content(world, SOURCE)
    outcome = passed(world, ALL_SIDES)
    assert outcome.observed["equal"]
    assert "ledger-disk" in [data["dataset"] for kind, data in world.events if kind == "digests.compared"]


def test_in_a_run_too_no_dataset_loses_most_of_what_its_replica_holds(world):
    trees = world.trees.hosts.trees
    trees[SOURCE.name, ATTACHMENTS.path] = {str(number): FakeFile(b"scan") for number in range(60)}
    passed(world, TO_DR)
    before = dict(trees[DR.name, ATTACHMENTS.path]), content(world, DR)
    trees[SOURCE.name, ATTACHMENTS.path] = {"0": FakeFile(b"scan"), "1": FakeFile(b"scan")}
    outcome = act(world, TO_DR, ticket=7)
    assert outcome.error == "SourceShrank"
    assert "attachments, source-filing1 to dr-filing1: the copy would delete 58 of 60 entries" in outcome.message
    trees[SOURCE.name, ATTACHMENTS.path] = before[0]
    world.volumes.volumes.content[SOURCE.name, LEDGER.path] = bytes(200_007)
    assert act(world, TO_DR, ticket=8).error == "SourceShrank"
    assert (trees[DR.name, ATTACHMENTS.path], content(world, DR)) == before


def test_a_byte_that_differs_is_found_and_named(world):
    passed(world, TO_DR)
    world.volumes.volumes.content[DR.name, LEDGER.path] = b"Entries" + bytes(200_000)
    outcome = act(world, actions.VerifyDigests(sides=(Side.SOURCE, Side.DR)))
    assert (outcome.result, outcome.error) == (Result.FAILED, "DigestMismatch")
    assert "ledger-disk differs between source and dr: bytes 0 to 65535" in outcome.message


def test_a_recovery_point_holds_the_volume_at_both_sides(world):
    passed(world, TO_DR)
    outcome = passed(world, actions.TakeRecoveryPoint())
    assert set(outcome.observed["datasets"]) == {"register", "attachments", "ledger-disk"}
    point = outcome.observed["point"]
    for host in (SOURCE, DR):
        assert [held.id for held in world.volumes.points(LEDGER, host).list()] == [point]


def test_the_cloud_is_seeded_with_what_the_point_holds(world):
    passed(world, TO_DR)
    held = content(world, SOURCE)
    passed(world, actions.TakeRecoveryPoint())
    world.volumes.volumes.content[DR.name, LEDGER.path] = b"later" + bytes(200_000)
    passed(world, actions.ProvisionTarget())
    passed(world, SEED)
    assert content(world, CLOUD) == held


def test_what_was_written_at_the_cloud_is_carried_back(world):
    passed(world, TO_DR)
    passed(world, actions.ProvisionTarget())
    passed(world, TO_CLOUD)
    for host in (SOURCE, CLOUD):
        world.serving[host.name].clear()
    world.fenced[SOURCE.name] = world.authority.read(SYSTEM.name).number
    passed(world, actions.MoveAuthority(from_side=Side.SOURCE, to_side=Side.CLOUD))
    passed(world, actions.Promote(side=Side.CLOUD, old_side=Side.SOURCE))
    world.volumes.volumes.content[CLOUD.name, LEDGER.path] = b"written at the cloud" + bytes(200_000)
    outcome = passed(world, actions.CarryBack(from_side=Side.CLOUD, to_side=Side.SOURCE))
    assert content(world, SOURCE) == content(world, DR) == content(world, CLOUD)
    assert outcome.observed["trees"]["ledger-disk.dr_to_source"] > 0
