"""The trust policy of an auditor: which log, witnesses, timestamps and people to believe; never out of a bundle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.evidence.note import LogPolicy
from orchestrator.evidence.signing.ssh_signature import BadSignature, public_key_blob
from orchestrator.evidence.story import moment
from orchestrator.foundation.canonical_json import read_json
from orchestrator.foundation.errors import BrokenLog, EvidenceRejected
from orchestrator.foundation.limits import TRUST_POLICY_BYTES_MAX

POLICY_VERSION = 1
SKEW_SECONDS_DEFAULT = 120
ANCHOR_DELAY_SECONDS_DEFAULT = 3600
_KEYS = {
    "version",
    "tlogPolicy",
    "tsaRoots",
    "requireTsa",
    "maxSkewSeconds",
    "maxAnchorDelaySeconds",
    "identityDomain",
    "people",
    "rules",
}
_RULES = {"approval", "order", "result", "review", "signOff", "attendance"}
DUTIES = ("author", "operator", "reviewer")  # that a rule may keep apart


@dataclass(frozen=True)
class TrustedKey:
    """An OpenSSH public key, and when signatures by it count."""

    line: str
    not_before: str
    not_after: str

    def is_valid_at(self, when: datetime) -> bool:
        return moment(self.not_before) <= when <= moment(self.not_after)


@dataclass(frozen=True)
class TrustedPerson:
    id: str
    roles: tuple[str, ...]
    keys: tuple[TrustedKey, ...]


@dataclass(frozen=True)
class SignatureRule:
    """How many different persons must sign, in which roles, and who none of them may be (see DUTIES)."""

    threshold: int
    roles: tuple[str, ...] = ()
    distinct_from: tuple[str, ...] = ("author", "operator")


@dataclass(frozen=True)
class TrustPolicy:
    """A policy as read; `digest` is over the file's bytes, for people to compare."""

    where: str
    digest: str
    content: bytes
    log_policy: LogPolicy
    tsa_roots: str = ""
    require_tsa: bool = False
    skew: timedelta = timedelta(seconds=SKEW_SECONDS_DEFAULT)
    anchor_delay: timedelta = timedelta(seconds=ANCHOR_DELAY_SECONDS_DEFAULT)
    identity_domain: str = "example"
    log_text: str = ""
    people: Mapping[str, TrustedPerson] = field(default_factory=dict)
    rules: Mapping[str, SignatureRule] = field(default_factory=dict)  # by the names of _RULES


def read_trust_policy(path: Path) -> TrustPolicy:
    """Read a policy file; EvidenceRejected says what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EvidenceRejected(f"{path}: the trust policy can not be read: {error.strerror}") from error
    return parse_trust_policy(content, str(path))


def parse_trust_policy(content: bytes, where: str) -> TrustPolicy:
    """A policy from its bytes. Unknown keys are refused: a misspelt rule must not be a rule left out."""
    if len(content) > TRUST_POLICY_BYTES_MAX:
        raise EvidenceRejected(f"{where}: a trust policy of over {TRUST_POLICY_BYTES_MAX} bytes")
    try:
        raw = read_json(content)
        unknown = sorted(set(raw) - _KEYS)
        if unknown:
            raise EvidenceRejected(f"{where}: a trust policy has no {unknown[0]!r}")
        if raw.get("version", POLICY_VERSION) != POLICY_VERSION:
            raise EvidenceRejected(f"{where}: a trust policy of version {raw['version']!r}")
        policy = TrustPolicy(
            where=where,
            digest="sha256:" + hashlib.sha256(content).hexdigest(),
            content=content,
            log_policy=LogPolicy.parse(raw["tlogPolicy"]),
            log_text=raw["tlogPolicy"],
            tsa_roots=str(raw.get("tsaRoots", "")),
            require_tsa=raw.get("requireTsa", False) is True,
            skew=timedelta(seconds=float(raw.get("maxSkewSeconds", SKEW_SECONDS_DEFAULT))),
            anchor_delay=timedelta(seconds=float(raw.get("maxAnchorDelaySeconds", ANCHOR_DELAY_SECONDS_DEFAULT))),
            identity_domain=str(raw.get("identityDomain", "example")),
            people={person["id"]: _person(person) for person in raw.get("people", [])},
            rules={name: _rule(rule) for name, rule in raw.get("rules", {}).items()},
        )
    except BrokenLog as error:
        raise EvidenceRejected(f"{where}: {error.message}") from error
    except (BadSignature, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise EvidenceRejected(f"{where}: not a trust policy: {type(error).__name__}: {error}") from error
    unknown = sorted(set(policy.rules) - _RULES)
    if unknown:
        raise EvidenceRejected(f"{where}: there is no rule called {unknown[0]!r}")
    return policy


def _person(raw: dict[str, Any]) -> TrustedPerson:
    keys = []
    for key in raw["keys"]:
        public_key_blob(key["ssh"])
        moment(key["notBefore"]), moment(key["notAfter"])
        keys.append(TrustedKey(" ".join(key["ssh"].split()[:2]), key["notBefore"], key["notAfter"]))
    return TrustedPerson(str(raw["id"]), tuple(map(str, raw["roles"])), tuple(keys))


def _rule(raw: dict[str, Any]) -> SignatureRule:
    threshold = int(raw.get("threshold", 1))
    if threshold < 0:
        raise ValueError("a threshold below zero")
    distinct = tuple(map(str, raw.get("distinctFrom", ("author", "operator"))))
    if not set(distinct) <= set(DUTIES):
        raise ValueError(f"distinctFrom knows {', '.join(DUTIES)}, not {distinct}")
    return SignatureRule(threshold, tuple(map(str, raw.get("roles", ()))), distinct)


def draft_trust_policy(
    log_keys: list[str],
    people: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]],
    *,
    not_before: str,
    not_after: str,
    witnesses: Mapping[str, str] | None = None,
    tsa_roots: str = "",
) -> bytes:
    """A policy to start from, for the auditor to examine and keep. `people`: id → (roles, OpenSSH public keys)."""
    named = witnesses or {}
    lines = [f"log {key}" for key in log_keys] + [f"witness {name} {key}" for name, key in named.items()]
    if named:
        lines += [f"group enough any {' '.join(named)}", "quorum enough"]
    else:
        lines.append("quorum none")
    document = {
        "version": POLICY_VERSION,
        "tlogPolicy": "\n".join(lines) + "\n",
        "tsaRoots": tsa_roots,
        "requireTsa": bool(tsa_roots),
        "maxSkewSeconds": SKEW_SECONDS_DEFAULT,
        "maxAnchorDelaySeconds": ANCHOR_DELAY_SECONDS_DEFAULT,
        "identityDomain": "example",
        "people": [
            {
                "id": name,
                "roles": list(roles),
                "keys": [{"ssh": key, "notBefore": not_before, "notAfter": not_after} for key in keys],
            }
            for name, (roles, keys) in people.items()
        ],
        "rules": {"approval": {"threshold": 1, "roles": [], "distinctFrom": ["author", "operator"]}},
    }
    return json.dumps(document, indent=1).encode() + b"\n"
