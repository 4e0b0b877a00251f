"""Judges approvals over the time of a run: enough of them at its start, and at every step that was begun after it.

Rules: an approval counts from its entry on, and until its person withdraws it; whoever withdrew one may renew it. A
step begun while too few are left was not allowed. A run has some seconds to obey; no word may be put on record late.
An approval's time is that of beginning: what goes on without a stop ends although the time is over (and says so), but
whoever begins again, after a crash or because a person asks, needs approvals that are still good.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.evidence.anchors import text_of, time_bound_after
from orchestrator.evidence.bench import GROUP, Bench, Word, is_distinct, signed_word
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.statements import APPROVAL
from orchestrator.evidence.story import RunStory, moment
from orchestrator.evidence.trust_policy import SignatureRule
from orchestrator.foundation.errors import EvidenceRejected

# What begins a run again that had stopped, or a step that would not have been begun.
_GOES_ON = frozenset(("resume", "retry", "confirm", "waive", "found_applied", "found_absent"))
OBEYED_WITHIN = timedelta(seconds=5)  # what was being begun when the word came may still begin
KINDS = {"approval.granted": "approve", "approval.refused": "reject", "approval.revoked": "revoke"}


@dataclass
class _Words:
    """Words in the order of the log: what stands now, and from where on something is missing."""

    standing: dict[tuple[str, str], Word] = field(default_factory=dict)
    rejected: dict[str, Word] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    told: dict[str, tuple[str, str]] = field(default_factory=dict)  # nonce → person and envelope
    lacks_since: Word | None = None
    gaps: list[tuple[Word, int]] = field(default_factory=list)  # the word that opened it, the entry that closed it
    lapsed: LoggedEvent | None = None  # what began the run again although approvals had expired
    lapses: list[tuple[LoggedEvent, int]] = field(default_factory=list)

    def good_at(self, when: datetime) -> "_Words":
        """As they stand, without the approvals that had expired."""
        good = {key: word for key, word in self.standing.items() if when <= _expires(word)}
        return _Words(standing=good, rejected=self.rejected, withdrawn=self.withdrawn)

    def take(self, word: Word, decision: str) -> None:
        key = (word.person, str(word.event.data.get("role")))
        if decision == "approve":
            self.standing[key] = word
            self.rejected.pop(word.person, None)
            return
        self.withdrawn.add(word.person)
        self.standing.pop(key, None)
        if decision == "reject":
            self.rejected[word.person] = word

    def look(self, word: Word, *, lacking: bool) -> None:
        """After the start: remember from where to where the run was not allowed to go on."""
        if lacking and self.lacks_since is None:
            self.lacks_since = word
        elif not lacking and self.lacks_since is not None:
            self.gaps.append((self.lacks_since, word.event.index))
            self.lacks_since = None


def judge_approvals(bench: Bench, rule: SignatureRule) -> None:
    """Each word by itself, then those that stood at the start, then steps begun after something was withdrawn."""
    story, findings = bench.story, bench.findings
    started = story.first("run.started")
    words = _Words()
    at_start: list[str] | None = None
    for event in (each for each in story.events if each.type in KINDS or _begins_again(each)):
        if at_start is None and started is not None and event.index > started.index:
            at_start = _lacking(words, rule, story)
        if event.type not in KINDS:
            if at_start == [] and words.lapsed is None and _lacking(words.good_at(moment(event.time)), rule, story):
                words.lapsed = event
            continue
        with findings.border(GROUP, f"{_noun(event)} by {event.data.get('by')}, entry {event.index}"):
            expired = at_start == [] and bool(_lacking(words.good_at(moment(event.time)), rule, story))
            word = _judged(bench, event, rule, started, words, expired=expired)
            if word is None:
                continue  # told again after a crash
            words.take(word, KINDS[event.type])
            _tell(bench, word)
            if at_start is not None:
                words.look(word, lacking=bool(_lacking(words, rule, story)))
            if words.lapsed and not _lacking(words.good_at(moment(event.time)), rule, story):
                words.lapses.append((words.lapsed, event.index))
                words.lapsed = None
    problems = _lacking(words, rule, story) if at_start is None else at_start
    persons = {person for person, _ in words.standing}
    roles = ", ".join(sorted({role for _, role in words.standing}))
    none_of = f", none of them {' or '.join(rule.distinct_from)}" if rule.distinct_from else ""
    good = f"{len(persons)} different persons approved as {roles} ({rule.threshold} needed){none_of}"
    if words.withdrawn:
        good = f"{rule.threshold} or more different persons had approved when it started{none_of}"
    findings.judge(GROUP, problems, good)
    if words.lacks_since is not None:
        words.gaps.append((words.lacks_since, story.events[-1].index + 1))
    if words.gaps:
        begun = [text for gap in words.gaps for text in _begun_within(bench, *gap)]
        findings.judge(GROUP, begun, "nothing was begun after an approval that it needed was withdrawn")
    if not problems:
        _judge_time(bench, words, rule)


def _begins_again(event: LoggedEvent) -> bool:
    asked = event.type == "request.accepted" and event.data.get("operation") in _GOES_ON
    return asked or event.type == "run.resumed"


def _expires(word: Word) -> datetime:
    validity = word.statement.predicate.get("validity") or {}
    return moment(str(validity.get("notAfter")))


def _judge_time(bench: Bench, words: _Words, rule: SignatureRule) -> None:
    """Steps that were begun after the time that approvals were given for."""
    story = bench.story
    attempts = [each for system in story.systems.values() for each in system.attempts if each.mode == "do"]
    if words.lapsed is not None:
        words.lapses.append((words.lapsed, story.events[-1].index + 1))
    begun = [
        f"entry {each.started.index}: {each.system}/{each.step} began after approvals had expired, when the run was "
        f"gone on with (entry {event.index})"
        for event, until in words.lapses
        for each in attempts
        if event.index < each.started.index < until and moment(each.started.time) - moment(event.time) > OBEYED_WITHIN
    ]
    if words.lapses:
        bench.findings.judge(GROUP, begun, "nothing was begun again after approvals had expired")
    late = [each for each in attempts if _lacking(words.good_at(moment(each.started.time)), rule, story)]
    if late and not begun and not words.withdrawn:
        told = f"{late[0].system}/{late[0].step}, entry {late[0].started.index}"
        bench.findings.warn(GROUP, f"{len(late)} steps were begun after the approvals' time was over, {told} first")


def _noun(event: LoggedEvent) -> str:
    return {"approve": "approval", "reject": "rejection", "revoke": "revocation"}[KINDS[event.type]]


def _judged(
    bench: Bench,
    event: LoggedEvent,
    rule: SignatureRule,
    started: LoggedEvent | None,
    words: _Words,
    *,
    expired: bool,
) -> Word | None:
    """The word, when it holds; None when it was told before. EvidenceRejected says why it does not count."""
    decision, story = KINDS[event.type], bench.story
    # To withdraw, any role will do: who may say yes may say no.
    word = signed_word(bench, event, APPROVAL, rule.roles if decision == "approve" else ())
    if started is None:
        raise EvidenceRejected("nothing was started")
    said = word.statement.predicate
    nonce = str(said.get("nonce", ""))
    envelope = str((event.data.get("envelope") or {}).get("digest", ""))
    if words.told.get(nonce) == (word.person, envelope):
        return None
    if said.get("approver") != word.person or said.get("decision") != decision:
        raise EvidenceRejected(f"the statement names another person, or does not {decision}")
    if said.get("role") != event.data.get("role"):
        raise EvidenceRejected("the statement is signed in another role")
    if list(word.statement.subjects.values()) != [story.plan_digest.removeprefix("sha256:")]:
        raise EvidenceRejected("it is about another plan" if decision != "approve" else "it approves another plan")
    if decision == "approve":
        renewed = event.index > started.index and (expired or word.person in words.withdrawn)
        _is_in_time(word, moment(event.time if renewed else started.time), renewed=renewed, started=started)
        is_distinct(word.person, rule, story)
    if nonce in words.told:
        raise EvidenceRejected("it is a copy of another one")
    words.told[nonce] = (word.person, envelope)
    return word


def _is_in_time(word: Word, begin: datetime, *, renewed: bool, started: LoggedEvent) -> None:
    said = word.statement.predicate
    if not renewed and (word.event.index > started.index or moment(str(said.get("statementTime"))) > begin):
        raise EvidenceRejected("it was given after the start")
    validity = said.get("validity") or {}
    if not moment(str(validity.get("notBefore"))) <= begin <= moment(str(validity.get("notAfter"))):
        raise EvidenceRejected("the run started outside the time it was given for")


def _tell(bench: Bench, word: Word) -> None:
    event = word.event
    bound = time_bound_after(event.index, bench.bounds)
    existed = f", existed by {text_of(bound)} (timestamp)" if bound else ""
    noun, role = _noun(event), event.data.get("role")
    told = f"{noun} by {word.person} ({role}), entry {event.index}{existed}, key {word.key[:19]}…"
    if ticket := word.statement.predicate.get("changeTicket"):
        told += f", change {ticket}"
    if runs := (word.statement.predicate.get("validity") or {}).get("maxRuns"):
        told += f", for {runs} run{'s' if runs != 1 else ''}"
    comment = str(word.statement.predicate.get("comment", ""))
    bench.findings.ok(GROUP, told + (f": {comment}" if comment and noun != "approval" else ""))


def _lacking(words: _Words, rule: SignatureRule, story: RunStory) -> list[str]:
    """What the policy and the plan ask for beyond the approvals that stand."""
    persons = {person for person, _ in words.standing}
    roles = {role for _, role in words.standing}
    problems = [f"{person} had rejected the plan" for person in words.rejected]
    if len(persons) < rule.threshold:
        problems.append(f"{len(persons)} valid approvals, where {rule.threshold} are asked for")
    problems += [f"nobody approved as {role}" for role in rule.roles if role not in roles]
    for planned in story.plan.get("systems", []):
        asked = planned.get("approval", {})
        name = str(planned["system"]["name"])
        problems += [f"{name}: nobody approved as {role}" for role in asked.get("roles", []) if role not in roles]
    if problems and words.withdrawn:
        problems.append(f"withdrawn by {', '.join(sorted(words.withdrawn))}")
    return problems


def _begun_within(bench: Bench, withdrawn: Word, until: int) -> Iterator[str]:
    """Steps (never their inverses) that began between a withdrawal and its renewal, or before it was put on record."""
    entry, said = withdrawn.event, moment(str(withdrawn.statement.predicate.get("statementTime")))
    for system in bench.story.systems.values():
        for attempt in system.attempts:
            began = moment(attempt.started.time)
            where = f"entry {attempt.started.index}: {system.name}/{attempt.step} began"
            if attempt.mode != "do" or attempt.started.index >= until:
                continue
            if attempt.started.index > entry.index:
                if began - moment(entry.time) > OBEYED_WITHIN:
                    yield f"{where} after {withdrawn.person} withdrew an approval that it needed (entry {entry.index})"
            elif began - said > bench.policy.skew:
                yield f"{where} after {withdrawn.person} withdrew an approval, which was put on record late"
