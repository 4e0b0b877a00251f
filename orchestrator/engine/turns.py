"""What goes into the reducer and what comes out of it: events and commands, frozen.

Events are recorded by the durable engine as JSON; commands are not, for the same events give the same commands again.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from orchestrator.contracts.engine import SystemState
from orchestrator.contracts.requests import Operation
from orchestrator.model.frozen import Frozen
from orchestrator.model.outcome import Outcome

Mode = Literal["do", "undo"]


class Begun(Frozen):
    """The system's run was taken up. `at` is in seconds since the epoch, here and everywhere in this module."""

    kind: Literal["begun"] = "begun"
    at: float


class DeedEnded(Frozen):
    """A step in one direction ended; `unknown` when nobody knows whether it took effect."""

    kind: Literal["deed_ended"] = "deed_ended"
    at: float
    step: str
    mode: Mode
    outcome: Outcome
    unknown: bool = False


class DeadlineReached(Frozen):
    """The earliest deadline of the state passed."""

    kind: Literal["deadline_reached"] = "deadline_reached"
    at: float
    step: str
    mode: Mode


class Requested(Frozen):
    """A person asked for something."""

    kind: Literal["requested"] = "requested"
    at: float
    id: int
    operation: Operation
    step: str = ""
    by: str
    reason: str = ""


Event = Annotated[Begun | DeedEnded | DeadlineReached | Requested, Field(discriminator="kind")]
EVENTS: TypeAdapter[list[Event]] = TypeAdapter(list[Event])


class Perform(Frozen):
    """Carry out a step in one direction. `settled_absent`: a person looked, and it had not taken effect."""

    step: str
    mode: Mode
    attempt: int
    settled_absent: bool = False


class Open(Frozen):
    """A step that the engine carries itself (for a person, or for time) begins to wait."""

    step: str
    mode: Mode
    until: float


class Settle(Frozen):
    """A step ended by a word rather than by a deed: of a person, of a deadline, of a roll-back that let it go.

    `recorded` is False for a step that never began (its gate was closed): there is no start to close in the evidence.
    """

    step: str
    mode: Mode
    outcome: Outcome
    recorded: bool = True


class Announce(Frozen):
    """An event for evidence and observers."""

    type: str
    step: str = ""
    data: dict[str, Any] = {}


class SetState(Frozen):
    """What people see of the system from now on. `holds`: no other run may take the system."""

    state: SystemState
    reason: str
    holds: bool


Command = Perform | Open | Settle | Announce | SetState
