"""The one stream of events of all runs: durable in the evidence first, then told to those who watch."""

from collections.abc import Sequence
from typing import Any

from orchestrator.contracts.observer import Observer, Recorder, with_references
from orchestrator.contracts.progress import Progress
from orchestrator.foundation.canonical_json import canonical_json
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.model.event import RunEvent

OBSERVED_BYTES_MAX = 16 * 1024  # what is larger is kept beside the log, and the event holds its digest
OBSERVED_MEDIA_TYPE = "application/vnd.skerry.observed+json"  # the evidence conceals personal values within it


class EventStream:
    """Records, then tells. `tell` returns when the event is durable; raises LedgerFull or EvidenceError."""

    def __init__(self, recorder: Recorder, observers: Sequence[Observer], clock: Clock) -> None:
        self._recorder = recorder
        self._observers = tuple(observers)
        self._clock = clock

    def tell(
        self, type_: str, *, run: str, system: str = "", step: str = "", attempt: int = 0, data: dict[str, Any]
    ) -> None:
        event = RunEvent(
            type=type_,
            run=run,
            system=system,
            step=step,
            attempt=attempt,
            at=timestamp(self._clock.now()),
            data=with_references(data, self._recorder.keep),
        )
        self._recorder.record(event)
        for observer in self._observers:
            observer.notice(event)

    def progress(self, run: str, system: str, step: str, progress: Progress) -> None:
        for observer in self._observers:
            observer.progress(run, system, step, progress)

    def observed(self, observed: dict[str, Any]) -> dict[str, Any]:
        """`observed` as an event may hold it: itself, or a reference to it where it is large."""
        content = canonical_json(observed)
        if len(content) <= OBSERVED_BYTES_MAX:
            return {"observed": observed}
        return {"observedArtifact": self._recorder.keep(content, OBSERVED_MEDIA_TYPE)}

    def keep(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Store bytes beside the log; the reference that an event may hold."""
        return self._recorder.keep(content, media_type)

    def publish(self) -> None:
        self._recorder.publish()
