"""A person's review of a finished run: signed over the digest of its events, and put on record in the same run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.evidence.approvals import sign_with_ssh_key
from orchestrator.evidence.export import collect
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.recorder import controller_source, open_recorder
from orchestrator.evidence.statements import ENVELOPE_MEDIA_TYPE, REVIEW, Statement
from orchestrator.evidence.story import moment
from orchestrator.evidence.verify_log import own_keys
from orchestrator.foundation.clock import Clock, SystemClock, timestamp
from orchestrator.foundation.errors import UsageError
from orchestrator.model.event import RunEvent

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
) -> int:
    """Sign and record; returns the log's index. `findings`: id, text, action, owner, due (a date) and more.

    `closes` names findings of earlier reviews that this run shows to be mended; it counts for passed drills alone.
    """
    clock = clock or SystemClock()
    for finding in findings:
        missing, unknown = _FINDING_KEYS - set(finding), set(finding) - _FINDING_KEYS - _FINDING_KEYS_MORE
        if missing or unknown:
            raise UsageError(f"a finding lacks {', '.join(sorted(missing)) or 'nothing'}, and has {sorted(unknown)}")
        moment(f"{finding['due']}T00:00:00Z")
    entries = collect(ledger, run, policy=b"")["log/events.ndjson"].split(b"\n")[:-1]
    ends = [at for at, entry in enumerate(entries) if entry.endswith(b'"type":"skerry.run.finished.v1"}')]
    if not ends:
        raise UsageError(f"run {run} is not finished: there is nothing to review yet")
    now = timestamp(clock.now())
    predicate = {
        "reviewer": person,
        "role": role,
        "statementTime": now,
        "conclusion": conclusion,
        "findings": list(findings),
        "closes": list(closes),
    }
    digest = run_digest(entries[: ends[-1] + 1])
    envelope, key = sign_with_ssh_key(Statement({f"run:{run}": digest}, REVIEW, predicate), key_file)
    origin = own_keys(ledger)[0].name
    recorder = open_recorder(ledger, origin=origin, source=controller_source(), clock=clock)
    try:
        kept = recorder.keep(envelope.text().encode(), ENVELOPE_MEDIA_TYPE)
        data = {"by": person, "role": role, "key": key, "envelope": kept}
        return recorder.record(RunEvent(type="review.signed", run=run, at=now, data=data))
    finally:
        recorder.close()
