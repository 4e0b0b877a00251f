"""Judges the people of a run: who approved, ordered, vouched and reviewed, by their own keys and in their own roles.

Rules: a signature counts when the auditor's policy gives the key to that person at that time; separation of duties is
judged over persons, never over keys; what was signed must be about this plan and this run.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.evidence.approvals_in_force import judge_approvals
from orchestrator.evidence.bench import GROUP, Bench, Word, is_distinct, signed_word
from orchestrator.evidence.gates_in_force import judge_wave_gates
from orchestrator.evidence.merkle import leaf_hash
from orchestrator.evidence.run_result import result_of
from orchestrator.evidence.statements import ATTENDANCE, REVIEW, SIGN_OFF, START_ORDER, TEST_RESULT, Statement
from orchestrator.evidence.story import RunStory, moment
from orchestrator.evidence.trust_policy import SignatureRule
from orchestrator.foundation.errors import EvidenceRejected


def run_digest(entries: Sequence[bytes]) -> str:
    """What results and reviews are signed over: SHA-256 of the run's leaf hashes, in order, up to run.finished."""
    return hashlib.sha256(b"".join(map(leaf_hash, entries))).hexdigest()


def judge_people(bench: Bench, entries: Sequence[bytes]) -> None:
    """Approvals always; start order, result and review where the policy asks for them, or where they are there."""
    story, rules = bench.story, bench.policy.rules
    judge_approvals(bench, rules.get("approval", SignatureRule(threshold=1)))
    judge_wave_gates(bench)
    finished = [event for event in story.events if event.type == "run.finished"]
    last = story.events.index(finished[-1]) + 1 if finished else len(entries)
    digest = run_digest(entries[:last])
    judges: tuple[tuple[str, str, str, Callable[[Word], None]], ...] = (
        ("order", "run.ordered", START_ORDER, lambda word: _orders(word, story)),
        ("result", "result.signed", TEST_RESULT, lambda word: _is_the_result(word.statement, story, digest)),
        ("review", "review.signed", REVIEW, lambda word: _is_about(word.statement, f"run:{story.run}", digest)),
        ("attendance", "attendance.signed", ATTENDANCE, lambda word: _attends(word, story, digest)),
        ("signOff", "review.accepted", SIGN_OFF, lambda word: _signs_off(word, story, digest)),
    )
    for rule_name, kind, predicate, judge in judges:
        _judge_words(bench, rules.get(rule_name), kind, predicate, judge)


def _judge_words(
    bench: Bench, rule: SignatureRule | None, kind: str, predicate: str, judge: Callable[[Word], None]
) -> None:
    events = bench.story.of(kind)
    if rule is None and not events:
        return
    heard: set[str] = set()
    noun = {"run.ordered": "start order", "review.accepted": "sign-off"}.get(kind, kind.partition(".")[0])
    for event in events:
        with bench.findings.border(GROUP, f"{noun} by {event.data.get('by')}, entry {event.index}"):
            word = signed_word(bench, event, predicate, rule.roles if rule else ())
            judge(word)
            if rule:
                is_distinct(word.person, rule, bench.story)
            heard.add(word.person)
            bench.findings.ok(GROUP, f"{noun} signed by {word.person}, entry {event.index}{_summary(word.statement)}")
    article = "an" if noun[0] in "aeiou" else "a"
    if rule and len(heard) < rule.threshold:
        bench.findings.fail(GROUP, f"{len(heard)} signed {article} {noun}, where the policy asks for {rule.threshold}")


def _summary(statement: Statement) -> str:
    said: dict[str, Any] = dict(statement.predicate)
    if "conclusion" in said:
        return f": {said['conclusion']}, {len(said.get('findings', []))} finding(s)"
    told = said.get("result", said.get("decision"))
    return f": {told}" if told else ""


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


def _attends(word: Word, story: RunStory, digest: str) -> None:
    """Whoever says that they were there says it of just this run, in the role that stands on record."""
    _is_about(word.statement, f"run:{story.run}", digest)
    if word.statement.predicate.get("role") != word.event.data.get("role"):
        raise EvidenceRejected("the statement is signed in another role")


def _signs_off(word: Word, story: RunStory, digest: str) -> None:
    """Management's own word that a review was reported to them: it names reviews that were on record before."""
    _is_about(word.statement, f"run:{story.run}", digest)
    said = word.statement.predicate
    if said.get("role") != word.event.data.get("role"):
        raise EvidenceRejected("the statement is signed in another role")
    known = {
        str((event.data.get("envelope") or {}).get("digest", ""))
        for event in story.of("review.signed")
        if event.index < word.event.index
    }
    named = said.get("reviews")
    if not isinstance(named, list) or not named or not set(map(str, named)) <= known:
        raise EvidenceRejected("it names no review that was on record before it")
    if said.get("decision") != "accepted":
        raise EvidenceRejected(f"{word.person} sent the review back: {said.get('comment', '')}")


def _is_about(said: Statement, name: str, digest: str) -> None:
    if said.subjects.get(name) != digest:
        raise EvidenceRejected("it is about other events than these")
