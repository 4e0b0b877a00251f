"""Judges the people of a run: who approved, ordered, vouched and reviewed, by their own keys and in their own roles.

Rules: a signature counts when the auditor's policy gives the key to that person at that time; separation of duties is
judged over persons, never over keys; what was signed must be about this plan and this run.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.evidence.anchors import Bound, text_of, time_bound_after
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.merkle import leaf_hash
from orchestrator.evidence.note import SignedCheckpoint
from orchestrator.evidence.run_result import result_of
from orchestrator.evidence.statements import APPROVAL, REVIEW, START_ORDER, TEST_RESULT, Envelope, Statement
from orchestrator.evidence.story import ArtifactReader, RunStory, moment
from orchestrator.evidence.trust_policy import SignatureRule, TrustPolicy
from orchestrator.foundation.errors import EvidenceRejected

GROUP = "RUNBOOK AND PEOPLE"


@dataclass(frozen=True)
class Bench:
    """What signatures are judged with."""

    story: RunStory
    policy: TrustPolicy
    artifact: ArtifactReader
    bounds: Sequence[Bound]
    notes: Sequence[SignedCheckpoint]
    findings: Findings


@dataclass(frozen=True)
class Word:
    """A signed statement that holds."""

    person: str
    statement: Statement
    key: str
    event: LoggedEvent


def run_digest(entries: Sequence[bytes]) -> str:
    """What results and reviews are signed over: SHA-256 of the run's leaf hashes, in order, up to run.finished."""
    return hashlib.sha256(b"".join(map(leaf_hash, entries))).hexdigest()


def judge_people(bench: Bench, entries: Sequence[bytes]) -> None:
    """Approvals always; start order, result and review where the policy asks for them, or where they are there."""
    story, rules = bench.story, bench.policy.rules
    _judge_approvals(bench, rules.get("approval", SignatureRule(threshold=1)))
    finished = [event for event in story.events if event.type == "run.finished"]
    last = story.events.index(finished[-1]) + 1 if finished else len(entries)
    digest = run_digest(entries[:last])
    judges: tuple[tuple[str, str, str, Callable[[Word], None]], ...] = (
        ("order", "run.ordered", START_ORDER, lambda word: _orders(word, story)),
        ("result", "result.signed", TEST_RESULT, lambda word: _is_the_result(word.statement, story, digest)),
        ("review", "review.signed", REVIEW, lambda word: _is_about(word.statement, f"run:{story.run}", digest)),
    )
    for rule_name, kind, predicate, judge in judges:
        _judge_words(bench, rules.get(rule_name), kind, predicate, judge)


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
    _saw_this_history(bench, statement)
    return Word(who, statement, fingerprint, event)


def _saw_this_history(bench: Bench, statement: Statement) -> None:
    """Every signer is a witness of the history before: the head they saw must be one of this log."""
    seen = statement.predicate.get("logSeen")
    if not isinstance(seen, dict):
        return
    size, root = str(seen.get("size", "")), str(seen.get("rootHash", ""))
    for note in bench.notes:
        known = note.checkpoint
        if str(known.size) == size and base64.b64encode(known.root).decode() != root:
            raise EvidenceRejected(f"the signer saw another history of the log at size {size}")


def _judge_approvals(bench: Bench, rule: SignatureRule) -> None:
    story, findings = bench.story, bench.findings
    started = story.first("run.started")
    granted: dict[str, Word] = {}
    nonces: set[str] = set()
    for event in story.of("approval.granted"):
        with findings.border(GROUP, f"approval by {event.data.get('by')}, entry {event.index}"):
            word = signed_word(bench, event, APPROVAL, rule.roles)
            if started is None:
                raise EvidenceRejected("nothing was started")
            _approves(word, story, started, nonces)
            _is_distinct(word.person, rule, story)
            granted[word.person] = word
            bound = time_bound_after(event.index, bench.bounds)
            existed = f", existed by {text_of(bound)} (timestamp)" if bound else ""
            role = event.data.get("role")
            findings.ok(
                GROUP, f"approval by {word.person} ({role}), entry {event.index}{existed}, key {word.key[:19]}…"
            )
    roles = {str(word.event.data.get("role")) for word in granted.values()}
    problems = []
    if len(granted) < rule.threshold:
        problems.append(f"{len(granted)} valid approvals, where {rule.threshold} are asked for")
    missing = [role for role in rule.roles if role not in roles]
    problems += [f"nobody approved as {role}" for role in missing]
    problems += [f"{system}: nobody approved as {role}" for system, role in _unheard_roles(story, roles)]
    revoked = [event for event in story.of("approval.revoked") if started and event.index < started.index]
    problems += [f"entry {event.index}: an approval was revoked before the start" for event in revoked]
    none_of = f", none of them {' or '.join(rule.distinct_from)}" if rule.distinct_from else ""
    good = f"{len(granted)} different persons approved as {', '.join(sorted(roles))} ({rule.threshold} needed){none_of}"
    findings.judge(GROUP, problems, good)


def _unheard_roles(story: RunStory, roles: set[str]) -> list[tuple[str, str]]:
    """Roles that the plan itself asks approval of, and that nobody gave."""
    found = []
    for planned in story.plan.get("systems", []):
        asked = planned.get("approval", {}).get("roles", [])
        found += [(str(planned["system"]["name"]), str(role)) for role in asked if role not in roles]
    return found


def _approves(word: Word, story: RunStory, started: LoggedEvent, nonces: set[str]) -> None:
    said = word.statement.predicate
    if said.get("approver") != word.person or said.get("decision") != "approve":
        raise EvidenceRejected("the statement names another person, or does not approve")
    if said.get("role") != word.event.data.get("role"):
        raise EvidenceRejected("the statement is signed in another role")
    if list(word.statement.subjects.values()) != [story.plan_digest.removeprefix("sha256:")]:
        raise EvidenceRejected("it approves another plan")
    begin = moment(started.time)
    validity = said.get("validity") or {}
    if word.event.index > started.index or moment(str(said.get("statementTime"))) > begin:
        raise EvidenceRejected("it was given after the start")
    if not moment(str(validity.get("notBefore"))) <= begin <= moment(str(validity.get("notAfter"))):
        raise EvidenceRejected("the run started outside the time it was given for")
    nonce = str(said.get("nonce", ""))
    if nonce in nonces:
        raise EvidenceRejected("it is a copy of another one")
    nonces.add(nonce)


def _is_distinct(person: str, rule: SignatureRule, story: RunStory) -> None:
    for duty, holder in (("author", story.author), ("operator", story.operator)):
        if duty in rule.distinct_from and person == holder:
            raise EvidenceRejected(f"separation of duties: {person} is the {duty}")


def _judge_words(
    bench: Bench, rule: SignatureRule | None, kind: str, predicate: str, judge: Callable[[Word], None]
) -> None:
    events = bench.story.of(kind)
    if rule is None and not events:
        return
    heard: set[str] = set()
    noun = kind.partition(".")[0] if kind != "run.ordered" else "start order"
    for event in events:
        with bench.findings.border(GROUP, f"{noun} by {event.data.get('by')}, entry {event.index}"):
            word = signed_word(bench, event, predicate, rule.roles if rule else ())
            judge(word)
            if rule:
                _is_distinct(word.person, rule, bench.story)
            heard.add(word.person)
            bench.findings.ok(GROUP, f"{noun} signed by {word.person}, entry {event.index}{_summary(word.statement)}")
    if rule and len(heard) < rule.threshold:
        bench.findings.fail(GROUP, f"{len(heard)} signed a {noun}, where the policy asks for {rule.threshold}")


def _summary(statement: Statement) -> str:
    said: dict[str, Any] = dict(statement.predicate)
    if "conclusion" in said:
        return f": {said['conclusion']}, {len(said.get('findings', []))} finding(s)"
    return f": {said['result']}" if "result" in said else ""


def _orders(word: Word, story: RunStory) -> None:
    """A start order is the operator's own, about this plan, given before the start and within its time."""
    said, started = word.statement.predicate, story.first("run.started")
    if list(word.statement.subjects.values()) != [story.plan_digest.removeprefix("sha256:")]:
        raise EvidenceRejected("it orders another plan")
    if said.get("run", story.run) != story.run:
        raise EvidenceRejected("it orders another run")
    if word.person != story.operator or said.get("operator", word.person) != word.person:
        raise EvidenceRejected(f"it is not by {story.operator}, who ran it")
    if said.get("role") != word.event.data.get("role"):
        raise EvidenceRejected("the statement is signed in another role")
    if started is None or word.event.index > started.index:
        raise EvidenceRejected("it was put on record after the start")
    begin, validity = moment(started.time), said.get("validity") or {}
    if moment(str(said.get("statementTime"))) > begin:
        raise EvidenceRejected("it was given after the start")
    if not moment(str(validity.get("notBefore"))) <= begin <= moment(str(validity.get("notAfter"))):
        raise EvidenceRejected("the run started outside the time it was given for")


def _is_the_result(said: Statement, story: RunStory, digest: str) -> None:
    _is_about(said, f"run:{story.run}", digest)
    for name, value in result_of(story).items():
        if said.predicate.get(name) != value:
            told = f", the log says {value}" if name == "result" else ""
            raise EvidenceRejected(f"its {name} does not follow from the log{told}")


def _is_about(said: Statement, name: str, digest: str) -> None:
    if said.subjects.get(name) != digest:
        raise EvidenceRejected("it is about other events than these")
