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


def conceal(value: Any, names: Iterable[str]) -> tuple[Any, list[str]]:
    """A JSON value with the named members, at any depth, as salted digests; and the disclosures to keep elsewhere."""
    disclosures: list[str] = []
    hidden = frozenset(names)
    return (_concealed(value, hidden, disclosures) if hidden else value), disclosures


def _concealed(value: Any, names: frozenset[str], disclosures: list[str]) -> Any:
    if isinstance(value, (list, tuple)):
        return [_concealed(member, names, disclosures) for member in value]
    if not isinstance(value, dict):
        return value
    shown = {name: _concealed(member, names, disclosures) for name, member in value.items() if name not in names}
    own = []
    for name in sorted(names & value.keys()):
        salt = _base64url(secrets.token_bytes(_SALT_BYTES))
        own.append(_base64url(json.dumps([salt, name, value[name]], separators=(",", ":")).encode()))
    if own:
        shown |= {"_sd": sorted(map(disclosure_digest, own)), "_sd_alg": "sha-256"}
        disclosures += own
    return shown


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


def logged_digests(events: Sequence[LoggedEvent], files: Mapping[str, bytes]) -> list[str]:
    """Of every protected value, in events and in their JSON artifacts; BrokenLog where they are no list of digests."""
    found: list[str] = []
    for event in events:
        _gather(event.data, f"entry {event.index}", found)
    for path, content in files.items():
        if path.startswith("artifacts/") and b'"_sd"' in content:
            try:
                document = read_json(content)
            except ValueError:
                continue  # some program's output that speaks of the word
            _gather(document, path, found)
    return found


def _gather(value: Any, where: str, found: list[str]) -> None:
    if isinstance(value, list):
        for member in value:
            _gather(member, where, found)
    elif isinstance(value, dict):
        digests = value.get("_sd", [])
        if not isinstance(digests, list):
            raise BrokenLog(f"{where}: its protected values are not a list of digests")
        found += map(str, digests)
        for name, member in value.items():
            if name != "_sd":
                _gather(member, where, found)


def judge_disclosures(files: Mapping[str, bytes], events: Sequence[LoggedEvent], findings: Findings) -> None:
    """Every value shown must be one that the log holds the digest of."""
    logged = logged_digests(events, files)
    shown = set(read_disclosures(files))
    held = frozenset(logged)  # both may be long
    false = [each for each in shown if disclosure_digest(each) not in held]
    for each in shown:
        open_disclosure(each)
    if logged or shown:
        problems = ["a value is disclosed that the log does not hold the digest of"] if false else []
        withheld = len(logged) - len(shown)
        good = f"{len(logged)} protected values: {len(shown)} disclosed and matching, {withheld} withheld"
        findings.judge("EXECUTION", problems, good)
