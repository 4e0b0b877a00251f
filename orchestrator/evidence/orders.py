"""Start orders: the operator's own signed word that a plan be run, given before the start, good for one run."""

import secrets
from collections.abc import Mapping
from datetime import timedelta

from orchestrator.evidence.approvals import sign_with_ssh_key
from orchestrator.evidence.statements import START_ORDER, Envelope, Statement
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import ApprovalInvalid, EvidenceRejected
from orchestrator.model.approval import SignedOrder
from orchestrator.model.inventory import Person
from orchestrator.model.names import Digest, Name

ORDER_VALID_DEFAULT = timedelta(hours=12)
ORDER_VALID_MAX = timedelta(days=7)


def sign_start_order(
    plan: Digest,
    *,
    person: Name,
    role: Name,
    key_file: str,
    people: Mapping[Name, Person],
    clock: Clock,
    head: Mapping[str, str] | None = None,
    valid_for: timedelta = ORDER_VALID_DEFAULT,
) -> SignedOrder:
    """Sign the order of `person` to run `plan`. `head` is the log head that they see (origin, size, rootHash).

    Raises ApprovalInvalid: nobody of that name, a role or a key that is not theirs, valid for too long.
    """
    holder = people.get(person)
    if holder is None:
        raise ApprovalInvalid(f"nobody in people.yml is called {person}")
    if role not in holder.roles:
        raise ApprovalInvalid(f"{person} is not {role} (is: {', '.join(holder.roles) or 'no role'})")
    if not timedelta(0) < valid_for <= ORDER_VALID_MAX:
        raise ApprovalInvalid(f"a start order is valid for at most {ORDER_VALID_MAX.days} days, and more than none")
    now = clock.now()
    predicate = {
        "operator": person,
        "role": role,
        "statementTime": timestamp(now),
        "validity": {"notBefore": timestamp(now), "notAfter": timestamp(now + valid_for)},
        "maxRuns": 1,
        "nonce": secrets.token_hex(16),
        **({"logSeen": dict(head)} if head else {}),
    }
    envelope, key = sign_with_ssh_key(
        Statement({"plan": plan.removeprefix("sha256:")}, START_ORDER, predicate), key_file
    )
    order = SignedOrder(
        plan=plan,
        person=person,
        role=role,
        expires_at=timestamp(now + valid_for),
        envelope=envelope.text(),
        key_fingerprint=key,
    )
    _ensure_signed_by(order, holder)
    return order


def _ensure_signed_by(order: SignedOrder, person: Person) -> None:
    try:
        Envelope.parse(order.envelope).signed_by(person.keys)
    except EvidenceRejected as error:
        raise ApprovalInvalid(f"the order by {order.person}: {error.message}") from error
