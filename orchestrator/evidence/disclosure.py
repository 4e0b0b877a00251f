"""Sensitive values: salted digests in the log, the values shown only to whom they are meant for (RFC 9901)."""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.foundation.canonical_json import read_json
from orchestrator.foundation.errors import BrokenLog

_SALT_BYTES = 16


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def disclosure_digest(disclosure: str) -> str:
    return _base64url(hashlib.sha256(disclosure.encode()).digest())


def conceal(data: Mapping[str, Any], names: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Data for the log with the named members as salted digests, and the disclosures to keep away from it."""
    hidden = set(names)
    disclosures = []
    for name in sorted(hidden & set(data)):
        salt = _base64url(secrets.token_bytes(_SALT_BYTES))
        disclosures.append(_base64url(json.dumps([salt, name, data[name]], separators=(",", ":")).encode()))
    shown = {name: value for name, value in data.items() if name not in hidden}
    if disclosures:
        shown |= {"_sd": sorted(map(disclosure_digest, disclosures)), "_sd_alg": "sha-256"}
    return shown, disclosures


def open_disclosure(disclosure: str) -> tuple[str, Any]:
    """The name and the value; BrokenLog when it is malformed."""
    try:
        raw = base64.urlsafe_b64decode(disclosure + "=" * (-len(disclosure) % 4))
        _, name, value = read_json(raw)
    except (ValueError, TypeError) as error:
        raise BrokenLog(f"a malformed disclosure: {error}") from None
    if not isinstance(name, str):
        raise BrokenLog("a disclosure without a name")
    return name, value


def read_disclosures(files: Mapping[str, bytes]) -> list[str]:
    try:
        found = read_json(files.get("disclosures.json", b"[]"))
    except ValueError as error:
        raise BrokenLog(f"disclosures.json: {error}") from None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise BrokenLog("disclosures.json is not a list of texts")
    return found


def logged_digests(events: Sequence[LoggedEvent]) -> list[str]:
    """Of every protected value; BrokenLog where a log tells them in another shape than a list."""
    found: list[str] = []
    for event in events:
        digests = event.data.get("_sd", [])
        if not isinstance(digests, list):
            raise BrokenLog(f"entry {event.index}: its protected values are not a list of digests")
        found += map(str, digests)
    return found


def judge_disclosures(files: Mapping[str, bytes], events: Sequence[LoggedEvent], findings: Findings) -> None:
    """Every value shown must be one that the log holds the digest of."""
    logged = logged_digests(events)
    shown = read_disclosures(files)
    false = [each for each in shown if disclosure_digest(each) not in logged]
    for each in shown:
        open_disclosure(each)
    if logged or shown:
        problems = ["a value is disclosed that the log does not hold the digest of"] if false else []
        withheld = len(logged) - len(shown)
        good = f"{len(logged)} protected values: {len(shown)} disclosed and matching, {withheld} withheld"
        findings.judge("EXECUTION", problems, good)
