"""Persons' words about what no machine can see, or may decide: signed with their SSH key, good for a short time."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from orchestrator.evidence.approvals import sign_with_ssh_key
from orchestrator.evidence.statements import Envelope, Statement
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import ApprovalInvalid, EvidenceRejected
from orchestrator.model.inventory import Person
from orchestrator.model.names import Name, SystemName
from orchestrator.model.site import Side
from orchestrator.model.word import SignedWord, WordKind

PERSONS_WORD = "urn:skerry:evidence:word/v1"
WORD_VALID_DEFAULT = timedelta(hours=12)
WORD_VALID_MAX = timedelta(days=7)


def sign_word(
    kind: WordKind,
    *,
    system: SystemName,
    side: Side,
    number: int,
    person: Name,
    role: Name,
    because: str,
    account: Mapping[str, Any],
    key_file: str,
    people: Mapping[Name, Person],
    clock: Clock,
    valid_for: timedelta = WORD_VALID_DEFAULT,
) -> SignedWord:
    """Sign `person`'s word about `side` of `system` as long as `number` is its fencing number.

    Raises ApprovalInvalid: nobody of that name, a role or a key that is not theirs, no reason, valid for too long.
    """
    holder = people.get(person)
    if holder is None:
        raise ApprovalInvalid(f"nobody in people.yml is called {person}")
    if role not in holder.roles:
        raise ApprovalInvalid(f"{person} is not {role} (is: {', '.join(holder.roles) or 'no role'})")
    if not because.strip():
        raise ApprovalInvalid("a word without a reason is none", hint="Say how you know: --because WHY")
    if not timedelta(0) < valid_for <= WORD_VALID_MAX:
        raise ApprovalInvalid(f"such a word is valid for at most {WORD_VALID_MAX.days} days, and for more than none")
    now = clock.now()
    subject = {"system": system, "side": side.value, "number": number}
    predicate = {
        "kind": kind,
        "person": person,
        "role": role,
        **subject,
        "because": because,
        "account": dict(account),
        "statementTime": timestamp(now),
        "validity": {"notBefore": timestamp(now), "notAfter": timestamp(now + valid_for)},
        "nonce": secrets.token_hex(16),
    }
    named = {f"authority:{system}": digest_of(subject).removeprefix("sha256:")}
    envelope, key = sign_with_ssh_key(Statement(named, PERSONS_WORD, predicate), key_file)
    try:
        Envelope.parse(envelope.text()).signed_by(holder.keys)
    except EvidenceRejected as error:
        raise ApprovalInvalid(f"the word of {person}: {error.message}") from error
    return SignedWord(
        kind=kind,
        system=system,
        side=side,
        number=number,
        person=person,
        role=role,
        because=because,
        at=timestamp(now),
        expires_at=timestamp(now + valid_for),
        account=dict(account),
        envelope=envelope.text(),
        key_fingerprint=key,
    )
