"""Statements that persons sign: in-toto Statement v1 within a DSSE envelope, signed with OpenSSH keys.

Rules: a signature covers the payload's exact bytes and its type; an envelope may carry several signatures, each is
judged alone; the key id is the key's OpenSSH fingerprint and only a pointer, never a reason to trust.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.evidence.signing.ssh_signature import (
    BadSignature,
    Touch,
    check_ssh_signature,
    fingerprint,
    public_key_blob,
)
from orchestrator.foundation.canonical_json import canonical_json, read_json
from orchestrator.foundation.errors import EvidenceRejected

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
ENVELOPE_MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"
SIGNATURES_MAX = 20

APPROVAL = "urn:skerry:evidence:approval/v1"
START_ORDER = "urn:skerry:evidence:start-order/v1"
GATE = "urn:skerry:evidence:gate/v1"
WAIVER = "urn:skerry:evidence:waiver/v1"
REVIEW = "urn:skerry:evidence:review/v1"
ATTENDANCE = "urn:skerry:evidence:attendance/v1"
SIGN_OFF = "urn:skerry:evidence:sign-off/v1"
POLICY = "urn:skerry:evidence:policy/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"


@dataclass(frozen=True)
class Statement:
    """What is said (`predicate`, of the kind `predicate_type`) about which digests (name → sha256 hex)."""

    subjects: Mapping[str, str]
    predicate_type: str
    predicate: Mapping[str, Any]

    def payload(self) -> bytes:
        subjects = [{"name": name, "digest": {"sha256": digest}} for name, digest in self.subjects.items()]
        return canonical_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": subjects,
                "predicateType": self.predicate_type,
                "predicate": dict(self.predicate),
            }
        )


def bytes_to_sign(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class Envelope:
    """A payload with signatures: (key id, signature)."""

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]

    def text(self) -> str:
        signatures = [{"keyid": name, "sig": base64.b64encode(sig).decode()} for name, sig in self.signatures]
        return canonical_json(
            {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": signatures,
            }
        ).decode()

    @classmethod
    def parse(cls, text: str | bytes) -> "Envelope":
        """Read an envelope; EvidenceRejected when it is malformed. Nothing is verified yet."""
        try:
            value = read_json(text)
            if value["payloadType"] != PAYLOAD_TYPE:
                raise EvidenceRejected("the envelope's payload is of another type than an in-toto statement")
            signatures = [
                (str(each.get("keyid", "")), base64.b64decode(each["sig"], validate=True))
                for each in value["signatures"]
            ]
            payload = base64.b64decode(value["payload"], validate=True)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvidenceRejected(f"not a DSSE envelope: {type(error).__name__}: {error}") from None
        if not 1 <= len(signatures) <= SIGNATURES_MAX:
            raise EvidenceRejected(f"an envelope with {len(signatures)} signatures")
        return cls(payload, tuple(signatures))

    def statement(self) -> Statement:
        """The statement inside; EvidenceRejected when it is malformed."""
        try:
            value = read_json(self.payload)
            if value["_type"] != STATEMENT_TYPE:
                raise EvidenceRejected("the envelope holds no in-toto statement of version 1")
            subjects = {each["name"]: each["digest"]["sha256"] for each in value["subject"]}
            if len(subjects) != len(value["subject"]) or not isinstance(value["predicate"], dict):
                raise EvidenceRejected("the statement names a subject twice, or has no predicate")
            return Statement(subjects, value["predicateType"], value["predicate"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvidenceRejected(f"not a statement: {type(error).__name__}: {error}") from None

    def signed_by(self, public_keys: Iterable[str]) -> tuple[str, Touch | None]:
        """Fingerprint of the first of `public_keys` (OpenSSH lines) that signed; EvidenceRejected when none did."""
        message = bytes_to_sign(self.payload)
        reasons = []
        for line in public_keys:
            for _, signature in self.signatures:
                try:
                    blob = public_key_blob(line)
                    return fingerprint(blob), check_ssh_signature(signature, blob, message)
                except BadSignature as error:
                    reasons.append(str(error))
        raise EvidenceRejected(
            "the signature is not valid: " + (reasons[0] if len(reasons) == 1 else "; ".join(reasons))
        )
