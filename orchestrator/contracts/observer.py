"""Who watches a run: evidence (whose failure stops it), console, dashboard."""

from typing import Any, Protocol

from orchestrator.contracts.progress import Progress
from orchestrator.model.event import RunEvent


class Recorder(Protocol):
    """The evidence observer.

    Laws (tests/laws/recorder_laws.py):
      record    returns only when the event is durable; returns its index in the log; raises LedgerFull or EvidenceError
      keep      stores bytes under their digest and returns the reference to put into an event; storing twice is storing once
      publish   signs a checkpoint over all recorded events
    """

    def record(self, event: RunEvent) -> int: ...

    def keep(self, content: bytes, media_type: str) -> dict[str, Any]:
        """{"digest": "sha256:…", "size": n, "mediaType": …}"""
        ...

    def publish(self) -> None: ...


class Observer(Protocol):
    """Watches; cannot stop anything. Must return quickly and never raise."""

    def notice(self, event: RunEvent) -> None: ...

    def progress(self, run: str, system: str, step: str, progress: Progress) -> None: ...
