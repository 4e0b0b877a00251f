"""Puts the trust policy that an estate says it is judged by on record: signed, and named by every run after it."""

import hashlib
from pathlib import Path

from orchestrator.evidence.approvals import sign_with_ssh_key
from orchestrator.evidence.elsewhere import OpenLock
from orchestrator.evidence.envelope import LOG_RUN
from orchestrator.evidence.policy_told import ADOPTED
from orchestrator.evidence.recorder import reopen_recorder
from orchestrator.evidence.signed_words import log_seen
from orchestrator.evidence.statements import ENVELOPE_MEDIA_TYPE, POLICY, Statement
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.clock import Clock, SystemClock, timestamp
from orchestrator.model.event import RunEvent

_IN_FORCE = "policy.digest"  # beside the log: what new runs name


def adopt_policy(
    ledger: Path,
    content: bytes,
    *,
    person: str,
    role: str,
    key_file: str,
    clock: Clock | None = None,
    open_lock: OpenLock | None = None,
) -> tuple[int, str]:
    """Sign and record that `content` is the policy in force from now on; returns the log's index and its digest.

    EvidenceRejected for what is no trust policy.
    """
    parse_trust_policy(content, "the policy")
    clock = clock or SystemClock()
    now, digest = timestamp(clock.now()), hashlib.sha256(content).hexdigest()
    said = {"person": person, "role": role, "statementTime": now, "logSeen": log_seen(ledger)}
    envelope, key = sign_with_ssh_key(Statement({"policy": digest}, POLICY, said), key_file)
    recorder = reopen_recorder(ledger, clock, open_lock)
    try:
        data = {
            "by": person,
            "role": role,
            "key": key,
            "policy": f"sha256:{digest}",
            "document": recorder.keep(content, "application/json"),
            "envelope": recorder.keep(envelope.text().encode(), ENVELOPE_MEDIA_TYPE),
        }
        index = recorder.record(RunEvent(type=ADOPTED, run=LOG_RUN, at=now, data=data))
        replace_file(ledger / _IN_FORCE, f"sha256:{digest}\n".encode())
        return index, f"sha256:{digest}"
    finally:
        recorder.close()


def policy_in_force(ledger: Path) -> str:
    """The digest that was adopted last; empty where none was."""
    try:
        return (ledger / _IN_FORCE).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
