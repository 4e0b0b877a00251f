"""Judges receipts of anchors: what each place answered about a head stands in the log itself, so none can vanish."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.plain_file import read_plain
from orchestrator.foundation.canonical_json import read_json

RECORDED = "anchor.recorded"
RECEIPT_BYTES_MAX = 1024 * 1024
RECEIPT = re.compile(r"(\d{12})\.(note|tsr|worm\.json)")


def receipt_digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def judge_receipts(ledger: Path, events: Sequence[LoggedEvent], findings: Findings) -> None:
    """Whether what the log says that others answered still lies beside it. A log that was copied alone is told so."""
    newest = {name: (event, receipt) for event in events for name, receipt in _receipts(event)}
    if not newest:
        return
    if not (ledger / "anchors").is_dir():
        findings.info("ANCHORS", f"{len(newest)} receipts of anchors are on record and do not lie here")
        return
    problems = []
    for name, (event, receipt) in sorted(newest.items()):
        why = _differs(ledger, name, str(receipt.get("digest", "")))
        if why:
            problems.append(f"anchors/{name}: {why}, as entry {event.index} has it")
    findings.judge("ANCHORS", problems, f"{len(newest)} receipts of anchors lie here as they are on record")


def _receipts(event: LoggedEvent) -> Iterator[tuple[str, dict[str, Any]]]:
    listed = event.data.get("receipts")
    for receipt in listed if isinstance(listed, list) else ():
        if isinstance(receipt, dict) and RECEIPT.fullmatch(str(receipt.get("name", ""))):
            yield str(receipt["name"]), receipt


def _differs(ledger: Path, name: str, digest: str) -> str:
    """Why the file is not the receipt on record; empty where it is, or says more (a further witness, a later lock)."""
    try:
        content = read_plain(ledger / "anchors" / name, RECEIPT_BYTES_MAX)
    except OSError:
        return "it is gone"
    if receipt_digest(content) == digest:
        return ""
    try:
        told = read_plain(ledger / artifact_path(digest), RECEIPT_BYTES_MAX)
    except OSError:
        return "it is not the one"
    if name.endswith(".note") and set(told.splitlines()) <= set(content.splitlines()):
        return ""
    return "" if name.endswith(".json") and _place(content) == _place(told) != () else "it is not the one"


def _place(claim: bytes) -> tuple[Any, ...]:
    """Bucket and key of a locked copy; empty for what is none."""
    try:
        said = read_json(claim)
        return (said["bucket"], said["key"])
    except (ValueError, KeyError, TypeError):
        return ()
