"""How one step is done exactly once: intent → started → probe → act → finished → done.

Rules:
  the intent is durable before anything else, so that a later attempt knows that an earlier one may have acted
  with its intent a deed gets its ticket, before it is asked whether it may act: a host obeys no order whose ticket is
  older than one it obeyed already, so that what a dead or sleeping process set out to do cannot undo what came after
  step.started is durable in the evidence before the deed; where it cannot be written, there is no deed
  after an attempt whose end nobody wrote down, the world is asked first; unknown goes to a person
  the end is in the evidence before it is in the journal
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.engine import KeepOpen
from orchestrator.contracts.handler import Deed, Handler, Handlers
from orchestrator.engine.event_stream import EventStream
from orchestrator.engine.turns import Mode
from orchestrator.engine.worker_store import EarlierIntent, StepState, WorkerStore
from orchestrator.foundation.clock import Clock
from orchestrator.foundation.errors import (
    CommandTimedOut,
    EngineUnavailable,
    EvidenceError,
    OrchestratorError,
    OutcomeUnknown,
)
from orchestrator.model.outcome import Outcome, Probe, Result

PROBE_ATTEMPTS_MAX = 4
PROBE_WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class Ended:
    """How a deed ended. `unknown`: nobody knows whether it took effect."""

    outcome: Outcome
    unknown: bool = False


class StepProtocol:
    """Performs deeds. Safe for many threads, one deed each.

    `may_act` is called right before a deed touches the world; it raises when this process must not act any more.
    Raises EvidenceError (with LedgerFull) and EngineUnavailable: then the deed's end was not written, and the next
    worker asks the world.
    """

    def __init__(
        self,
        store: WorkerStore,
        handlers: Handlers,
        events: EventStream,
        clock: Clock,
        *,
        worker: str,
        may_act: Callable[[], None],
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._events = events
        self._clock = clock
        self._worker = worker
        self._may_act = may_act

    def perform(self, deed: Deed, *, settled_absent: bool = False) -> Ended:
        mode = _mode(deed)
        system = deed.system_plan.system.name
        intent = self._store.begin_step(
            deed.run, system, deed.step.id, mode, attempt=deed.attempt, worker=self._worker
        )
        if intent.ended and intent.outcome is not None:
            return Ended(intent.outcome, unknown=intent.state == "unknown")
        deed = deed.model_copy(update={"ticket": intent.ticket})
        began = self._clock.monotonic_seconds()
        self._tell_started(deed, intent)
        ended = self._probed_or_acted(deed, intent, settled_absent=settled_absent)
        if not ended.outcome.passed:
            # What a process broke off by ending has not failed: the next one asks the world, and goes on.
            self._may_act()
        seconds = round(self._clock.monotonic_seconds() - began, 3)
        self._tell_finished(deed, ended, seconds)
        state: StepState = "unknown" if ended.unknown else "done" if ended.outcome.passed else "failed"
        self._store.finish_step(
            deed.run,
            system,
            deed.step.id,
            mode,
            starts=intent.starts,
            state=state,
            outcome=ended.outcome,
            seconds=seconds,
        )
        return ended

    def repeat(self, deed: Deed, keep: KeepOpen) -> None:
        """Have `keep` do a deed of a run at rest once more: no step of the run, and no end that it knows of.

        What breaks in it stands in the evidence. Raises as `perform`.
        """
        system = deed.system_plan.system.name
        self._may_act()
        try:
            keep(deed.model_copy(update={"ticket": self._store.next_ticket(system)}))
        except (EvidenceError, EngineUnavailable):
            raise
        except Exception as error:  # the step boundary: the run stands where it stood
            because = error.message if isinstance(error, OrchestratorError) else f"it broke: {error!r}"
            self._events.tell("replication.behind", run=deed.run, system=system, data={"why": because})

    def _probed_or_acted(self, deed: Deed, intent: EarlierIntent, *, settled_absent: bool) -> Ended:
        handler = self._handlers(deed.action.verb)
        earlier_may_have_acted = intent.state in ("started", "unknown") and not settled_absent
        if earlier_may_have_acted:
            verdict, why = self._probe(handler, deed)
            if verdict is Probe.APPLIED:
                return Ended(Outcome.done("found already done"))
            if verdict is Probe.UNKNOWN:
                return _nobody_knows(f"an earlier attempt was cut off{why}")
        self._may_act()
        outcome, doubtful = self._act(handler, deed)
        if not doubtful:
            return Ended(outcome)
        verdict, why = self._probe(handler, deed)
        if verdict is Probe.APPLIED:
            return Ended(Outcome.done(f"found done after: {outcome.message}"))
        if verdict is Probe.UNKNOWN:
            return _nobody_knows(f"{outcome.message}{why}")
        return Ended(outcome)

    def _act(self, handler: Handler, deed: Deed) -> tuple[Outcome, bool]:
        """The outcome, and whether the deed may have taken effect although the outcome does not say so."""
        system = deed.system_plan.system.name

        def emit(type_: str, data: dict[str, Any]) -> None:
            self._events.tell(
                type_, run=deed.run, system=system, step=deed.step.id, attempt=deed.attempt, data=data
            )

        try:
            outcome = handler.act(
                deed, lambda progress: self._events.progress(deed.run, system, deed.step.id, progress), emit
            )
        except (EvidenceError, EngineUnavailable):
            raise
        except OrchestratorError as error:
            outcome = Outcome.failed(
                error.message, error=type(error).__name__, hint=error.hint, retryable=error.retryable
            )
            # Other errors may simply be tried again, for act may be called after a crash at any place within it.
            return outcome, isinstance(error, CommandTimedOut | OutcomeUnknown)
        except Exception as error:  # the step boundary: whatever a handler breaks on is the step's end
            return Outcome.failed(f"{deed.action.verb} broke: {error!r}", error=type(error).__name__), True
        return outcome, outcome.result is Result.TIMED_OUT

    def _probe(self, handler: Handler, deed: Deed) -> tuple[Probe, str]:
        """What the world says, and why it says nothing where it does not."""
        verdict, why = Probe.UNKNOWN, ""
        for attempt in range(1, PROBE_ATTEMPTS_MAX + 1):
            try:
                verdict, why = handler.probe(deed), ""
                break
            except (EvidenceError, EngineUnavailable):
                raise
            except OrchestratorError as error:
                verdict, why = Probe.UNKNOWN, f"; {error.message}"
                if not error.retryable or attempt == PROBE_ATTEMPTS_MAX:
                    break
                self._clock.sleep(PROBE_WAIT_SECONDS * attempt)
            except Exception as error:  # the step boundary
                verdict, why = Probe.UNKNOWN, f"; looking broke: {error!r}"
                break
        self._events.tell(
            "step.probed",
            run=deed.run,
            system=deed.system_plan.system.name,
            step=deed.step.id,
            attempt=deed.attempt,
            data={"mode": deed.mode, "verdict": verdict.value, **({"because": why[2:]} if why else {})},
        )
        return verdict, why

    def _tell_started(self, deed: Deed, intent: EarlierIntent) -> None:
        step = deed.step
        self._events.tell(
            "step.started",
            run=deed.run,
            system=deed.system_plan.system.name,
            step=step.id,
            attempt=deed.attempt,
            data={
                "mode": deed.mode,
                "key": deed.key,
                "start": intent.starts,
                "resumed": intent.state == "started",
                "title": step.title,
                "phase": step.phase.value,
                "action": deed.action.model_dump(mode="json"),
                "needs": list(step.needs),
                "owner": step.owner_role,
                "verifier": step.verifier_role,
                "actor": self._worker,
            },
        )

    def _tell_finished(self, deed: Deed, ended: Ended, seconds: float) -> None:
        outcome = ended.outcome
        data: dict[str, Any] = {
            "mode": deed.mode,
            "status": "unknown" if ended.unknown else outcome.result.value,
            "message": outcome.message,
            "durationSeconds": seconds,
        }
        if not outcome.passed:
            data |= {"error": outcome.error, "hint": outcome.hint, "retryable": outcome.retryable}
        self._events.tell(
            "step.finished",
            run=deed.run,
            system=deed.system_plan.system.name,
            step=deed.step.id,
            attempt=deed.attempt,
            data=data | self._events.observed(outcome.observed),
        )


def _nobody_knows(message: str) -> Ended:
    outcome = Outcome.failed(
        message,
        error="OutcomeUnknown",
        hint="Look at the system, then say what you found: found-applied or found-absent.",
    )
    return Ended(outcome, unknown=True)


def _mode(deed: Deed) -> Mode:
    return "do" if deed.mode == "do" else "undo"
