"""The trust policy of an auditor: which log, witnesses, timestamps and people to believe; never out of a bundle."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.evidence.note import LogPolicy
from orchestrator.foundation.errors import EvidenceRejected
from orchestrator.foundation.limits import TRUST_POLICY_BYTES_MAX


@dataclass(frozen=True)
class TrustPolicy:
    """A policy as read; `digest` is over the file's bytes, for people to compare."""

    where: str
    digest: str
    log_policy: LogPolicy
    raw: dict[str, Any]


def read_trust_policy(path: Path) -> TrustPolicy:
    """Read a policy file; EvidenceRejected says what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EvidenceRejected(f"{path}: the trust policy can not be read: {error.strerror}") from error
    return parse_trust_policy(content, str(path))


def parse_trust_policy(content: bytes, where: str) -> TrustPolicy:
    if len(content) > TRUST_POLICY_BYTES_MAX:
        raise EvidenceRejected(f"{where}: a trust policy of over {TRUST_POLICY_BYTES_MAX} bytes")
    try:
        raw = json.loads(content)
        text = raw["tlogPolicy"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EvidenceRejected(f"{where}: not a trust policy (JSON with tlogPolicy): {error}") from None
    if not isinstance(text, str):
        raise EvidenceRejected(f"{where}: tlogPolicy must be the text of a log policy")
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    return TrustPolicy(where, digest, LogPolicy.parse(text), raw)
