"""A person's review of a finished run, and management's word that it was reported to them.

Both are signed over the digest of the run's events, and put on record in the same run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

from orchestrator.evidence.signed_words import Signing, finished_run, put_on_record
from orchestrator.evidence.statements import ATTENDANCE, REVIEW, SIGN_OFF
from orchestrator.evidence.story import moment
from orchestrator.foundation.errors import UsageError

_FINDING_KEYS = {"id", "text", "action", "owner", "due"}
_FINDING_KEYS_MORE = {"severity", "cause"}


def record_review(
    ledger: Path,
    run: str,
    *,
    conclusion: str,
    findings: Sequence[dict[str, Any]] = (),
    closes: Sequence[str] = (),
    **signing: Unpack[Signing],
) -> int:
    """Sign and record; returns the log's index. `findings`: id, text, action, owner, due (a date) and more.

    `closes` names findings of earlier reviews that this run shows to be mended: UsageError unless it is a drill that
    passed.
    """
    for finding in findings:
        missing, unknown = _FINDING_KEYS - set(finding), set(finding) - _FINDING_KEYS - _FINDING_KEYS_MORE
        if missing or unknown:
            raise UsageError(f"a finding lacks {', '.join(sorted(missing)) or 'nothing'}, and has {sorted(unknown)}")
        moment(f"{finding['due']}T00:00:00Z")
    predicate = {
        "reviewer": signing["person"],
        "role": signing["role"],
        "conclusion": conclusion,
        "findings": list(findings),
        "closes": list(closes),
    }
    found = finished_run(ledger, run)
    if closes and (found.story.kind, found.story.result) != ("drill", "passed"):
        raise UsageError(
            f"run {found.run} is a {found.story.kind} that ended {found.story.result}, and closes no finding",
            hint="Only a later drill that passed does: skerry evidence review DRILL --closes ID",
        )
    return put_on_record(ledger, found, "review.signed", REVIEW, predicate, **signing)


def record_attendance(
    ledger: Path, run: str, *, announced: bool, saw: str = "", **signing: Unpack[Signing]
) -> int:
    """Sign to have been there, and record it; returns the log's index. `announced` is whether they knew of the
    exercise beforehand; `saw` is what they want to have said.
    """
    predicate = {"participant": signing["person"], "role": signing["role"], "announced": announced, "saw": saw}
    return put_on_record(ledger, finished_run(ledger, run), "attendance.signed", ATTENDANCE, predicate, **signing)


def record_sign_off(
    ledger: Path,
    run: str,
    *,
    decision: Literal["accepted", "returned"] = "accepted",
    comment: str = "",
    **signing: Unpack[Signing],
) -> int:
    """Sign, over every review of the run so far, that they were reported, and record it; returns the log's index.

    UsageError where there is no review yet. With `returned` the comment says what is missing.
    """
    found = finished_run(ledger, run)
    reviews = [str(event.data["envelope"]["digest"]) for event in found.story.of("review.signed")]
    if not reviews:
        raise UsageError(f"run {run} was not reviewed: there is nothing to sign off", hint="skerry evidence review")
    if decision == "returned" and not comment.strip():
        raise UsageError("say what is missing: --comment TEXT is signed with it")
    predicate = {
        "manager": signing["person"],
        "role": signing["role"],
        "decision": decision,
        "comment": comment,
        "reviews": reviews,
    }
    return put_on_record(ledger, found, "review.accepted", SIGN_OFF, predicate, **signing)
