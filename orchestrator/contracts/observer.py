"""Who watches a run: evidence (whose failure stops it), console, dashboard."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from orchestrator.contracts.progress import Progress
from orchestrator.model.event import RunEvent
from orchestrator.model.frozen import Frozen


class Attachment(Frozen):
    """Bytes that belong to an event and are kept beside the log: a picture, what a console said."""

    content: bytes
    media_type: str


def with_references(data: Mapping[str, Any], keep: Callable[[bytes, str], dict[str, Any]]) -> dict[str, Any]:
    """An event's data with its attachments kept, and in their place the references to them."""
    return {
        name: keep(value.content, value.media_type) if isinstance(value, Attachment) else value
        for name, value in data.items()
    }


class Recorder(Protocol):
    """The evidence observer.

    Laws (tests/laws/recorder_laws.py):
      record    returns only when the event is durable; returns its index in the log; raises LedgerFull or EvidenceError
      keep      stores bytes under their digest and returns the reference for an event; storing twice is storing once
      publish   signs a checkpoint over all recorded events
    """

    def record(self, event: RunEvent) -> int: ...

    def keep(self, content: bytes, media_type: str) -> dict[str, Any]:
        """{"digest": "sha256:…", "size": n, "mediaType": …}"""
        ...

    def publish(self) -> None: ...


class SecretKeeper(Protocol):
    """Keeps secrets out of the evidence; a Recorder is one too.

    register_secret   from now on no event and no artifact holds `value`, nor its forms in URLs, JSON, base64
    """

    def register_secret(self, value: str) -> None: ...


class Observer(Protocol):
    """Watches; cannot stop anything. Must return quickly and never raise."""

    def notice(self, event: RunEvent) -> None: ...

    def progress(self, run: str, system: str, step: str, progress: Progress) -> None: ...
