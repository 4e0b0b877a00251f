"""What a verb can do: look, act, and (through its inverse's own verb) be undone."""

from collections.abc import Callable
from typing import Any, Protocol

from orchestrator.contracts.progress import ProgressSink
from orchestrator.model.action import Action
from orchestrator.model.frozen import Frozen
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.step import Step


class Deed(Frozen):
    """One step about to be done or undone.

    `key` is the idempotency key: equal over all attempts of this deed, different for do and undo.
    `ticket` is higher than that of every deed of the system whose intent was written before; 0 outside a run.
    `earlier` holds the `observed` of this system's finished steps, by step id (`<id>` forward, `<id>.undo` backward).
    """

    run: str
    plan: Plan
    system_plan: SystemPlan
    step: Step
    mode: str  # "do" or "undo"
    attempt: int
    key: str
    ticket: int = 0
    earlier: dict[str, dict[str, Any]] = {}

    @property
    def action(self) -> Action:
        """What is to be done: the step's action forward, its inverse's backward."""
        if self.mode == "do":
            return self.step.action
        if self.step.inverse.action is None:
            raise ValueError(f"step {self.step.id} has no inverse: {self.step.inverse.none_because}")
        return self.step.inverse.action


# Publishes one event of the deed, type (`<noun>.<verb>`) and data, to the recorder and the observers. A value of the
# data may be an observer.Attachment.
# It returns when the event is durable; LedgerFull and EvidenceError pass through a handler untouched.
Emit = Callable[[str, dict[str, Any]], None]


class Handler(Protocol):
    """One verb.

    Laws (tests/laws/handler_laws.py):
      probe   touches nothing; applied only when the world itself says so. It is asked only when an earlier attempt may
              have acted. On applied, act is not called and nothing is observed: a deed whose observed values are needed
              later, and which may be done again, answers absent
      act     may be called again after a crash at any place within it, and ends in the same state
      act     returns an Outcome for whatever the world refuses; it raises only when our own machinery is broken
    """

    def probe(self, deed: Deed) -> Probe: ...

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome: ...


class Handlers(Protocol):
    """Gives the handler of a verb, for do and undo alike: an undo is a deed with the inverse's action."""

    def __call__(self, verb: str) -> Handler: ...
