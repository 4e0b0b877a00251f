"""The pass of a switch when nobody writes any more, and the word by which a database is promoted: what is believed."""

import threading
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.contracts.databases import Role
from orchestrator.model import action as actions
from orchestrator.model.outcome import Outcome
from orchestrator.model.site import Side
from orchestrator.steps.handlers import handlers_over
from tests.fakes.drivers import ATTACHMENTS, CLOUD, DR, REGISTER, SOURCE, SYSTEM, FakeWorld, a_deed
from tests.fakes.trees import FakeFile

CHAIN = (Side.SOURCE, Side.DR, Side.CLOUD)
AHEAD = actions.Follow(chain=CHAIN, pace="ahead")
LAST = actions.Follow(chain=CHAIN, pace="last")
OUT = actions.MoveAuthority(from_side=Side.SOURCE, to_side=Side.CLOUD)
PROMOTE = actions.Promote(side=Side.CLOUD, old_side=Side.SOURCE)
BACK = (Side.CLOUD, Side.DR, Side.SOURCE)
WATCH = actions.Watch(side=Side.CLOUD, seconds=6, follow=BACK)
COMPARE = actions.VerifyDigests(reading="watched")


@pytest.fixture
def world() -> FakeWorld:
    made = FakeWorld()
    made.fenced[CLOUD.name] = 1
    return made


def act(world: FakeWorld, action: Any, **earlier: dict[str, Any]) -> Outcome:
    deed = a_deed(action, step=action.verb).model_copy(update={"earlier": earlier})
    return handlers_over(world.drivers)(action.verb).act(deed, lambda _: None, world.emit)


def passed(world: FakeWorld, action: Any, **earlier: dict[str, Any]) -> Outcome:
    outcome = act(world, action, **earlier)
    assert outcome.passed, outcome.message
    return outcome


def followed(world: FakeWorld) -> None:
    passed(world, actions.ProvisionTarget())
    passed(world, AHEAD)


def last_words(world: FakeWorld) -> None:
    """The application writes once more, then is stopped and fenced."""
    world.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path]["last"] = FakeFile(b"last words")
    world.databases.write(REGISTER, SOURCE, "last row")
    world.serving[SOURCE.name].clear()
    world.fenced[SOURCE.name] = world.authority.read("filing").number


def test_before_clients_wait_every_host_is_told_that_commands_come_soon(world):
    followed(world)
    users = [None, "root" if SOURCE.become else None, "postgres"]
    assert world.ready.told == {SOURCE.name: users, DR.name: users, CLOUD.name: users}


def test_the_last_pass_brings_what_was_written_last_to_every_side_and_the_digests_say_so(world):
    followed(world)
    last_words(world)
    outcome = passed(world, LAST)
    assert set(outcome.observed["hops"]) == {"source_to_dr", "dr_to_cloud"}
    assert all(set(hop) == {REGISTER.name, ATTACHMENTS.name} for hop in outcome.observed["hops"].values())
    assert outcome.observed["trees"][f"{ATTACHMENTS.name}.dr_to_cloud"] == len(b"last words")
    assert passed(world, COMPARE).observed["equal"] is True


def test_a_replica_that_does_not_stream_takes_the_long_way_and_so_does_all_behind_it(world):
    followed(world)
    world.databases.shut_down(REGISTER, DR)
    last_words(world)
    passed(world, LAST)
    assert world.databases.role(REGISTER, DR) is Role.STANDBY
    assert passed(world, COMPARE).observed["equal"] is True


def test_what_was_not_carried_is_found_by_the_comparison_and_not_believed(world):
    followed(world)
    last_words(world)
    passed(world, LAST)
    world.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path]["later"] = FakeFile(b"it came back and wrote")
    outcome = act(world, COMPARE)
    assert outcome.error == "DigestMismatch"
    assert f"{ATTACHMENTS.name} differs" in outcome.message


def at_the_switch(world: FakeWorld) -> dict[str, Any]:
    followed(world)
    last_words(world)
    passed(world, LAST)
    return passed(world, OUT).observed


def test_the_checkpoint_that_was_confirmed_under_this_number_is_the_one_that_must_be_held(world):
    moved = at_the_switch(world)
    del world.databases.servers["register", CLOUD.name].records[-1:]
    outcome = act(world, PROMOTE, move_authority=moved)
    assert outcome.error == "ReplicaLagging"
    assert world.databases.role(REGISTER, CLOUD) is Role.STANDBY


@pytest.mark.parametrize("lie", [{"number": 1}, {"side": "source"}, {"moved": False}])
def test_a_checkpoint_of_another_number_or_side_is_not_believed_but_the_old_side_asked(world, lie):
    moved = at_the_switch(world)
    early = dict.fromkeys(moved["shutdown_checkpoints"], "0/0")
    del world.databases.servers["register", CLOUD.name].records[-1:]
    outcome = act(world, PROMOTE, move_authority={**moved, "shutdown_checkpoints": early, **lie})
    assert outcome.error == "ReplicaLagging"
    assert world.databases.role(REGISTER, CLOUD) is Role.STANDBY


def serving_at_the_cloud(world: FakeWorld) -> None:
    moved = at_the_switch(world)
    passed(world, PROMOTE, move_authority=moved)
    world.fenced.pop(CLOUD.name, None)
    world.serving[CLOUD.name] = {service.name for service in SYSTEM.services}
    passed(world, actions.SwitchFront(side=Side.CLOUD))
    passed(world, actions.Follow(chain=BACK))


def test_what_clients_file_while_it_is_watched_is_at_the_old_side_before_anybody_chooses(world):
    serving_at_the_cloud(world)
    world.trees.hosts.trees[CLOUD.name, ATTACHMENTS.path]["new"] = FakeFile(b"filed at the cloud")
    outcome = passed(world, WATCH)
    assert outcome.observed["followed"]["passes"] >= 1
    assert outcome.observed["followed"]["bytes_wire"] == 2 * len(b"filed at the cloud")
    assert world.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path]["new"] == FakeFile(b"filed at the cloud")


def test_a_pass_that_fails_is_told_and_does_not_end_the_watch(world):
    serving_at_the_cloud(world)
    world.trees.hosts.cut.add(DR.name)
    outcome = passed(world, WATCH)
    assert outcome.observed["followed"]["failed"] >= 1
    assert "no route" in outcome.observed["followed"]["last_failure"]
    assert any(kind == "replication.behind" for kind, _ in world.events)


def test_a_watch_ends_with_its_first_failed_check_and_leaves_no_pass_behind(world):
    serving_at_the_cloud(world)
    world.failing_checks.add((CLOUD.name, "answers"))
    assert act(world, WATCH).error == "PlaybookFailed"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("follow")]


@pytest.mark.parametrize("chain", [("dr", "source"), ("cloud",), ("cloud", "dr", "cloud")])
def test_a_watch_follows_the_side_that_it_watches_and_no_other(chain):
    with pytest.raises(ValidationError, match="follow begins at cloud"):
        actions.Watch(side=Side.CLOUD, seconds=1, follow=chain)
