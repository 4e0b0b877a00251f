"""What a deed asks for, as the action that its handler knows."""

from typing import TypeVar

from orchestrator.contracts.handler import Deed
from orchestrator.foundation.errors import PlanningError
from orchestrator.model.frozen import Frozen

Kind = TypeVar("Kind", bound=Frozen)


def asked(deed: Deed, kind: type[Kind]) -> Kind:
    """The deed's action. PlanningError when it is of another verb than the handler's: the list of handlers is wrong."""
    action = deed.action
    if not isinstance(action, kind):
        verb = kind.model_fields["verb"].default
        raise PlanningError(f"step {deed.step.id}: {verb} was given {action.verb}")
    return action
