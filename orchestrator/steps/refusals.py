"""What the world refuses becomes an Outcome; what our own machinery breaks passes through."""

from dataclasses import dataclass

from orchestrator.contracts.handler import Deed, Emit, Handler
from orchestrator.contracts.progress import ProgressSink
from orchestrator.foundation.errors import CommandTimedOut, EngineError, EvidenceError, Interrupted, OrchestratorError
from orchestrator.model.outcome import Outcome, Probe, Result


def refusal(error: OrchestratorError) -> Outcome:
    """The outcome of a deed that the world refused."""
    return Outcome(
        result=Result.TIMED_OUT if isinstance(error, CommandTimedOut) else Result.FAILED,
        message=error.message,
        error=type(error).__name__,
        hint=error.hint,
        retryable=error.retryable,
    )


@dataclass(frozen=True)
class Refusing:
    """A handler round a handler: errors of hosts, data and targets become failed outcomes."""

    inner: Handler

    def probe(self, deed: Deed) -> Probe:
        try:
            return self.inner.probe(deed)
        except (EvidenceError, EngineError, Interrupted):
            raise
        except OrchestratorError:
            # The world could not be asked, so nobody knows.
            return Probe.UNKNOWN

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        try:
            return self.inner.act(deed, progress, emit)
        except (EvidenceError, EngineError, Interrupted):
            raise
        except OrchestratorError as error:
            return refusal(error)
