"""The shipped migration, on a world of three sides: wherever it breaks off, one side writes and nothing is lost.

Each verb is what its contract says and no more. The world refuses what the hosts would refuse: a fenced service does
not start, a fenced database starts as a standby only, authority leaves only a side that is stopped.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model.runbook import Runbook
from orchestrator.model.step import Step
from orchestrator.planning.runbook import parse_runbook

FILE = Path(__file__).parents[2] / "runbooks" / "migrate.yml"
RUNBOOK: Runbook = parse_runbook(FILE.read_bytes(), "migrate.yml")
STEPS = {step.id: step for step in RUNBOOK.steps}


NAMES = ("source", "dr", "cloud")


class Refused(Exception):
    """What a host, or a handler, would not do."""


@dataclass
class SideOfWorld:
    serving: bool = False
    fenced: bool = False
    database: str = "missing"  # missing, standby, primary, stopped (cleanly, as primary)
    writes: set[int] = field(default_factory=set)


@dataclass
class World:
    """Source serves; clients write whatever the front lets through, after every deed."""

    sides: dict[str, SideOfWorld] = field(default_factory=lambda: {name: SideOfWorld() for name in NAMES})
    authority: str = "source"
    front: str = "source"
    acknowledged: set[int] = field(default_factory=set)
    committed: bool = False

    def __post_init__(self) -> None:
        source = self.sides["source"]
        source.serving, source.database = True, "primary"
        self.clients_write()

    def clients_write(self) -> None:
        """Old resolvers still ask either side, so every side that serves gets a write, wherever the front points."""
        for side in self.sides.values():
            if side.serving:
                assert side.database == "primary"
                number = len(self.acknowledged)
                side.writes.add(number)
                self.acknowledged.add(number)

    def check_invariants(self) -> None:
        serving = [name for name, side in self.sides.items() if side.serving]
        assert len(serving) <= 1, f"two sides serve: {serving}"
        assert serving in ([], [self.authority]), f"{serving} serves, authority is at {self.authority}"
        primaries = [name for name, side in self.sides.items() if side.database == "primary"]
        assert len(primaries) <= 1, f"two databases take writes: {primaries}"

    def do(self, action: Any) -> None:
        values = action.model_dump(mode="json")
        getattr(self, values.pop("verb"))(**values)
        self.check_invariants()
        self.clients_write()

    # -- verbs

    def preflight(self, sides: list[str]) -> None: ...

    def provision_target(self) -> None: ...

    def prepare_front(self, ttl_seconds: int) -> None: ...

    def end_target(self, machines: str) -> None:
        assert self.authority != "cloud"

    def take_recovery_point(self, sides: list[str], clones: bool) -> None:
        assert (sides, clones) == (["source", "dr"], False)

    def replicate(self, source: str, replica: str, read: str, pace: str) -> None:
        here, there = self.sides[source], self.sides[replica]
        if there.database == "primary":
            raise Refused("a primary is no replica")
        there.database = "standby"
        there.writes = set(here.writes)

    def run_playbook(self, playbook: str, side: str, prepared: bool) -> None:
        getattr(self, f"play_{playbook}")(self.sides[side])

    def play_drain(self, side: SideOfWorld) -> None:
        side.serving = False

    def play_fence(self, side: SideOfWorld) -> None:
        side.serving, side.fenced = False, True

    def play_unfence(self, side: SideOfWorld) -> None:
        side.fenced = False

    def play_start(self, side: SideOfWorld) -> None:
        if side.fenced:
            raise Refused("fenced")
        self.open_database(side)
        if side.database != "primary":
            raise Refused("its database takes no writes")
        side.serving = True

    def open_database(self, side: SideOfWorld) -> None:
        if side.database == "stopped":
            if side.fenced:
                raise Refused("a fenced database starts as a standby only")
            side.database = "primary"

    def verify_digests(self, sides: list[str], reading: str) -> None:
        if len({frozenset(self.sides[name].writes) for name in sides}) != 1:
            raise Refused("digests differ")

    def move_authority(self, from_side: str, to_side: str) -> None:
        if self.authority == to_side:
            return
        left = self.sides[from_side]
        if left.serving:
            raise Refused(f"{from_side} serves")
        if not left.fenced:
            raise Refused(f"{from_side} is not fenced")
        if left.database == "primary":
            left.database = "stopped"
        self.authority = to_side

    def promote(self, side: str, old_side: str) -> None:
        if self.authority != side:
            raise Refused(f"{side} has no authority")
        new, old = self.sides[side], self.sides[old_side]
        self.open_database(new)
        if new.database == "primary":
            return
        if old.database == "primary":
            old.database = "stopped"
        if not old.writes <= new.writes:
            raise Refused("the standby lacks what the old primary wrote")
        new.database = "primary"

    def carry_back(self, from_side: str, to_side: str) -> None:
        """Writes are brought home; a database that was promoted is followed, then shut. It opens nothing."""
        newer, older = self.sides[from_side], self.sides[to_side]
        if newer.serving:
            raise Refused(f"{from_side} serves")
        if newer.database == "primary":
            older.database = "standby"
            newer.database = "stopped"
        older.writes |= newer.writes

    def switch_front(self, side: str) -> None:
        self.front = side

    def check(self, side: str, through_front: bool, levels: list[str]) -> None:
        if not self.sides[side].serving or (through_front and self.front != side):
            raise Refused(f"{side} does not answer")

    def watch(self, side: str, seconds: float, levels: list[str], follow: list[str], whole: bool) -> None:
        self.check(side, True, levels)

    def follow(self, chain: list[str], pace: str, datasets: str) -> None:
        """Each side holds what the one before it holds; what only a replica holds is never overwritten."""
        if chain[0] not in (self.authority, "dr"):
            raise Refused(f"nothing follows {chain[0]}")
        for upstream, replica in pairwise(chain):
            above, below = self.sides[upstream], self.sides[replica]
            if below.database == "primary" or not below.writes <= above.writes:
                raise Refused(f"{replica} holds what {upstream} does not")
            below.database, below.writes = "standby", set(above.writes)

    def account_writes(self, at: str, beside: str) -> None:
        assert self.authority == at

    def weigh_window(self, since: str, window: float, rollback: float, reserve: float) -> None:
        assert since == "drain"

    def commit(self, side: str) -> None:
        assert self.authority == side
        self.committed = True


def run_until(world: World, order: list[Step], failing: int, *, took_effect: bool) -> list[Step]:
    """Steps in `order`; the one at `failing` fails, with or without its effect. What must be undone, last first."""
    for step in order[:failing]:
        world.do(step.action)
    if took_effect:
        world.do(order[failing].action)
    return order[: failing + 1][::-1]


def written_order() -> list[Step]:
    return list(RUNBOOK.steps)


def undo(world: World, steps: list[Step]) -> None:
    for step in steps:
        if step.inverse.action is not None:
            world.do(step.inverse.action)


def test_the_whole_way_out_ends_at_the_cloud_with_every_write():
    world = World()
    for step in written_order():
        world.do(step.action)
    assert world.committed
    assert world.authority == world.front == "cloud"
    assert world.sides["cloud"].writes == world.acknowledged
    assert not world.sides["source"].serving


ROLLED_BACK_FROM = [step.id for step in RUNBOOK.steps if step.on_failure == "rollback"]


@pytest.mark.parametrize("took_effect", [False, True], ids=["before_the_deed", "after_the_deed"])
@pytest.mark.parametrize("broken", ROLLED_BACK_FROM)
def test_the_way_back_from_every_step_ends_at_the_source_with_every_write(broken, took_effect):
    order = written_order()
    world = World()
    undo(world, run_until(world, order, list(STEPS).index(broken), took_effect=took_effect))
    assert world.authority == world.front == "source"
    assert world.sides["source"].serving
    assert world.sides["source"].writes == world.acknowledged
    assert not world.sides["source"].fenced
    assert world.sides["cloud"].fenced, "a cloud side that holds no authority stays fenced"


@st.composite
def broken_runs(draw: st.DrawFn) -> tuple[list[Step], int, bool]:
    """Any order that the graph allows, broken off anywhere."""
    left, order = dict(STEPS), list[Step]()
    while left:
        ready = [step for step in left.values() if not set(step.needs) & set(left)]
        step = draw(st.sampled_from(ready))
        order.append(left.pop(step.id))
    return order, draw(st.integers(0, len(order) - 1)), draw(st.booleans())


@settings(max_examples=300, deadline=None)
@given(broken_runs())
def test_no_order_and_no_break_leaves_two_writers_or_loses_a_write(case):
    order, failing, took_effect = case
    world = World()
    backwards = run_until(world, order, failing, took_effect=took_effect)
    if order[failing].on_failure == "stop":
        if not world.committed:
            assert world.sides[world.authority].serving, "a step that stops the run leaves the service as it was"
        return
    undo(world, backwards)
    # Then the same plan once more, to its end: what a way back leaves behind must not stand in the way.
    assert world.sides["source"].serving
    for step in written_order():
        world.do(step.action)
    assert world.sides["cloud"].writes == world.acknowledged


def test_every_inverse_may_be_run_twice():
    order = written_order()
    world = World()
    for step in run_until(world, order, list(STEPS).index("watch"), took_effect=True):
        if step.inverse.action is not None:
            world.do(step.inverse.action)
            if step.inverse.action.verb != "check":
                world.do(step.inverse.action)
    assert world.sides["source"].serving
    assert world.sides["source"].writes == world.acknowledged


def test_no_step_before_the_drain_can_end_in_a_way_back():
    for step in RUNBOOK.steps[: list(STEPS).index("drain")]:
        assert step.on_failure == "stop"


def test_the_source_is_not_read_while_the_cloud_is_seeded():
    assert STEPS["seed_cloud"].action.model_dump(mode="json") == {
        "verb": "replicate",
        "source": "dr",
        "replica": "cloud",
        "read": "point",
        "pace": "whole",
    }
