"""Revoke: a person takes their own approval back. Nothing is begun by it any more; what is under way ends and waits.

The word is kept first, then every run of the plan is asked to pause, then it is put on record: by this process, or by
the worker that carries the run, which writes to the ledger alone.
"""

import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from typing import Literal

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.engine import Runs, RunStatus
from orchestrator.contracts.observer import Recorder
from orchestrator.contracts.signer import ApprovalJudge, ApprovalSigner
from orchestrator.evidence.envelope import LOG_RUN
from orchestrator.evidence.papers import words_on
from orchestrator.evidence.preface import word_as_event
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import ApprovalInvalid, GateClosed, RunInProgress
from orchestrator.model.approval import ApprovalStatement, SignedApproval
from orchestrator.model.event import RunEvent
from orchestrator.model.frozen import Frozen
from orchestrator.model.inventory import Person
from orchestrator.model.names import Name
from orchestrator.model.plan import Plan
from orchestrator.operations.approve import LogHead, missing_of

VALID = timedelta(days=3650)  # longer than whatever it takes back
GOING_FORWARD = ("waiting", "running", "paused")


class Revoked(Frozen):
    """What came of it. `on_record`: now; or later, by the worker that writes to the ledger, or with the next run."""

    words: tuple[SignedApproval, ...]
    paused: tuple[str, ...] = ()  # runs of the plan that were asked to pause
    on_record: Literal["now", "later"] = "now"


def revoke(
    plan: Plan,
    *,
    person: Name,
    role: Name | None,
    key_file: str,
    because: str,
    people: Mapping[Name, Person],
    signer: ApprovalSigner,
    judge: ApprovalJudge,
    catalogue: Catalogue,
    clock: Clock,
    log_head: LogHead | None = None,
) -> tuple[SignedApproval, ...]:
    """Sign and keep the revocation of `person`'s approval of the plan, in `role` or in every role they approved in.

    Raises ApprovalInvalid where there is no approval of theirs to take back, or the key is not theirs.
    """
    if not because.strip():
        raise ApprovalInvalid("say why: --because TEXT is signed with it and stands in the log")
    newest = newest_words(words_on(catalogue, plan.digest))
    approved = [held for (who, held), word in newest.items() if who == person and word.decision == "approve"]
    roles = [held for held in approved if role in (None, held)]
    if not roles:
        as_role = f" as {role}" if role else ""
        raise ApprovalInvalid(
            f"{person} has no approval of plan {plan.digest}{as_role} to take back",
            hint="Whoever did not approve says no with: skerry approve --reject",
        )
    head, words = log_head or LogHead(), []
    for each in roles:
        now = clock.now()
        statement = ApprovalStatement(
            plan=plan.digest,
            person=person,
            role=each,
            decision="revoke",
            at=timestamp(now),
            expires_at=timestamp(now + VALID),
            nonce=secrets.token_hex(16),
            log_origin=head.origin,
            log_size=head.size,
            log_root=head.root,
            comment=because,
        )
        signed = signer.sign(statement, key_file)
        judge.check(signed, plan=plan.digest, people=dict(people), now=timestamp(now))
        key = f"{plan.digest}/{person}/{each}/{statement.nonce}"
        catalogue.put("revocation", key, signed.model_dump(mode="json"))
        words.append(signed)
    return tuple(words)


def newest_words(words: list[SignedApproval]) -> dict[tuple[Name, Name], ApprovalStatement]:
    """Each person's newest word in each role; `words` are the oldest first."""
    return {(word.statement.person, word.statement.role): word.statement for word in words}


def withdrawn(plan: Plan, catalogue: Catalogue, now: str) -> str:
    """Why a run of the plan that was allowed is not gone on with; empty where it may be. `now` is RFC 3339 UTC.

    Words were judged when they were kept. What is under way comes to its end although an approval expires meanwhile;
    whoever goes on with it later needs approvals that are still good.
    """
    newest = newest_words(words_on(catalogue, plan.digest))
    rejected = [word for word in newest.values() if word.decision == "reject"]
    if rejected:
        return f"{rejected[0].person} rejected the plan" + (f": {rejected[0].comment}" if rejected[0].comment else "")
    revoked = [word for word in newest.values() if word.decision == "revoke"]
    approved = [word for word in newest.values() if word.decision == "approve" and word.person != plan.author]
    expired = [word for word in approved if word.expires_at <= now]
    left = [word for word in approved if word not in expired]
    missing = [text for planned in plan.systems for text in missing_of(planned.approval, left)]
    if not missing or not (revoked or expired):
        return ""
    texts = [f"{word.person} revoked the approval as {word.role}: {word.comment}" for word in revoked]
    texts += [f"the approval by {word.person} as {word.role} expired at {word.expires_at}" for word in expired]
    told = "; ".join(texts)
    return f"{told} ({missing[0]})"


def pause_runs(plan: Plan, runs: Runs, *, by: Name, because: str) -> list[RunStatus]:
    """Ask every unfinished run of the plan to begin nothing more; systems on their way back are left to go on."""
    found = [status for status in runs.list(plan=plan.digest) if status.state == "running"]
    for status in found:
        for system in status.systems:
            if system.state in GOING_FORWARD and not any(step.mode == "undo" for step in system.steps):
                with suppress(GateClosed):  # it came to its end meanwhile
                    runs.request(status.run, system.system, "pause", by=by, reason=f"approval revoked: {because}")
    return found


def put_on_record(
    words: tuple[SignedApproval, ...],
    found: list[RunStatus],
    ledger: AbstractContextManager[Recorder],
    clock: Clock,
) -> Literal["now", "later"]:
    """In each run that is under way, else in the log's own; where a worker writes, it does so when it obeys."""
    try:
        with ledger as recorder:
            for run in [status.run for status in found] or [LOG_RUN]:
                for word in words:
                    kind, data = word_as_event(recorder, word)
                    data["plan"] = word.statement.plan
                    recorder.record(RunEvent(type=kind, run=run, at=timestamp(clock.now()), data=data))
    except RunInProgress:
        return "later"
    return "now"
