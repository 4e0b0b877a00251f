"""What each verb refuses, and what it says then; what it observes where it does not."""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.contracts.databases import Role
from orchestrator.foundation.errors import CommandTimedOut, HostUnreachable, NoSpace, PlanningError
from orchestrator.model import action as actions
from orchestrator.model.host import Host
from orchestrator.model.outcome import Outcome, Result
from orchestrator.model.site import Side
from orchestrator.steps import authority as authority_steps
from orchestrator.steps.handlers import handlers_over
from tests.fakes.drivers import (
    ATTACHMENTS,
    CLOUD,
    DR,
    FRONT,
    REGISTER,
    RUN,
    SOURCE,
    SYSTEM,
    FakeWorld,
    a_deed,
    the_plan,
)
from tests.fakes.playbooks import PlayFails, PlayLasts
from tests.fakes.trees import FakeFile

SOURCE_SIDE, DR_SIDE, CLOUD_SIDE = Side.SOURCE, Side.DR, Side.CLOUD
OUT = actions.MoveAuthority(from_side=SOURCE_SIDE, to_side=CLOUD_SIDE)
BACK = actions.CarryBack(from_side=CLOUD_SIDE, to_side=SOURCE_SIDE)
TO_DR = actions.Replicate(source=SOURCE_SIDE, replica=DR_SIDE)
TO_CLOUD = actions.Replicate(source=DR_SIDE, replica=CLOUD_SIDE)
PROMOTE = actions.Promote(side=CLOUD_SIDE, old_side=SOURCE_SIDE)
POINT = actions.TakeRecoveryPoint()


@pytest.fixture
def world():
    return FakeWorld()


def act(world, action, **deed) -> Outcome:
    handler = handlers_over(world.drivers)(action.verb)
    return handler.act(a_deed(action, step=action.verb, **deed), lambda _: None, world.emit)


def passed(world, action, **deed) -> Outcome:
    outcome = act(world, action, **deed)
    assert outcome.passed, outcome.message
    return outcome


def refused(world, action, error, **deed) -> Outcome:
    outcome = act(world, action, **deed)
    assert (outcome.result, outcome.error) == (Result.FAILED, error), outcome.message
    return outcome


def stop(world, host):
    """Drained and fenced."""
    world.serving[host.name].clear()
    world.fenced[host.name] = world.authority.read("filing").number


def seeded(world):
    """DR and cloud hold what the source holds; the source serves."""
    passed(world, TO_DR)
    passed(world, actions.ProvisionTarget())
    passed(world, TO_CLOUD)


def at_the_cloud(world):
    """The cloud has authority and a primary; nothing serves."""
    seeded(world)
    stop(world, SOURCE)
    passed(world, OUT)
    passed(world, PROMOTE)


def told(world, kind):
    return [data for each, data in world.events if each == kind]


# -- where the system lives


def test_a_side_where_the_system_lives_is_fenced_by_a_plan_that_takes_it_from_there_and_by_no_other(world):
    at_the_cloud(world)
    fence = actions.RunPlaybook(playbook="fence", side=CLOUD_SIDE)
    assert "filing lives at cloud" in refused(world, fence, "AuthorityError").message
    back = actions.MoveAuthority(from_side=CLOUD_SIDE, to_side=SOURCE_SIDE)
    passed(world, fence, plan=the_plan(steps=[a_deed(back).step]))


# -- preflight


def test_preflight_sees_hosts_tools_and_space(world):
    outcome = passed(world, actions.Preflight())
    assert set(outcome.observed["hosts"]) == {SOURCE.name, DR.name}


def test_preflight_names_the_missing_tool_and_where_it_is_missing(world):
    world.tools[DR.name].discard("rsync")
    outcome = refused(world, actions.Preflight(), "MissingTool")
    assert outcome.message == f"{DR.name} lacks rsync"
    assert f"Install what is missing on {DR.name}" in outcome.hint
    assert not outcome.retryable


def test_preflight_asks_for_room_where_nothing_is_held_yet(world):
    world.bytes_free[DR.name] = 999
    outcome = refused(world, actions.Preflight(), "NoSpace")
    assert f"{DR.name}: {ATTACHMENTS.path} has 999 bytes free, 1000 are needed" in outcome.message
    world.bytes_free[DR.name] = 1000
    passed(world, actions.Preflight())


def test_preflight_wants_no_room_for_what_a_replica_holds(world):
    passed(world, TO_DR)
    world.bytes_free[DR.name] = 0
    passed(world, actions.Preflight())


def test_a_host_that_is_down_may_be_tried_again_and_every_trouble_is_told(world):
    world.transports(DR).trouble = HostUnreachable(f"{DR.name} cannot be reached: Connection refused")
    outcome = refused(world, actions.Preflight(), "HostUnreachable")
    assert outcome.retryable
    assert "run the same command again" in outcome.hint
    world.tools[SOURCE.name].discard("rsync")
    both = refused(world, actions.Preflight(), "MissingTool")
    assert both.message == f"{SOURCE.name} lacks rsync; {DR.name} cannot be reached: Connection refused"
    assert not both.retryable


# -- provision


def test_a_machine_that_boots_slowly_is_waited_for_and_its_keys_are_the_provider_s(world):
    world.silent_tries = 5
    outcome = passed(world, actions.ProvisionTarget())
    machine = world.target.find(CLOUD)
    assert outcome.observed["machines"][CLOUD.name]["machine"] == machine.id
    assert machine.tags["skerry:run"] == RUN
    assert list(world.host_keys.fingerprints(CLOUD)) == outcome.observed["machines"][CLOUD.name]["host_keys"]


def test_a_machine_that_never_answers_is_a_failure_that_may_be_tried_again(world):
    world.silent_tries = 100_000
    assert refused(world, actions.ProvisionTarget(), "HostUnreachable").retryable


def with_packages(*packages):
    plan = the_plan()
    spec = plan.machines[CLOUD.name].model_copy(update={"packages": packages})
    return plan.model_copy(update={"machines": {CLOUD.name: spec}})


def test_what_an_image_lacks_and_user_data_installs_is_waited_for(world):
    world.uninstalled_tries = 5
    assert f"{CLOUD.name} lacks rsync" in refused(world, actions.ProvisionTarget(), "MissingTool").message
    outcome = passed(world, actions.ProvisionTarget(), plan=with_packages("rsync"))
    assert outcome.observed["machines"][CLOUD.name]["tools"]["rsync"] == "/usr/bin/rsync"
    assert world.uninstalled_tries == 0


def test_a_machine_that_does_not_trust_us_yet_is_asked_again(world):
    world.distrusting_tries = 5
    passed(world, actions.ProvisionTarget())
    world.distrusting_tries = 100_000
    refused(world, actions.ProvisionTarget(), "AccessDenied")


def test_the_machine_that_a_run_made_is_ended_once_the_system_lives_elsewhere(world):
    passed(world, TO_DR)
    passed(world, actions.ProvisionTarget())
    passed(world, TO_CLOUD)
    kept = passed(world, actions.EndTarget(machines="keep")).observed
    assert (kept["ended"], list(kept["kept"])) == ({}, [CLOUD.name])
    ended = passed(world, actions.EndTarget()).observed["ended"]
    assert world.target.machines[ended[CLOUD.name]].state == "terminated"
    assert (REGISTER.name, DR.name, CLOUD.name) in world.databases.forgotten
    assert passed(world, actions.EndTarget()).observed == {"ended": {}, "kept": {}}


def test_a_machine_of_an_earlier_run_stays_wherever_the_system_lives(world):
    tags = {"skerry:host": CLOUD.name, "skerry:run": "run-0", "skerry:system": "filing"}
    earlier = world.target.run(CLOUD.name, CLOUD.address, tags)
    stays = {"ended": {}, "kept": {CLOUD.name: f"{earlier}: made by run run-0"}}
    assert passed(world, actions.EndTarget()).observed == stays
    world.authority.move("filing", expected_number=1, to=CLOUD_SIDE, key="k")
    assert passed(world, actions.EndTarget()).observed == stays
    assert world.target.machines[earlier].state == "running"


def test_a_machine_that_may_be_written_to_is_not_ended_and_may_be_kept(world):
    """A run that was begun where the system lives already can go back: nothing is to be ended."""
    passed(world, TO_DR)
    passed(world, actions.ProvisionTarget())
    world.authority.move("filing", expected_number=1, to=CLOUD_SIDE, key="k")
    refused(world, actions.EndTarget(), "AuthorityError")
    kept = passed(world, actions.EndTarget(machines="keep")).observed
    assert (kept["ended"], "the system lives there" in kept["kept"][CLOUD.name]) == ({}, True)
    assert {machine.state for machine in world.target.machines.values()} == {"running"}
    assert world.databases.forgotten == set()


def test_a_machine_at_another_address_than_planned_is_refused(world):
    machine = world.target.run(CLOUD.name, "10.30.9.9", {"skerry:host": CLOUD.name, "skerry:run": "r0"})
    world.target.machines[machine].tags["skerry:system"] = "filing"
    outcome = refused(world, actions.ProvisionTarget(), "TargetError")
    assert "10.30.9.9, planned was 10.30.1.11" in outcome.message
    assert list(world.host_keys.fingerprints(CLOUD)) == []


# -- replicate


def test_seeding_from_dr_leaves_the_source_alone_and_shows_it(world):
    passed(world, TO_DR)
    passed(world, POINT)
    passed(world, actions.ProvisionTarget())
    outcome = passed(world, TO_CLOUD)
    assert outcome.observed["source_read"][SOURCE.name]["ssh_sessions_from_dr_and_cloud"] == 0


def test_who_reads_the_source_while_the_cloud_is_seeded_is_named(world):
    passed(world, TO_DR)
    passed(world, actions.ProvisionTarget())

    def peek(name):
        if name == "make_standby:before":
            world.access_log.saw(SOURCE, CLOUD)

    world.interruption.on_place = peek
    found = passed(world, TO_CLOUD).observed["source_read"][SOURCE.name]
    assert (found["ssh_sessions_from_dr_and_cloud"], found["peers"]) == (1, [CLOUD.name])


def test_a_primary_is_never_overwritten_by_a_replica(world):
    world.databases.create(REGISTER, DR)
    outcome = refused(world, TO_DR, "PlanningError")
    assert "is a primary already" in outcome.message
    assert world.databases.role(REGISTER, DR) is Role.PRIMARY


def test_a_full_replica_says_so_and_names_the_host(world):
    world.trees.hosts.full.add(DR.name)
    outcome = refused(world, TO_DR, "NoSpace")
    assert DR.name in outcome.message
    assert outcome.hint == NoSpace.default_hint


def test_a_point_that_was_never_taken_cannot_be_read(world):
    passed(world, TO_DR)
    passed(world, actions.ProvisionTarget())
    outcome = refused(world, actions.Replicate(source=DR_SIDE, replica=CLOUD_SIDE, read="point"), "PlanningError")
    assert "no recovery point" in outcome.message


# -- recovery point


def test_a_point_holds_both_datasets_under_one_digest_and_the_writers_are_let_go(world):
    passed(world, TO_DR)
    outcome = passed(world, POINT)
    assert set(outcome.observed["datasets"]) == {"register", "attachments"}
    assert (world.quiesced, world.held_until) == (1, 0.0)
    assert told(world, "recovery_point.held")[0]["digest"] == outcome.observed["digest"]


def test_what_an_earlier_try_held_is_forgotten(world):
    """A tree held at one moment beside a database held at another would be a point of no moment at all."""
    passed(world, TO_DR)
    world.trees.hosts.cut.add(DR.name)
    refused(world, POINT, "HostUnreachable")
    world.trees.hosts.cut.clear()
    world.client_files()
    outcome = passed(world, POINT)
    point = outcome.observed["point"]
    files = world.trees.hosts.points[SOURCE.name, "attachments"][point][1]
    assert sorted(files) == sorted(world.acknowledged)


def test_a_moment_that_took_too_long_is_not_used(world):
    passed(world, TO_DR)
    world.interruption.on_place = lambda name: world.clock.sleep(11) if name == "take:before" else None
    outcome = refused(world, POINT, "MomentNotHeld")
    assert "the limit is 10s" in outcome.message
    assert outcome.retryable
    assert "quiesce.seconds_max" in outcome.hint
    assert world.catalogue.list("recovery_point") == []
    assert world.held_until == 0.0
    world.interruption.on_place = lambda _name: None
    passed(world, POINT)


@pytest.mark.parametrize("where", ["hold_moment", "take", "prepare_moment", "digest_at", "digest", "copy", "put"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_writers_are_let_go_wherever_it_breaks(world, where, when):
    passed(world, TO_DR)

    def break_there(name):
        if name == f"{where}:{when}":
            raise HostUnreachable("gone")

    world.interruption.on_place = break_there
    refused(world, POINT, "HostUnreachable")
    assert world.held_until == 0.0
    before = len(world.acknowledged)
    world.client_files()
    assert len(world.acknowledged) == before + 1


def test_a_replica_that_differs_makes_no_point(world):
    passed(world, TO_DR)

    def rot(name):
        if name == "take:before" and len(world.trees.hosts.points.get((SOURCE.name, "attachments"), {})):
            world.trees.hosts.trees[DR.name, ATTACHMENTS.path]["filing-1"] = FakeFile(b"rotten")

    world.interruption.on_place = rot
    assert DR.name in refused(world, POINT, "DigestMismatch").message
    assert world.catalogue.list("recovery_point") == []


# -- digests


def test_a_difference_is_named_by_dataset_sides_and_path(world):
    seeded(world)
    world.trees.hosts.trees[CLOUD.name, ATTACHMENTS.path]["filing-2"] = FakeFile(b"other")
    outcome = refused(world, actions.VerifyDigests(), "DigestMismatch")
    assert "attachments differs between source and cloud: filing-2: content" in outcome.message
    assert {data["dataset"]: data["match"] for data in told(world, "digests.compared")} == {
        "register": True,
        "attachments": False,
    }


# -- authority and promotion


def test_authority_does_not_leave_a_side_that_serves(world):
    seeded(world)
    outcome = refused(world, OUT, "AuthorityError")
    assert "filing-app still serves" in outcome.message
    assert world.authority.read("filing").number == 1
    assert world.databases.role(REGISTER, SOURCE) is Role.PRIMARY


@pytest.mark.parametrize("odd", [{"port_open": True}, {"active": "activating"}, {"active": "deactivating"}], ids=str)
def test_authority_does_not_leave_a_side_with_an_open_port_or_a_unit_in_between(world, odd):
    seeded(world)
    stop(world, SOURCE)
    service = world._service
    world._service = lambda host, name: service(host, name) | odd
    refused(world, OUT, "AuthorityError")
    assert world.authority.read("filing").side is SOURCE_SIDE


def test_authority_does_not_leave_a_side_that_could_be_started_again(world):
    seeded(world)
    stop(world, SOURCE)
    world.fenced.clear()
    assert "no fence of filing stands there" in refused(world, OUT, "AuthorityError").message
    assert world.authority.read("filing").side is SOURCE_SIDE


def test_authority_that_is_elsewhere_is_not_moved(world):
    world.authority.move("filing", expected_number=1, to=DR_SIDE, key="somebody")
    assert "authority is at dr, not at source" in refused(world, OUT, "AuthorityError").message


def test_a_move_says_who_was_confirmed_stopped_and_at_which_checkpoint(world):
    seeded(world)
    stop(world, SOURCE)
    outcome = passed(world, OUT)
    assert [service["active"] for service in outcome.observed["services"]] == ["inactive", "inactive"]
    assert set(outcome.observed["shutdown_checkpoints"]) == {"register"}
    assert world.databases.role(REGISTER, SOURCE) is Role.STOPPED
    assert told(world, "authority.moved")[0]["number"] == 2


def test_the_question_put_to_a_host_tells_a_listener_from_a_closed_port(tmp_path):
    """The program that goes to real hosts, run here, with a systemctl that says inactive whatever listens."""
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\nfor unit in a b; do echo ActiveState=inactive; echo UnitFileState=disabled; done\n")
    program.chmod(0o755)
    asked = (
        "import json, socket, subprocess, sys\n"
        "listener = socket.create_server(('127.0.0.1', 0)); port = listener.getsockname()[1]\n"
        "closed = socket.create_server(('127.0.0.1', 0)); gone = closed.getsockname()[1]; closed.close()\n"
        "asked = [{'name': 'a', 'port': port, 'address': '127.0.0.1'},\n"
        "         {'name': 'b', 'port': gone, 'address': '127.0.0.1'}]\n"
        "words = [sys.executable, sys.argv[1], json.dumps({'services': asked})]\n"
        "print(subprocess.run(words, text=True, capture_output=True, check=True).stdout)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked, str(authority_steps.STOPPED_PROGRAM)],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"name": "a", "active": "inactive", "enabled": "disabled", "port_open": true' in done.stdout
    assert '"name": "b", "active": "inactive", "enabled": "disabled", "port_open": false' in done.stdout


def meanwhile(world, place, happens):
    """Once, at this place, it happens; the handler goes on with what it knew before."""

    def look(name):
        if name == place:
            world.interruption.on_place = lambda _: None
            happens()

    world.interruption.on_place = look


def back_at_the_source(world):
    """What others did while a worker slept: the cloud is fenced again, authority is at the source."""
    world.obeyed[CLOUD.name], world.fenced[CLOUD.name] = (2, 8), 2
    world.authority.move("filing", expected_number=2, to=SOURCE_SIDE, key="back", ticket=9)


@pytest.mark.parametrize("playbook", ["unfence", "start"])
def test_a_worker_that_slept_after_it_saw_the_holder_neither_unfences_nor_starts(world, playbook):
    at_the_cloud(world)
    meanwhile(world, "read:after", lambda: back_at_the_source(world))
    late = refused(world, actions.RunPlaybook(playbook=playbook, side=CLOUD_SIDE), "PlaybookFailed", ticket=5)
    assert "came too late" in late.message
    assert CLOUD.name in world.fenced
    assert not world.takes_writes(CLOUD)


@pytest.mark.parametrize("role", [Role.STANDBY, Role.STOPPED])
def test_a_promotion_that_comes_late_does_not_open_a_side_that_was_lost_and_came_back(world, role):
    """Others had finished the move; then the cloud was lost, and the source took over. No fence stands at the cloud."""
    seeded(world)
    stop(world, SOURCE)
    passed(world, OUT)

    def others_went_on():
        world.obeyed[CLOUD.name] = (2, 8)
        world.databases.servers[REGISTER.name, CLOUD.name].role = role
        world.authority.move("filing", expected_number=2, to=SOURCE_SIDE, key="seized", ticket=9)

    meanwhile(world, "role:before", others_went_on)
    late = refused(world, PROMOTE, "AuthorityError", ticket=5)
    assert "came too late" in late.message
    assert world.databases.role(REGISTER, CLOUD) is role


@pytest.mark.parametrize("gone", ["before it looked at the store", "after"])
def test_a_replica_that_is_to_follow_late_does_not_start_a_primary_that_lost_authority(world, gone):
    at_the_cloud(world)

    def others_went_on():
        world.obeyed[CLOUD.name] = (2, 8)
        world.databases.servers[REGISTER.name, CLOUD.name].role = Role.STOPPED
        world.authority.move("filing", expected_number=2, to=SOURCE_SIDE, key="seized", ticket=9)

    reads = iter(["first", "second", "third"])

    def look(name):
        wanted = "role:before" if gone == "before it looked at the store" else "start:before"
        if name == "role:before" and gone == "after" and next(reads) == "first":
            world.databases.servers[REGISTER.name, CLOUD.name].role = Role.STOPPED
        if name == wanted and world.authority.read("filing").side is CLOUD_SIDE:
            others_went_on()

    world.interruption.on_place = look
    late = refused(world, actions.Follow(chain=(CLOUD_SIDE, DR_SIDE)), "AuthorityError", ticket=5)
    assert "authority is at source" in late.message or "came too late" in late.message
    assert world.databases.role(REGISTER, CLOUD) is Role.STOPPED


def test_nothing_is_promoted_without_authority(world):
    seeded(world)
    outcome = refused(world, PROMOTE, "AuthorityError")
    assert "cloud may not write, authority is at source" in outcome.message
    assert world.databases.role(REGISTER, CLOUD) is Role.STANDBY


def test_a_standby_that_lacks_the_last_word_is_not_promoted(world):
    seeded(world)
    stop(world, SOURCE)
    passed(world, OUT)
    del world.databases.servers["register", CLOUD.name].records[-1:]
    outcome = refused(world, PROMOTE, "ReplicaLagging")
    assert outcome.retryable
    assert world.databases.role(REGISTER, CLOUD) is Role.STANDBY


# -- carry back


def test_what_the_cloud_wrote_is_brought_home_by_way_of_dr(world):
    at_the_cloud(world)
    world.databases.write(REGISTER, CLOUD, "at the cloud")
    world.trees.hosts.trees[CLOUD.name, ATTACHMENTS.path]["new"] = FakeFile(b"new")
    outcome = passed(world, BACK)
    assert "at the cloud" in world.databases.rows(REGISTER, SOURCE)
    for host in (SOURCE, DR):
        assert "new" in world.trees.hosts.trees[host.name, ATTACHMENTS.path]
    assert world.databases.role(REGISTER, SOURCE) is Role.STANDBY
    assert outcome.observed["trees"] == {"attachments.cloud_to_dr": 3, "attachments.dr_to_source": 3}


def test_a_cloud_that_was_never_promoted_brings_only_its_trees(world):
    seeded(world)
    stop(world, SOURCE)
    passed(world, OUT)
    outcome = passed(world, BACK)
    assert outcome.observed["databases"] == []
    assert world.databases.role(REGISTER, SOURCE) is Role.STOPPED
    assert world.databases.rows(REGISTER, SOURCE) == world.acknowledged


def test_a_database_that_stopped_by_itself_is_started_for_it_may_hold_writes(world):
    at_the_cloud(world)
    world.databases.write(REGISTER, CLOUD, "at the cloud")
    world.databases.shut_down(REGISTER, CLOUD)
    passed(world, BACK)
    assert "at the cloud" in world.databases.rows(REGISTER, SOURCE)


def test_a_stopped_database_that_does_not_start_stops_the_way_back(world):
    at_the_cloud(world)
    world.databases.shut_down(REGISTER, CLOUD)
    world.fenced[CLOUD.name] = 3

    def does_not_start(_host: Host, _variables: Mapping[str, Any]) -> dict[str, Any]:
        raise PlayFails("systemctl start filing-db.service ended with 1")

    world.playbooks.plays["recover"] = does_not_start
    outcome = refused(world, BACK, "AuthorityError")
    assert "may hold writes that are nowhere else" in outcome.message
    assert "held back: it starts as a standby only; cloud-filing1: recover: systemctl start" in outcome.message
    assert "by hand" in outcome.hint
    assert not outcome.retryable


def test_a_database_that_its_fence_holds_back_is_opened_behind_it_and_carried_home(world):
    at_the_cloud(world)
    world.databases.shut_down(REGISTER, CLOUD)
    world.fenced[CLOUD.name] = 3
    outcome = passed(world, BACK)
    assert outcome.observed["databases"] == ["register"]
    [opened] = [data for kind, data in world.events if kind == "databases.recovered"]
    assert (opened["side"], opened["host"], opened["units"]) == ("cloud", CLOUD.name, ["filing-db"])
    assert not world.may_start(CLOUD.name)


def test_nothing_is_carried_back_from_a_side_that_serves_or_never_had_authority(world):
    seeded(world)
    before = world.state()
    outcome = passed(world, BACK)
    assert "cloud holds nothing that source lacks" in outcome.message
    assert outcome.observed["bytes_wire"] == 0
    assert world.state() == before
    at_the_cloud(world)
    world.serving[CLOUD.name] = {"filing-app"}
    assert "still serves" in refused(world, BACK, "AuthorityError").message


# -- front, checks, watch, commit


def test_the_front_is_looked_at_after_the_switch(world):
    outcome = passed(world, actions.SwitchFront(side=CLOUD_SIDE))
    assert (outcome.observed["before"], outcome.observed["after"]) == (SOURCE.address, CLOUD.address)
    assert told(world, "front.switched")[0]["side"] == "cloud"


def test_a_switch_that_is_not_in_force_is_refused(world):
    def undone(name):
        if name == "switch:after":
            world.front.switch(FRONT, SOURCE.address, key="somebody else")

    world.interruption.on_place = undone
    outcome = refused(world, actions.SwitchFront(side=CLOUD_SIDE), "TargetError")
    assert f"was switched to {CLOUD.address} but answers {SOURCE.address}" in outcome.message


def test_checks_pass_where_the_system_serves_and_not_elsewhere(world):
    passed(world, actions.Check(side=SOURCE_SIDE, through_front=True, levels=("technical", "business")))
    assert {data["check"] for data in told(world, "check.result")} == {"answers", "attachments-ready"}
    outcome = refused(world, actions.Check(side=DR_SIDE, through_front=True), "CheckFailed")
    assert f"answers {SOURCE.address}, expected {DR.address}" in outcome.message
    assert "answers: expected 200, saw 503" in refused(world, actions.Check(side=DR_SIDE), "PlaybookFailed").message


def test_a_check_without_checks_fails_for_nothing_was_judged(world):
    plan = the_plan(SYSTEM.model_copy(update={"checks": ()}))
    outcome = act(world, actions.Check(side=SOURCE_SIDE), plan=plan)
    assert outcome.result is Result.FAILED
    assert "nothing was judged" in outcome.message
    assert "inventory" in outcome.hint


def test_a_watch_goes_on_for_its_time(world):
    outcome = passed(world, actions.Watch(side=SOURCE_SIDE, seconds=9))
    assert world.clock.monotonic_seconds() == 9
    assert outcome.observed["rounds"] == 6


def test_a_watch_ends_with_the_first_check_that_fails(world):
    def fall(name):
        if name == "run:before" and world.clock.monotonic_seconds() > 3:
            world.failing_checks.add((SOURCE.name, "answers"))

    world.interruption.on_place = fall
    refused(world, actions.Watch(side=SOURCE_SIDE, seconds=60), "PlaybookFailed")
    assert world.clock.monotonic_seconds() == 4


def test_a_play_that_fails_and_one_that_lasts_end_differently(world):
    def fails(host, variables):
        raise PlayFails("no such unit")

    def lasts(host, variables):
        raise PlayLasts

    drain = actions.RunPlaybook(playbook="drain", side=SOURCE_SIDE)
    world.playbooks.plays["drain"] = fails
    assert "no such unit" in refused(world, drain, "PlaybookFailed").message
    world.playbooks.plays["drain"] = lasts
    assert act(world, drain).result is Result.TIMED_OUT
    world.playbooks.unreachable[SOURCE.name] = HostUnreachable(f"{SOURCE.name} is gone")
    assert refused(world, drain, "HostUnreachable").retryable


def test_a_command_that_did_not_end_is_timed_out_not_failed(world):
    world.interruption.arm(2, CommandTimedOut("no end"))
    outcome = act(world, actions.Preflight())
    assert outcome.error == "CommandTimedOut"
    assert not outcome.passed


def test_a_playbook_is_told_order_fence_and_hosts(world):
    passed(world, actions.RunPlaybook(playbook="fence", side=CLOUD_SIDE))
    _, hosts, variables = world.playbooks.ran[-1]
    assert hosts == (CLOUD.name,)
    assert [service["name"] for service in variables["skerry_services"]] == ["filing-app", "filing-mail"]
    assert variables["skerry_fence"]["number"] == 2
    passed(world, actions.RunPlaybook(playbook="unfence", side=SOURCE_SIDE))
    assert world.playbooks.ran[-1][2]["skerry_fence"]["number"] == 1


EARLIER = {
    "drain": {"started_at": "2026-11-21T22:00:00.000Z"},
    "check_front": {"finished_at": "2026-11-21T22:00:42.500Z"},
    "verify_digests": {"equal": True},
}


def test_a_commit_measures_what_was_achieved_against_what_was_asked(world):
    at_the_cloud(world)
    passed(world, actions.SwitchFront(side=CLOUD_SIDE))
    outcome = passed(world, actions.Commit(side=CLOUD_SIDE), earlier=EARLIER)
    assert (outcome.observed["rto_seconds"], outcome.observed["rpo_seconds"]) == (42.5, 0.0)
    assert {data["objective"]: data["met"] for data in told(world, "objective.measured")} == {"rto": True, "rpo": True}


def test_what_was_not_measured_is_not_met(world):
    at_the_cloud(world)
    passed(world, actions.SwitchFront(side=CLOUD_SIDE))
    passed(world, actions.Commit(side=CLOUD_SIDE), earlier={})
    measured = told(world, "objective.measured")
    assert [(data["achieved_seconds"], data["met"]) for data in measured] == [(None, False), (None, False)]


def test_nothing_is_committed_where_clients_are_sent_elsewhere(world):
    """An orchestrator that was left behind knows only of the authority that it gave itself."""
    at_the_cloud(world)
    front = a_deed(actions.Commit(side=CLOUD_SIDE), step="commit").system_plan.system.front
    world.drivers.front.switch(front, "10.10.1.99", key="of another orchestrator")
    outcome = refused(world, actions.Commit(side=CLOUD_SIDE), "AuthorityError", earlier=EARLIER)
    assert f"{front.name} sends clients to 10.10.1.99" in outcome.message
    assert told(world, "system.committed") == []


def test_nothing_is_committed_to_a_side_without_authority(world):
    outcome = refused(world, actions.Commit(side=CLOUD_SIDE), "AuthorityError", earlier=EARLIER)
    assert "cannot commit to cloud, authority is at source" in outcome.message
    assert told(world, "system.committed") == []


# -- the list


@pytest.mark.parametrize("verb", ["approval", "manual", "decision", "wait", "sing"])
def test_verbs_that_only_wait_have_no_handler(world, verb):
    with pytest.raises(PlanningError, match=verb):
        handlers_over(world.drivers)(verb)


def test_a_handler_given_another_verb_refuses(world):
    for verb in ("replicate", "promote", "switch_front", "commit", "watch", "check", "carry_back", "run_playbook"):
        deed = a_deed(actions.Preflight())
        outcome = handlers_over(world.drivers)(verb).act(deed, lambda _: None, world.emit)
        assert (outcome.error, outcome.result) == ("PlanningError", Result.FAILED)
