"""The shipped migration, whole, by the product's own reducer and handlers over fakes: out, back, cut off anywhere.

Clients file before and after every deed, wherever the front sends them.
"""

import itertools

import pytest

from orchestrator.contracts.databases import Role
from orchestrator.model.site import Side
from tests.fakes.drivers import CLOUD, DR, REGISTER, SOURCE, SYSTEM, FakeWorld, the_plan
from tests.fakes.handlers import SimulatedCrash
from tests.fakes.run_in_hand import RunInHand

PLAN = the_plan()


def run_of(world: FakeWorld) -> RunInHand:
    return RunInHand(world, PLAN)


def committed(world: FakeWorld, status: str) -> None:
    assert status == "committed"
    assert world.violations == []
    assert world.lost(CLOUD) == []
    assert world.authority.read("filing").side is Side.CLOUD
    assert world.front.records[SYSTEM.front.name].address == CLOUD.address
    assert world.takes_writes(CLOUD)
    assert SOURCE.name in world.fenced
    assert CLOUD.name not in world.fenced


def rolled_back(world: FakeWorld, status: str) -> None:
    assert status == "rolled_back"
    assert world.violations == []
    assert world.lost(SOURCE) == []
    assert world.authority.read("filing").side is Side.SOURCE
    assert world.front.records[SYSTEM.front.name].address == SOURCE.address
    assert world.takes_writes(SOURCE)
    assert SOURCE.name not in world.fenced
    assert CLOUD.name in world.fenced


def test_the_way_out_is_committed_and_loses_nothing():
    world = FakeWorld()
    before = len(world.acknowledged)
    state = run_of(world).live()
    committed(world, state.status)
    assert len(world.acknowledged) > before + 10
    measured = {data["objective"]: data for kind, data in world.events if kind == "objective.measured"}
    assert (measured["rto"]["met"], measured["rpo"]["met"], measured["rpo"]["achieved_seconds"]) == (True, True, 0.0)
    assert state.earlier["commit"]["side"] == "cloud"


def test_the_same_plan_run_again_leaves_the_system_alone_where_it_brought_it():
    world = FakeWorld()
    run_of(world).live()
    copies, fenced = len(told(world, "transfer.finished")), dict(world.fenced)
    state = run_of(world).live()
    assert (state.status, state.is_over) == ("failed", True)
    assert state.reason == "preflight: filing lives at cloud; this plan takes it from source"
    assert world.takes_writes(CLOUD)
    assert (len(told(world, "transfer.finished")), world.fenced) == (copies, fenced)


def told(world: FakeWorld, kind: str) -> list[dict[str, object]]:
    return [data for each, data in world.events if each == kind]


def test_a_check_that_fails_at_the_front_brings_the_cloud_s_writes_home():
    world = FakeWorld()
    world.failing_checks.add((CLOUD.name, "attachments-ready"))
    state = run_of(world).live()
    rolled_back(world, state.status)
    assert "attachments-ready" in state.reason
    carried = state.earlier["promote.undo"]
    assert carried["databases"] == ["register"]
    assert carried["bytes_wire"] > 0
    assert carried["digests"]["cloud"] == carried["digests"]["source"]
    # Filings of the time at the cloud are among those that were looked for.
    assert any(timeline > 1 for timeline, row in world.databases.servers["register", SOURCE.name].records if row)


def test_after_a_way_back_the_same_plan_goes_through():
    world = FakeWorld()
    world.failing_checks.add((CLOUD.name, "attachments-ready"))
    rolled_back(world, run_of(world).live().status)
    world.failing_checks.clear()
    committed(world, run_of(world).live().status)


def test_a_failure_before_the_drain_stops_and_touches_nothing():
    world = FakeWorld()
    world.tools[DR.name].discard("rsync")
    state = run_of(world).live()
    assert state.status == "failed"
    assert f"{DR.name} lacks rsync" in state.reason
    assert world.takes_writes(SOURCE)
    assert world.databases.role(REGISTER, DR) is Role.MISSING


def test_a_replica_that_runs_full_in_the_delta_is_rolled_back_and_nothing_is_lost():
    world = FakeWorld()

    def full_after_the_drain(name: str) -> None:
        if name == "run:after" and not world.serving[SOURCE.name]:
            world.trees.hosts.full.add(DR.name)

    world.interruption.on_place = full_after_the_drain
    state = run_of(world).live()
    assert state.reason.startswith("final_delta_dr")
    assert "no room" in state.reason
    assert state.status == "rolled_back"
    assert world.takes_writes(SOURCE)
    assert world.lost(SOURCE) == []


def test_a_gate_stays_closed_where_nothing_was_proved():
    """Digests that were never compared do not open G5, whatever else passed."""
    steps = [
        step.model_copy(update={"gate": step.gate.model_copy(update={"criteria": ()})})
        if step.id == "switch_front" and step.gate
        else step
        for step in PLAN.systems[0].steps
    ]
    world = FakeWorld()
    state = RunInHand(world, the_plan(steps=steps)).live()
    rolled_back(world, state.status)
    assert state.reason.startswith("switch_front")


EVERY_NTH = 9  # odd, so that places before and after a call are both met


def places_of(failing: bool) -> int:
    world = FakeWorld()
    if failing:
        world.failing_checks.add((CLOUD.name, "attachments-ready"))
    world.interruption.arm()
    run_of(world).live()
    return world.interruption.places


@pytest.mark.parametrize("failing", [False, True], ids=["out", "and_back"])
@pytest.mark.parametrize("first", [1, 4, 7])
def test_a_run_that_is_cut_off_anywhere_ends_as_if_it_had_not_been(failing, first):
    places = places_of(failing)
    assert places > 300
    for place in range(first, places + 1, EVERY_NTH):
        world = FakeWorld()
        if failing:
            world.failing_checks.add((CLOUD.name, "attachments-ready"))
        run = run_of(world)
        world.interruption.arm(place)
        try:
            state = run.live()
        except SimulatedCrash:
            world.interruption.arm()
            state = run.live()
        (rolled_back if failing else committed)(world, state.status)


@pytest.mark.parametrize("seed", [3, 7, 31])
def test_a_run_that_is_cut_off_again_and_again_ends_as_if_it_had_not_been(seed):
    """Every life ends `seed`, 2 × `seed`, 3 × `seed` … places after it began."""
    world = FakeWorld()
    world.failing_checks.add((CLOUD.name, "attachments-ready"))
    run = run_of(world)
    for life in itertools.count(1):
        world.interruption.arm(seed * life)
        try:
            state = run.live()
        except SimulatedCrash:
            continue
        break
    assert life > 3
    rolled_back(world, state.status)


@pytest.mark.parametrize("asked_at", range(1, 40, 2))
def test_a_way_back_that_a_person_asks_for_at_any_turn_loses_nothing(asked_at):
    world = FakeWorld()
    run = run_of(world)
    turns = itertools.count(1)

    def ask(name: str) -> None:
        if name in ("read:before", "run:before") and next(turns) == asked_at:
            run.ask_rollback()

    world.interruption.on_place = ask
    state = run.live()
    assert state.status in ("rolled_back", "committed")
    assert world.violations == []
    holder = {Side.SOURCE: SOURCE, Side.CLOUD: CLOUD}[world.authority.read("filing").side]
    assert world.lost(holder) == []
    assert world.takes_writes(holder)
