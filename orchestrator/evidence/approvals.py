"""Persons' approvals: made with `ssh-keygen -Y sign`, judged in Python (contracts.signer)."""

import subprocess
from datetime import datetime, timedelta
from typing import Any

from orchestrator.evidence.signing.ssh_signature import NAMESPACE, BadSignature, fingerprint, signing_key, unarmor
from orchestrator.evidence.statements import APPROVAL, Envelope, Statement, bytes_to_sign
from orchestrator.foundation.errors import ApprovalInvalid, EvidenceError, EvidenceRejected, MissingTool
from orchestrator.foundation.limits import APPROVAL_CLOCK_SKEW_SECONDS_MAX, PERSON_SIGNS_SECONDS_MAX
from orchestrator.model.approval import ApprovalStatement, SignedApproval
from orchestrator.model.inventory import Person


def sign_with_ssh_key(statement: Statement, key_file: str) -> tuple[Envelope, str]:
    """A statement in its envelope, and the fingerprint of the key.

    `key_file` may be a private key, a public key whose private part an agent holds, or the handle of a FIDO key. The
    person may be asked for a passphrase or a touch.
    """
    payload = statement.payload()
    words = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", key_file]
    try:
        done = subprocess.run(
            words, input=bytes_to_sign(payload), capture_output=True, timeout=PERSON_SIGNS_SECONDS_MAX, check=False
        )
    except FileNotFoundError:
        raise MissingTool("ssh-keygen is not installed here", hint="apt-get install openssh-client") from None
    except subprocess.TimeoutExpired:
        raise EvidenceError(f"{key_file}: nobody answered within {PERSON_SIGNS_SECONDS_MAX} s") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise EvidenceError(
            f"{key_file}: ssh-keygen does not sign with it: {said[-1] if said else done.returncode}",
            hint="Name the file of your own SSH key, readable by you alone, or its .pub when an agent holds it.",
        )
    signature = unarmor(done.stdout.decode())
    key_id = fingerprint(signing_key(signature))
    return Envelope(payload, ((key_id, signature),)), key_id


class SshApprovalSigner:
    """Signs approvals with a person's SSH key; the private key never enters this process."""

    def sign(self, statement: ApprovalStatement, key_file: str) -> SignedApproval:
        envelope, key_id = sign_with_ssh_key(approval_as_statement(statement), key_file)
        return SignedApproval(statement=statement, envelope=envelope.text(), key_fingerprint=key_id)


def approval_as_statement(approval: ApprovalStatement) -> Statement:
    """The in-toto form: the plan's digest is the subject, the rest the predicate."""
    predicate: dict[str, Any] = {
        "approver": approval.person,
        "role": approval.role,
        "decision": approval.decision,
        "statementTime": approval.at,
        "validity": {
            "notBefore": approval.at,
            "notAfter": approval.expires_at,
            **({"maxRuns": approval.max_runs} if approval.max_runs else {}),
        },
        "nonce": approval.nonce,
    }
    if approval.log_origin:
        # Sizes travel as text: some readers of in-toto statements turn numbers into doubles.
        predicate["logSeen"] = {
            "origin": approval.log_origin,
            "size": str(approval.log_size),
            "rootHash": approval.log_root,
        }
    if approval.comment:
        predicate["comment"] = approval.comment
    if approval.change_ticket:
        predicate["changeTicket"] = approval.change_ticket
    return Statement({"plan": approval.plan.removeprefix("sha256:")}, APPROVAL, predicate)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ApprovalInvalid(f"{text[:40]!r} is not a time of the form 2026-11-21T22:18:00.000Z") from None
    if moment.tzinfo is None:
        raise ApprovalInvalid(f"{text[:40]!r} is a time without time zone")
    return moment


class SshApprovalJudge:
    """Judges approvals against the persons of the inventory. A rejection is as valid a word as an approval."""

    def check(self, approval: SignedApproval, *, plan: str, people: dict[str, Person], now: str) -> None:
        said = approval.statement
        by = f"the approval by {said.person}"
        if said.plan != plan:
            raise ApprovalInvalid(f"{by} is for another plan: {said.plan}")
        person = people.get(said.person)
        if person is None:
            raise ApprovalInvalid(f"{by}: the inventory knows nobody of that name")
        if said.role not in person.roles:
            raise ApprovalInvalid(f"{by}: {said.person} does not hold the role {said.role}")
        at, until, present = _moment(said.at), _moment(said.expires_at), _moment(now)
        if at > present + timedelta(seconds=APPROVAL_CLOCK_SKEW_SECONDS_MAX):
            raise ApprovalInvalid(f"{by} says that it was made in the future, at {said.at}")
        if present >= until:
            raise ApprovalInvalid(f"{by} expired at {said.expires_at}", hint="Have the plan approved again.")
        try:
            envelope = Envelope.parse(approval.envelope)
            if envelope.payload != approval_as_statement(said).payload():
                raise ApprovalInvalid(f"{by}: what was signed is not what is shown")
            key_id, _ = envelope.signed_by(person.keys)
        except (EvidenceRejected, BadSignature) as error:
            raise ApprovalInvalid(f"{by}: {error}") from error
        if key_id != approval.key_fingerprint:
            raise ApprovalInvalid(f"{by} names the key {approval.key_fingerprint}, but was made with {key_id}")
