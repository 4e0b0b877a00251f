"""Approve: persons sign a plan's digest, and nothing runs before enough of the right ones did.

The rule of each system counts: so many different persons, every one of its roles among them, none the plan's author
and none who runs it. A person's newest word counts; a rejection, in whatever role, closes the gate until the same
person takes it back by approving. How an approval is taken back: operations.revoke.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Literal

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.signer import ApprovalJudge, ApprovalSigner
from orchestrator.evidence.papers import words_on
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import ApprovalInvalid, ApprovalMissing, GateClosed
from orchestrator.foundation.written_file import did_you_mean
from orchestrator.model.approval import ApprovalStatement, SignedApproval
from orchestrator.model.frozen import Frozen
from orchestrator.model.inventory import Person
from orchestrator.model.names import Digest, Name
from orchestrator.model.plan import Plan
from orchestrator.model.system import ApprovalRule

VALID_DEFAULT = timedelta(days=7)
VALID_MAX = timedelta(days=90)


class LogHead(Frozen):
    """The head of the evidence log that a signer saw, so that every approver witnesses earlier history."""

    origin: str = ""
    size: int = 0
    root: str = ""


class RefusedApproval(Frozen):
    """A word that does not count, and why."""

    person: Name
    role: Name
    why: str


class Standing(Frozen):
    """How far the approval of one plan has come."""

    plan: Digest
    approved: bool
    valid: tuple[SignedApproval, ...] = ()
    rejected: tuple[SignedApproval, ...] = ()
    revoked: tuple[SignedApproval, ...] = ()  # approvals that their persons took back
    refused: tuple[RefusedApproval, ...] = ()
    missing: tuple[str, ...] = ()  # what is still asked for, in words, by system
    outdated: str = ""  # why no run of it may begin whoever approves: a file, the estate or its facts changed since


def approve(
    plan: Plan,
    *,
    person: Name,
    role: Name,
    key_file: str,
    people: Mapping[Name, Person],
    signer: ApprovalSigner,
    judge: ApprovalJudge,
    catalogue: Catalogue,
    clock: Clock,
    decision: Literal["approve", "reject"] = "approve",
    comment: str = "",
    change_ticket: str = "",
    max_runs: int = 0,
    valid_for: timedelta = VALID_DEFAULT,
    log_head: LogHead | None = None,
) -> SignedApproval:
    """Sign `person`'s word over the plan's digest and keep it; a word that could not count is refused here already.

    `max_runs` is how many runs the approval is for; 0 means as many as begin within its time.

    Raises ApprovalInvalid: unknown person, role not theirs, author of the plan, key not theirs.
    """
    _may_speak(plan, person, role, people, decision)
    if not timedelta(0) < valid_for <= VALID_MAX:
        raise ApprovalInvalid(f"an approval is valid for at most {VALID_MAX.days} days, and for more than none")
    now = clock.now()
    head = log_head or LogHead()
    statement = ApprovalStatement(
        plan=plan.digest,
        person=person,
        role=role,
        decision=decision,
        at=timestamp(now),
        expires_at=timestamp(now + valid_for),
        nonce=secrets.token_hex(16),
        log_origin=head.origin,
        log_size=head.size,
        log_root=head.root,
        comment=comment,
        change_ticket=change_ticket,
        max_runs=max_runs,
    )
    signed = signer.sign(statement, key_file)
    judge.check(signed, plan=plan.digest, people=dict(people), now=timestamp(now))
    catalogue.put("approval", f"{plan.digest}/{person}/{role}/{statement.nonce}", signed.model_dump(mode="json"))
    return signed


def _may_speak(plan: Plan, person: Name, role: Name, people: Mapping[Name, Person], decision: str) -> None:
    if person not in people:
        near = did_you_mean(person, list(people))
        raise ApprovalInvalid(f"nobody in people.yml is called {person}{near}")
    if role not in people[person].roles:
        held = ", ".join(people[person].roles) or "no role"
        raise ApprovalInvalid(f"{person} is not {role} (is: {held})")
    if person == plan.author and decision == "approve":
        raise ApprovalInvalid(
            f"{person} made this plan, so another person must approve it",
            hint="Four eyes: ask somebody else who holds the role.",
        )


def standing(
    plan: Plan,
    *,
    people: Mapping[Name, Person],
    judge: ApprovalJudge,
    catalogue: Catalogue,
    clock: Clock,
    operator: Name | None = None,
    runs_begun: Sequence[str] = (),
) -> Standing:
    """Who approved the plan, whose word does not count and why, and what is missing. `operator` is who would run it,
    `runs_begun` are the times at which runs of it were begun.
    """
    newest: dict[tuple[Name, Name], SignedApproval] = {}
    refused: list[RefusedApproval] = []
    now = timestamp(clock.now())
    for signed in words_on(catalogue, plan.digest):
        word = signed.statement
        # What a person said last counts, or nothing: it silences what they said before also once it has run out.
        why = _why_not(plan, signed, people, judge, min(now, word.at), operator)
        if why:
            refused.append(RefusedApproval(person=word.person, role=word.role, why=why))
            continue
        earlier = newest.get((word.person, word.role))
        if earlier is None or _newness(earlier) <= _newness(signed):
            newest[word.person, word.role] = signed
    valid = []
    for signed in newest.values():
        word = signed.statement
        if why := _why_not(plan, signed, people, judge, now, operator) or _used_up(word, runs_begun):
            refused.append(RefusedApproval(person=word.person, role=word.role, why=why))
        else:
            valid.append(signed)
    approvals = [signed for signed in valid if signed.statement.decision == "approve"]
    rejections = [signed for signed in valid if signed.statement.decision == "reject"]
    missing = [
        f"{planned.system.name}: {text}"
        for planned in plan.systems
        for text in missing_of(planned.approval, [signed.statement for signed in approvals])
    ]
    return Standing(
        plan=plan.digest,
        approved=not missing and not rejections,
        valid=tuple(approvals),
        rejected=tuple(rejections),
        revoked=tuple(signed for signed in valid if signed.statement.decision == "revoke"),
        refused=tuple(refused),
        missing=tuple(missing),
    )


def _newness(signed: SignedApproval) -> tuple[str, bool]:
    """Sorts words of one person by time; of two in one millisecond the careful one is the newer."""
    return signed.statement.at, signed.statement.decision != "approve"


def _why_not(
    plan: Plan,
    signed: SignedApproval,
    people: Mapping[Name, Person],
    judge: ApprovalJudge,
    now: str,
    operator: Name | None,
) -> str:
    word = signed.statement
    if word.decision == "approve" and word.person == plan.author:
        return "made the plan"
    if word.decision == "approve" and word.person == operator:
        return "runs the plan"
    try:
        judge.check(signed, plan=plan.digest, people=dict(people), now=now)
    except ApprovalInvalid as error:
        return error.message
    return ""


def _used_up(word: ApprovalStatement, runs_begun: Sequence[str]) -> str:
    since = sum(begun >= word.at for begun in runs_begun)
    if word.decision != "approve" or not word.max_runs or since < word.max_runs:
        return ""
    return f"it was for {word.max_runs} run{'s' if word.max_runs > 1 else ''}, and {since} began since"


def missing_of(rule: ApprovalRule, words: Sequence[ApprovalStatement]) -> list[str]:
    """What the rule of a system still asks for, given approvals that count."""
    counted = [word for word in words if word.role in rule.roles]
    persons = {word.person for word in counted}
    texts = [f"nobody approved as {role}" for role in rule.roles if role not in {word.role for word in counted}]
    if len(persons) < rule.persons_min:
        texts.append(f"{len(persons)} of {rule.persons_min} persons approved")
    return texts


def ensure_approved(
    plan: Plan,
    operator: Name,
    *,
    people: Mapping[Name, Person],
    judge: ApprovalJudge,
    catalogue: Catalogue,
    clock: Clock,
    runs_begun: Sequence[str] = (),
    place_of_rule: Callable[[Name], str] = lambda _system: "",
) -> Standing:
    """The standing of a plan that `operator` may run. `place_of_rule`: what errors about a system's rule begin with.

    Raises GateClosed when a person rejected it, ApprovalInvalid when words are there but cannot count, and else
    ApprovalMissing.
    """
    found = standing(
        plan,
        people=people,
        judge=judge,
        catalogue=catalogue,
        clock=clock,
        operator=operator,
        runs_begun=runs_begun,
    )
    if found.approved:
        return found
    lacking = found.missing[0].partition(":")[0] if found.missing else plan.systems[0].system.name
    place = place_of_rule(lacking)
    if found.rejected:
        word = found.rejected[0].statement
        said = f": {word.comment}" if word.comment else ""
        raise GateClosed(
            f"{place}{word.person} ({word.role}) rejected plan {plan.digest}{said}",
            hint="Settle it; the same person takes it back by approving.",
        )
    taken_back = [f"{signed.statement.person} revoked: {signed.statement.comment}" for signed in found.revoked]
    wanted = "; ".join((*found.missing, *taken_back))
    if found.refused and not found.valid:
        told = "; ".join(f"{item.person} as {item.role}: {item.why}" for item in found.refused)
        raise ApprovalInvalid(f"{place}no approval of plan {plan.digest} counts ({told}); {wanted}")
    others = _other_plans(catalogue, plan)
    raise ApprovalMissing(
        f"{place}plan {plan.digest} may not run: {wanted}{others}",
        hint=f"Have it approved: skerry approve {plan.digest.removeprefix('sha256:')[:12]} --key KEYFILE --as PERSON",
    )


def _other_plans(catalogue: Catalogue, plan: Plan) -> str:
    """Says so when this wave was approved under another digest: the usual cause is an edit after the approval."""
    for key, _ in catalogue.list("approval"):
        digest = key.partition("/")[0]
        if digest == plan.digest:
            continue
        document = catalogue.get("plan", digest)
        if document is not None and document.get("wave") == plan.wave:
            return f" (wave {plan.wave} was approved as {digest}, which is another plan; an edit makes a new one)"
    return ""
