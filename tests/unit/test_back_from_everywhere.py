"""From any step reached, a roll-back brings the system back to where it started: the process dies after each step in
turn, another machine is asked to roll back, and every inverse fails once on the way.
"""

from collections import Counter
from typing import Any

import pytest

from orchestrator.contracts.databases import Role
from orchestrator.engine.turns import DeedEnded
from orchestrator.model.site import Side
from tests.fakes.drivers import DR, REGISTER, FakeWorld, the_plan
from tests.fakes.handlers import SimulatedCrash
from tests.fakes.plans import shipped_steps
from tests.fakes.run_in_hand import RunInHand
from tests.unit.test_switch_runbooks import CutOff, lives_at

HOME = {"from": "cloud", "to": "source"}
# What goes back by inverses: the runbook, its inputs, and the side where the system was.
WAYS = {
    "migrate": ("migrate", {}, Side.SOURCE),
    "cutover": ("cutover", HOME, Side.CLOUD),
    "failback": ("failback", {}, Side.CLOUD),
}
BEFORE_COMMIT = {
    way: [step.id for step in shipped_steps(runbook, inputs=inputs) if step.phase not in ("commit", "closure")]
    for way, (runbook, inputs, _) in WAYS.items()
}
CASES = [(way, step) for way, steps in BEFORE_COMMIT.items() for step in steps]


class EveryInverseFailsOnce(RunInHand):
    """Each inverse says once that it failed, after it took effect: nobody can tell from that how far it came."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.undone: list[str] = []
        self._failed: Counter[str] = Counter()

    def _perform(self, state: Any, key: Any) -> Any:
        ended = super()._perform(state, key)
        step, mode = key
        if mode == "do":
            return ended
        self._failed[step] += 1
        if self._failed[step] > 1:
            self.undone.append(step)
            return ended
        outcome = ended.outcome.model_copy(update={"result": "failed", "message": "ordered to fail"})
        return ended.model_copy(update={"outcome": outcome})


def world_before(way: str) -> FakeWorld:
    world = FakeWorld()
    if way != "migrate":
        assert RunInHand(world, the_plan()).live().status == "committed"
    return world


@pytest.mark.parametrize(("way", "last"), CASES, ids=[f"{way}-{step}" for way, step in CASES])
def test_from_every_step_it_comes_back_by_another_machine_though_each_inverse_fails_once(way, last):
    runbook, inputs, origin = WAYS[way]
    world = world_before(way)
    plan = the_plan(steps=shipped_steps(runbook, inputs=inputs))
    dead = CutOff(world, plan, last)
    with pytest.raises(SimulatedCrash):
        dead.live()
    elsewhere = EveryInverseFailsOnce(world, plan, journal=dead.journal, begun=dead.begun)
    elsewhere.ask_rollback()
    state = elsewhere.live()
    assert state.status == "rolled_back", state.reason
    lives_at(world, origin)
    assert world.databases.role(REGISTER, DR) in (Role.STANDBY, Role.MISSING)
    done = {event.step for event in elsewhere.journal if isinstance(event, DeedEnded) and event.mode == "do"}
    assert last in done
    order = [step.id for step in plan.systems[0].steps if step.inverse.action is not None and step.id in done]
    assert elsewhere.undone == order[::-1], "the last of the plan's order first"


@pytest.mark.parametrize("runbook", ["failover", "rollback"])
def test_what_has_no_way_back_of_its_own_says_so_and_is_done_again(runbook):
    steps = shipped_steps(runbook)
    assert all(step.inverse.action is None and step.inverse.none_because for step in steps)
    assert any(step.point_of_no_return for step in steps)


