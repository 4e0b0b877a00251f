"""Puts receipts on record: what each place answered about a head of the log.

Rules: a receipt is on record once, in an event `anchor.recorded` of the log's own; it is put there before the next
head is shown, so that the last head that was shown stays the log's last. What another command showed is put there too.
"""

import json
from pathlib import Path
from typing import Any

from orchestrator.contracts.observer import Recorder
from orchestrator.evidence.envelope import LOG_RUN
from orchestrator.evidence.note import Checkpoint, split_note
from orchestrator.evidence.receipts import RECEIPT, RECORDED, receipt_digest
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.canonical_json import canonical_json
from orchestrator.model.event import RunEvent

_MEDIA_TYPES = {
    "note": "text/plain",
    "tsr": "application/timestamp-reply",
    "worm.json": "application/json",
}
_REMEMBERED = "on-record.json"  # the writer's own: name → digest of what it put on record


def put_receipts_on_record(ledger: Path, recorder: Recorder, at: str) -> int:
    """Record every receipt below anchors/ that is not on record as it is; returns how many events that took."""
    folder = ledger / "anchors"
    known = _remembered(folder / _REMEMBERED)
    new: dict[int, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("[0-9]*")):
        found = RECEIPT.fullmatch(path.name)
        if found is None:
            continue
        content = path.read_bytes()
        digest = receipt_digest(content)
        if known.get(path.name) != digest and not (found[2] == "note" and _is_the_logs_alone(content)):
            kept = recorder.keep(content, _MEDIA_TYPES[found[2]])
            new.setdefault(int(found[1]), []).append({"name": path.name, **kept})
            known[path.name] = digest
    for size, receipts in sorted(new.items()):
        data = {"size": size, "receipts": receipts}
        recorder.record(RunEvent(type=RECORDED, run=LOG_RUN, at=at, data=data))
    if new:
        replace_file(folder / _REMEMBERED, canonical_json(known) + b"\n")
    return len(new)


def _is_the_logs_alone(note: bytes) -> bool:
    """A head that nobody but the log has signed is no answer of anybody."""
    text, signatures = split_note(note.decode())
    return all(each.name == Checkpoint.parse(text).origin for each in signatures)


def _remembered(path: Path) -> dict[str, str]:
    """Lost or spoilt, it costs a second event for each receipt, and nothing else."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(digest) for name, digest in found.items()} if isinstance(found, dict) else {}
