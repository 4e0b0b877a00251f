"""What persons' signatures in a run are judged with, and the judgement of a single one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.evidence.anchors import Bound, is_beginning, text_of, time_bound_after
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.note import Checkpoint
from orchestrator.evidence.seen_heads import seen_head
from orchestrator.evidence.statements import Envelope, Statement
from orchestrator.evidence.story import ArtifactReader, RunStory, moment
from orchestrator.evidence.trust_policy import SignatureRule, TrustPolicy
from orchestrator.foundation.errors import BrokenLog, EvidenceRejected

GROUP = "RUNBOOK AND PEOPLE"


@dataclass(frozen=True)
class Bench:
    """What signatures are judged with. `files` are the bundle's, `head` is the one that its events are under."""

    story: RunStory
    policy: TrustPolicy
    artifact: ArtifactReader
    bounds: Sequence[Bound]
    files: Mapping[str, bytes]
    head: Checkpoint
    findings: Findings


@dataclass(frozen=True)
class Word:
    """A signed statement that holds."""

    person: str
    statement: Statement
    key: str
    event: LoggedEvent


def signed_word(bench: Bench, event: LoggedEvent, predicate: str, roles: Sequence[str]) -> Word:
    """The statement that `event` refers to, when the person it names signed it with a key valid then."""
    who = str(event.data.get("by", ""))
    person = bench.policy.people.get(who)
    if person is None:
        raise EvidenceRejected(f"{who or 'nobody'} is not in the policy")
    role = str(event.data.get("role", ""))
    if role not in person.roles or (roles and role not in roles):
        raise EvidenceRejected(f"{who} does not hold the role {role}" if role not in person.roles else f"not as {role}")
    reference = event.data.get("envelope") or {}
    content = bench.artifact(str(reference.get("digest", "")))
    if content is None:
        raise EvidenceRejected("the signed statement is missing")
    envelope = Envelope.parse(content)
    when = time_bound_after(event.index, bench.bounds) or moment(event.time)
    keys = [key.line for key in person.keys if key.is_valid_at(when)]
    if not keys:
        raise EvidenceRejected(f"{who} had no valid key at {text_of(when)}")
    fingerprint, _ = envelope.signed_by(keys)
    statement = envelope.statement()
    if statement.predicate_type != predicate:
        raise EvidenceRejected(f"the statement is a {statement.predicate_type}")
    _saw_this_history(bench, event, statement)
    return Word(who, statement, fingerprint, event)


def _saw_this_history(bench: Bench, event: LoggedEvent, statement: Statement) -> None:
    """Every signer is a witness of the history before: the head they saw must be a beginning of this log."""
    seen = seen_head(statement)
    if seen is None:
        return
    if seen.size > event.index:
        raise EvidenceRejected(f"the signer saw {seen.size} entries, but their word is entry {event.index}")
    try:
        is_beginning(bench.files, seen, bench.head)
    except BrokenLog as error:
        raise EvidenceRejected(
            f"the signer saw another history of the log at size {seen.size}: {error.message}"
        ) from error


def is_distinct(person: str, rule: SignatureRule, story: RunStory) -> None:
    """Raise EvidenceRejected where the person holds a duty that the rule keeps apart."""
    duties = [("author", story.author), ("operator", story.operator)]
    duties += [("reviewer", str(event.data.get("by"))) for event in story.of("review.signed")]
    for duty, holder in duties:
        if duty in rule.distinct_from and person == holder:
            raise EvidenceRejected(f"separation of duties: {person} is the {duty}")
