"""Whether a system is where its plan takes it from: a plan that was carried out must not take away what it brought."""

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed
from orchestrator.foundation.errors import AuthorityError
from orchestrator.model.action import MoveAuthority, Replicate, SeizeAuthority
from orchestrator.model.site import Side

HINT = "Plan again from what is; skerry plan show tells what each plan does."


def side_it_begins_at(deed: Deed) -> Side | None:
    """The side that must hold the system when the plan begins; None where the plan says nothing of that."""
    for step in deed.system_plan.steps:
        match step.action:
            case MoveAuthority(from_side=side) | SeizeAuthority(from_side=side):
                return side
            case Replicate(source=side) if side is not Side.DR:
                return side
    return None


def refuse_elsewhere(drivers: Drivers, deed: Deed) -> None:
    """AuthorityError where the system lives at another side than the plan takes it from."""
    system, side = deed.system_plan.system.name, side_it_begins_at(deed)
    lives_at = drivers.authority.read(system).side
    if side not in (None, lives_at):
        raise AuthorityError(f"{system} lives at {lives_at.value}; this plan takes it from {side.value}", hint=HINT)


def refuse_to_fence_its_home(drivers: Drivers, deed: Deed, side: Side) -> None:
    """AuthorityError where the system lives at `side` and no step of the plan takes it from there."""
    leaves = any(
        step.action.from_side is side
        for step in deed.system_plan.steps
        if isinstance(step.action, MoveAuthority | SeizeAuthority)
    )
    system = deed.system_plan.system.name
    if not leaves and drivers.authority.read(system).side is side:
        raise AuthorityError(f"{system} lives at {side.value}; this plan would end it there", hint=HINT)
