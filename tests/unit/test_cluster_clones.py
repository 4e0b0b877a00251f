"""A recovery point of a cluster whose points are clones: held at DR, proved there, on record."""

import pytest

from orchestrator.foundation.errors import DigestMismatch
from orchestrator.model import action as actions
from orchestrator.model.site import Side
from orchestrator.steps.handlers import handlers_over
from tests.fakes.drivers import DR, REGISTER, SYSTEM, FakeWorld, a_deed, the_plan

CLONED = SYSTEM.model_copy(
    update={
        "datasets": tuple(
            item.model_copy(update={"points": "clone"}) if item.name == REGISTER.name else item
            for item in SYSTEM.datasets
        )
    }
)


@pytest.fixture
def world():
    return FakeWorld()


def act(world, action, system):
    deed = a_deed(action, step=action.verb, plan=the_plan(system))
    return handlers_over(world.drivers)(action.verb).act(deed, lambda _: None, world.emit)


def told(world, kind):
    return [data for of, data in world.events if of == kind]


@pytest.mark.parametrize(("system", "clones"), [(SYSTEM, 0), (CLONED, 1)])
def test_a_clone_is_held_and_proved_where_the_estate_asks_for_it(world, system, clones):
    act(world, actions.Replicate(source=Side.SOURCE, replica=Side.DR), system)
    outcome = act(world, actions.TakeRecoveryPoint(), system)
    assert outcome.passed, outcome.message
    assert len(world.databases.clones) == clones
    assert len(told(world, "cluster.checked")) == clones
    for check in told(world, "cluster.checked"):
        assert check["digest"] == outcome.observed["datasets"][REGISTER.name]
        assert check["host"] == DR.name
        assert check["checks"]


def test_a_clone_that_is_not_what_was_held_makes_no_point(world):
    act(world, actions.Replicate(source=Side.SOURCE, replica=Side.DR), CLONED)
    clones = world.databases.clones

    def rot(name):
        if name == "prove_clone:before":
            for key in clones:
                clones[key] = "sha256:" + "0" * 64

    world.interruption.on_place = rot
    outcome = act(world, actions.TakeRecoveryPoint(), CLONED)
    assert outcome.error == DigestMismatch.__name__
    assert world.catalogue.list("recovery_point") == []
