"""Judges what persons decided at the gates of a wave: who said go, on which values, before what it let through.

Rules: gates are those of the plan that was approved; entry gates stand open when the run starts, exit gates when the
first system is committed; a person's newest word counts; whoever goes round a gate is told, and it is no pass.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.evidence.bench import GROUP, Bench, Word, is_distinct, signed_word
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.statements import GATE, WAIVER
from orchestrator.evidence.story import moment
from orchestrator.evidence.trust_policy import SignatureRule
from orchestrator.foundation.errors import EvidenceRejected

_NOBODY_OF_THE_RUN = SignatureRule(threshold=1)
_SHOWN = ("wave", "gate", "role", "decision", "said", "comment", "system", "because", "expires_at")


@dataclass
class _Heard:
    """Words that hold, by gate in the order of the log; envelopes by nonce; gates that were gone round, and when."""

    words: dict[str, list[Word]] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


def judge_wave_gates(bench: Bench) -> None:
    """Each word by itself, then every gate at the moment when it had to stand open."""
    terms = bench.story.plan.get("terms") or {}
    gates = {str(gate["id"]): gate for part in ("entry", "exit") for gate in terms.get(part) or ()}
    heard = _Heard()
    for event in bench.story.events:
        if event.type == "gate.skipped":
            name = str(event.data.get("gate"))
            heard.skipped.setdefault(name, event.index)
            why = f"{event.data.get('by')} went round gate {name}: {event.data.get('because')}"
            bench.findings.warn(GROUP, f"{why} (entry {event.index})")
        elif event.type in ("gate.decided", "waiver.given"):
            noun = "decision" if event.type == "gate.decided" else "waiver"
            with bench.findings.border(GROUP, f"{noun} by {event.data.get('by')}, entry {event.index}"):
                _hear(bench, event, gates, heard)
    for part, passed_through in (("entry", bench.story.first("run.started")), ("exit", _first_commit(bench))):
        for gate in terms.get(part) or ():
            if passed_through is not None:
                problems = list(_closed(gate, passed_through, heard))
                bench.findings.judge(GROUP, problems, _open(gate, passed_through, heard))


def _first_commit(bench: Bench) -> LoggedEvent | None:
    begun = [
        attempt.started
        for system in bench.story.systems.values()
        for attempt in system.attempts
        if attempt.mode == "do" and attempt.started.data.get("phase") == "commit"
    ]
    return min(begun, key=lambda event: event.index, default=None)


def _hear(bench: Bench, event: LoggedEvent, gates: Mapping[str, Any], heard: _Heard) -> None:
    decides = event.type == "gate.decided"
    gate = gates.get(str(event.data.get("gate")))
    if decides and gate is None:
        raise EvidenceRejected(f"the plan has no gate {event.data.get('gate')}")
    word = signed_word(bench, event, GATE if decides else WAIVER, tuple(gate["roles"]) if gate else ())
    said = word.statement.predicate
    if list(word.statement.subjects.values()) != [bench.story.plan_digest.removeprefix("sha256:")]:
        raise EvidenceRejected("it is about another plan")
    if said.get("person") != word.person or any(said.get(key) != event.data.get(key) for key in _SHOWN):
        raise EvidenceRejected("what was signed is not what is shown")
    if moment(str(said.get("at"))) > moment(event.time) + bench.policy.skew:
        raise EvidenceRejected("it was put on record before it was given")
    if said.get("decision") != "no_go":
        is_distinct(word.person, _NOBODY_OF_THE_RUN, bench.story)
    nonce, envelope = str(said.get("nonce", "")), str((event.data.get("envelope") or {}).get("digest", ""))
    if heard.nonces.setdefault(nonce, envelope) != envelope:
        raise EvidenceRejected("it is a copy of another one")
    if decides:
        heard.words.setdefault(str(said.get("gate")), []).append(word)
        told = f"gate {said.get('gate')}: {str(said.get('decision')).replace('_', '-')}"
    else:
        told = f"without {said.get('system') or 'the rest of the soak'}: {said.get('because')}"
    bench.findings.ok(GROUP, f"{told}, signed by {word.person} ({event.data.get('role')}), entry {event.index}")


def _standing(gate: Mapping[str, Any], at: LoggedEvent, heard: _Heard) -> dict[str, Word]:
    """Each person's newest word over `gate` before `at` that had not expired then."""
    return {
        word.person: word
        for word in heard.words.get(str(gate["id"]), ())
        if word.event.index < at.index and moment(str(word.statement.predicate.get("expires_at"))) > moment(at.time)
    }


def _closed(gate: Mapping[str, Any], at: LoggedEvent, heard: _Heard) -> Iterator[str]:
    """Why the gate did not stand open when `at` went through it."""
    if heard.skipped.get(str(gate["id"]), at.index) < at.index:
        return
    name, standing = f"gate {gate['id']}", _standing(gate, at, heard)
    where = f"was not open at entry {at.index}"
    said = {person: word.statement.predicate for person, word in standing.items()}
    for person, word in said.items():
        if word.get("decision") != "go":
            yield f"{name} {where}: {person} had said no"
    going = {person: word for person, word in said.items() if word.get("decision") == "go"}
    if len(going) < gate["persons_min"]:
        yield f"{name} {where}: {len(going)} of {gate['persons_min']} persons had said go"
    for role in gate["roles"]:
        if role not in {word.get("role") for word in going.values()}:
            yield f"{name} {where}: nobody had said go as {role}"
    for criterion in gate["criteria"]:
        for person, word in going.items():
            if criterion["step"] == "said" and not _meets(criterion, word.get("said") or {}):
                value = (word.get("said") or {}).get(criterion["observed"])
                yield f"{name} {where}: {person} said go although {criterion['observed']} was {value!r}"


def _meets(criterion: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    value: Any = said.get(criterion["observed"])
    expected: Any = criterion.get("expected")
    counts = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (value, expected))
    match criterion.get("comparison"):
        case "not_empty":
            return value is not None and value != ""
        case "equal":
            return isinstance(value, bool) == isinstance(expected, bool) and value == expected
        case "at_least":
            return counts and bool(value >= expected)
        case "at_most":
            return counts and bool(value <= expected)
        case _:
            return False


def _open(gate: Mapping[str, Any], at: LoggedEvent, heard: _Heard) -> str:
    if heard.skipped.get(str(gate["id"]), at.index) < at.index:
        return f"gate {gate['id']} was gone round, on record before entry {at.index}"
    persons = ", ".join(sorted(_standing(gate, at, heard)))
    return f"gate {gate['id']} was open at entry {at.index}: {persons} had said go ({gate['persons_min']} needed)"
