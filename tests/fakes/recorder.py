"""A recorder in memory that obeys the laws of contracts.observer.Recorder."""

import hashlib
import json
import threading
from typing import Any

from orchestrator.evidence.envelope import prepare_event, subject_of
from orchestrator.evidence.scrubber import Scrubber
from orchestrator.foundation.errors import LedgerFull
from orchestrator.foundation.limits import EVIDENCE_ENTRY_BYTES_MAX
from orchestrator.model.event import RunEvent


class FakeRecorder:
    """Keeps what is recorded. `room` is how many more events fit: a full disk in tests.

    `recorded` are the events as they came, `entries` as the ledger would hold them, `kept` the artifacts by digest,
    `published` the sizes at which a checkpoint was signed.
    """

    def __init__(self, *, room: int | None = None) -> None:
        self.room = room
        self.recorded: list[RunEvent] = []
        self.entries: list[dict[str, Any]] = []
        self.kept: dict[str, bytes] = {}
        self.published: list[int] = []
        self._next_seq: dict[str, int] = {}
        self._scrubber = Scrubber()
        self._one_at_a_time = threading.Lock()

    def record(self, event: RunEvent) -> int:
        data = self._scrubber.clean(event.data)
        prepared = self._prepare(event, data)
        if len(prepared.numbered(0)) > EVIDENCE_ENTRY_BYTES_MAX:
            body = json.dumps(data).encode()
            prepared = self._prepare(event, {"kept": self.keep(body, "application/json")})
        with self._one_at_a_time:
            if self.room is not None:
                if self.room <= 0:
                    raise LedgerFull("no room in the fake ledger")
                self.room -= 1
            seq = self._next_seq.get(event.run, 0)
            self._next_seq[event.run] = seq + 1
            self.recorded.append(event)
            self.entries.append(json.loads(prepared.numbered(seq)))
            return len(self.entries) - 1

    def _prepare(self, event: RunEvent, data: dict[str, Any]):
        return prepare_event(
            run=event.run,
            kind=event.type,
            time=event.at,
            source="urn:skerry:controller:fake",
            subject=subject_of(event.system, event.step, event.attempt),
            data=data,
        )

    def keep(self, content: bytes, media_type: str) -> dict[str, Any]:
        content = self._scrubber.clean_bytes(content)
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.kept[digest] = content
        return {"digest": digest, "size": len(content), "mediaType": media_type}

    def publish(self) -> None:
        self.published.append(len(self.entries))

    def register_secret(self, value: str) -> None:
        self._scrubber.register(value)

    def close(self) -> None:
        self.publish()
