"""Targets: SSH signatures and keys, envelopes and statements, approvals, trust policies, timestamps, disclosures."""

import json
from pathlib import Path

from pydantic import ValidationError

from orchestrator.evidence.approvals import SshApprovalJudge
from orchestrator.evidence.disclosure import conceal, judge_disclosures, open_disclosure
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.signing.ssh_signature import (
    BadSignature,
    armor,
    check_ssh_signature,
    fingerprint,
    public_key_blob,
    public_key_line,
    signing_key,
    unarmor,
)
from orchestrator.evidence.signing.timestamps import timestamp_time
from orchestrator.evidence.statements import Envelope
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.foundation.errors import ApprovalInvalid, BrokenLog, EvidenceError, EvidenceRejected
from orchestrator.model.approval import SignedApproval
from orchestrator.model.inventory import Person
from tests.fuzz.mutations import change_json
from tests.fuzz.notes import KEYS, POLICY, checkpoint
from tests.fuzz.target import Target, must

MATERIAL = Path(__file__).parent / "material"
SIGNED_TEXT = b"DSSEv1 what the signatures of this folder are over"
STAMPED_TEXT = checkpoint(9).text()


def check_ssh(content: bytes) -> None:
    """An armored signature, a public key line, or a raw signature; judged with the key that it names itself."""
    text = content.decode(errors="surrogateescape")
    signature = content
    try:
        signature = unarmor(text)
        must(unarmor(armor(signature)) == signature, "armor comes off again")
    except BadSignature:
        pass
    try:
        blob = public_key_blob(text)
        must(public_key_blob(public_key_line(blob)) == blob, "a key's line holds the key")
    except BadSignature:
        pass
    try:
        key = signing_key(signature)
        fingerprint(key)
        check_ssh_signature(signature, key, SIGNED_TEXT)
    except BadSignature:
        return
    try:
        check_ssh_signature(signature, key, SIGNED_TEXT + b" ")
    except BadSignature:
        return
    must(False, "a signature holds over two texts")


def check_envelope(content: bytes) -> None:
    for form in (content, content.decode(errors="surrogateescape")):
        try:
            envelope = Envelope.parse(form)
            envelope.text()
            envelope.signed_by(PUBLIC_KEYS)
            envelope.statement().payload()
        except EvidenceRejected:
            pass
        try:
            Envelope(content, ((("", b"")),)).statement().payload()
        except EvidenceRejected:
            pass


def check_approval(content: bytes) -> None:
    """A signed approval as a store or a person hands it in."""
    try:
        approval = SignedApproval.model_validate_json(content)
    except (ValidationError, ValueError):
        return
    people = {name: Person(id=name, roles=("system-owner",), keys=PUBLIC_KEYS) for name in ("ana", "ben")}
    try:
        SshApprovalJudge().check(approval, plan=approval.statement.plan, people=people, now="2026-11-21T12:00:00.000Z")
    except ApprovalInvalid:
        pass


def check_trust_policy(content: bytes) -> None:
    try:
        policy = parse_trust_policy(content, "policy")
    except EvidenceRejected:
        return
    must(bool(policy.log_policy.logs), "a policy names a log")
    must(all(rule.threshold >= 0 for rule in policy.rules.values()), "a threshold is a count")


def check_timestamp(content: bytes) -> None:
    """An authority's answer; or, where it begins like PEM, roots to judge an honest answer under."""
    answer, roots = (ANSWER, content.decode(errors="replace")) if content.startswith(b"-----") else (content, ROOTS)
    try:
        timestamp_time(answer, STAMPED_TEXT, roots)
    except EvidenceRejected:
        return
    try:
        timestamp_time(answer, STAMPED_TEXT + b" ", roots)
    except EvidenceRejected:
        return
    must(False, "a timestamp holds over two texts")


def check_disclosures(content: bytes) -> None:
    try:
        open_disclosure(content.decode(errors="replace"))
    except BrokenLog:
        pass
    try:
        logged = json.loads(content)
    except (ValueError, RecursionError):
        logged = {}
    data = logged if isinstance(logged, dict) else {"_sd": logged}
    event = LoggedEvent(0, "r", 0, "host.seen", "2026-11-21T00:00:00Z", "", data)
    try:
        judge_disclosures({"disclosures.json": content}, [event], Findings())
    except EvidenceError:
        pass


def _policies() -> list[bytes]:
    person = {
        "id": "ana",
        "roles": ["system-owner"],
        "keys": [
            {"ssh": key, "notBefore": "2020-01-01T00:00:00Z", "notAfter": "2040-01-01T00:00:00Z"} for key in PUBLIC_KEYS
        ],
    }
    rule = {"threshold": 1, "roles": ["system-owner"], "distinctFrom": ["author", "operator"]}
    whole = {
        "version": 1,
        "tlogPolicy": POLICY,
        "tsaRoots": ROOTS,
        "requireTsa": True,
        "maxSkewSeconds": 120,
        "maxAnchorDelaySeconds": 3600.5,
        "identityDomain": "tax.example",
        "people": [person],
        "rules": {"approval": rule, "review": rule},
    }
    return [json.dumps(whole).encode(), json.dumps({"tlogPolicy": f"log {KEYS[0]}\n"}).encode()]


def _disclosures() -> list[bytes]:
    _, disclosed = conceal({"user": "dana", "host": {"name": "h1"}}, ["user", "host"])
    return [json.dumps(disclosed).encode(), disclosed[0].encode(), b'{"_sd":["x"],"_sd_alg":"sha-256"}']


PUBLIC_KEYS = tuple((MATERIAL / "ssh-keys.pub").read_text().splitlines())
ROOTS = (MATERIAL / "tsa-roots.pem").read_text()
ANSWER = (MATERIAL / "answer.tsr").read_bytes()

TARGETS = (
    Target(
        "ssh_signature",
        "OpenSSH signatures and public keys",
        check_ssh,
        lambda: [(MATERIAL / "ssh-keys.pub").read_bytes().splitlines()[0]],
    ),
    Target(
        "envelope",
        "DSSE envelopes and in-toto statements",
        check_envelope,
        lambda: [(MATERIAL / "envelope.json").read_bytes(), (MATERIAL / "statement.json").read_bytes()],
        change_json,
    ),
    Target(
        "approval",
        "signed approvals, judged",
        check_approval,
        lambda: [(MATERIAL / "approval.json").read_bytes()],
        change_json,
    ),
    Target("trust_policy", "trust policies", check_trust_policy, _policies, change_json),
    Target("timestamp", "RFC 3161 answers and their roots", check_timestamp, lambda: [ANSWER, ROOTS.encode()]),
    Target("disclosures", "disclosures of protected values", check_disclosures, _disclosures, change_json),
)
