"""A person's review of a finished run: signed over the digest of its events, and put on record in the same run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.evidence.elsewhere import OpenLock
from orchestrator.evidence.signed_words import finished_run, put_on_record
from orchestrator.evidence.statements import REVIEW
from orchestrator.evidence.story import moment
from orchestrator.foundation.clock import Clock, SystemClock
from orchestrator.foundation.errors import UsageError

_FINDING_KEYS = {"id", "text", "action", "owner", "due"}
_FINDING_KEYS_MORE = {"severity", "cause"}


def record_review(
    ledger: Path,
    run: str,
    *,
    person: str,
    role: str,
    key_file: str,
    conclusion: str,
    findings: Sequence[dict[str, Any]] = (),
    closes: Sequence[str] = (),
    clock: Clock | None = None,
    open_lock: OpenLock | None = None,
) -> int:
    """Sign and record; returns the log's index. `findings`: id, text, action, owner, due (a date) and more.

    `closes` names findings of earlier reviews that this run shows to be mended; it counts for passed drills alone.
    """
    for finding in findings:
        missing, unknown = _FINDING_KEYS - set(finding), set(finding) - _FINDING_KEYS - _FINDING_KEYS_MORE
        if missing or unknown:
            raise UsageError(f"a finding lacks {', '.join(sorted(missing)) or 'nothing'}, and has {sorted(unknown)}")
        moment(f"{finding['due']}T00:00:00Z")
    predicate = {
        "reviewer": person,
        "role": role,
        "conclusion": conclusion,
        "findings": list(findings),
        "closes": list(closes),
    }
    found = finished_run(ledger, run)
    return put_on_record(
        ledger,
        found,
        "review.signed",
        REVIEW,
        predicate,
        person=person,
        role=role,
        key_file=key_file,
        clock=clock or SystemClock(),
        open_lock=open_lock,
    )
