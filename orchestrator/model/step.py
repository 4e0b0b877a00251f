"""A step of a runbook and of a plan: the field's step record, what is known before it runs."""

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from orchestrator.model.action import Action
from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Name, Seconds, StepId


class Phase(StrEnum):
    PREPARE = "prepare"
    REPLICATE = "replicate"
    SEED = "seed"
    FREEZE = "freeze"
    QUIESCE = "quiesce"
    FINAL_SYNC = "final_sync"
    VERIFY_DATA = "verify_data"
    FENCE_SOURCE = "fence_source"
    PROMOTE = "promote"
    START = "start"
    VERIFY_SERVICE = "verify_service"
    SWITCH_TRAFFIC = "switch_traffic"
    OBSERVE = "observe"
    COMMIT = "commit"
    CLOSURE = "closure"
    ROLLBACK = "rollback"


class Retry(Frozen):
    """Attempts of one step, only for outcomes that say trying again can help."""

    attempts_max: int = Field(default=1, ge=1, le=20)
    wait_seconds: Seconds = 1.0


class Inverse(Frozen):
    """How a step is undone, or why it need not be. Exactly one of `action` and `none_because`."""

    action: Action | None = None
    none_because: str = ""

    @model_validator(mode="after")
    def _one_of_both(self) -> "Inverse":
        if (self.action is None) == (not self.none_because.strip()):
            raise ValueError("give either an inverse action or the reason why there is none (none_because)")
        return self


class Criterion(Frozen):
    """One thing a gate demands: a value observed by an earlier step, compared with what is expected."""

    id: StepId
    step: StepId  # whose `observed`
    observed: str  # key in `observed`, dots go deeper
    comparison: Literal["equal", "at_least", "at_most", "not_empty"] = "equal"
    expected: str | int | float | bool | None = None


class Gate(Frozen):
    """Criteria judged before the step may start. A gate without criteria is closed."""

    id: Literal["G0", "G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8"]
    title: str = ""
    criteria: tuple[Criterion, ...] = ()


class Deadline(Frozen):
    """By when a step must have passed: so long after another one did. When it passes, everything is rolled back."""

    after: StepId
    seconds: Seconds


class Step(Frozen):
    """One step: what, in which order, how it is judged, how it is undone.

    Used in runbooks (as written) and in plans (bound, `needs` complete).
    """

    id: StepId
    title: str
    phase: Phase
    action: Action
    needs: tuple[StepId, ...] = ()
    gate: Gate | None = None
    timeout: Seconds = 600.0
    retry: Retry = Retry()
    inverse: Inverse
    on_failure: Literal["stop", "rollback"] = "rollback"
    point_of_no_return: bool = False
    not_later_than: Deadline | None = None
    owner_role: Name = "migration-engineer"
    verifier_role: Name = "system-owner"
    preconditions: tuple[str, ...] = ()
    success_criteria: tuple[str, ...] = ()
    evidence_required: tuple[str, ...] = ()
