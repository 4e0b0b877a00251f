"""Persons' words about waves: decisions at gates, and waivers, signed with SSH keys over the plan's digest."""

from typing import Any

from orchestrator.contracts.observer import Recorder
from orchestrator.evidence.approvals import sign_with_ssh_key
from orchestrator.evidence.signing.ssh_signature import BadSignature
from orchestrator.evidence.statements import ENVELOPE_MEDIA_TYPE, GATE, WAIVER, Envelope, Statement
from orchestrator.foundation.errors import ApprovalInvalid, EvidenceRejected
from orchestrator.model.event import RunEvent
from orchestrator.model.inventory import Person
from orchestrator.model.wave import GateWord, SignedWaveWord, SkippedGate, Waiver


def sign_wave_word(word: GateWord | Waiver, key_file: str) -> SignedWaveWord:
    """The word in an envelope, signed with a person's SSH key."""
    envelope, key = sign_with_ssh_key(_statement(word), key_file)
    return SignedWaveWord(word=word, envelope=envelope.text(), key_fingerprint=key)


def _statement(word: GateWord | Waiver) -> Statement:
    predicate = word.model_dump(mode="json", exclude={"plan"})
    kind = GATE if isinstance(word, GateWord) else WAIVER
    return Statement({"plan": word.plan.removeprefix("sha256:")}, kind, predicate)


def why_not(signed: SignedWaveWord, *, plan: str, people: dict[str, Person], now: str) -> str:
    """Why the word does not count; empty where it does. `now` is RFC 3339 UTC."""
    word = signed.word
    person = people.get(word.person)
    if word.plan != plan:
        return "it is for another plan"
    if person is None:
        return "nobody in people.yml is called so"
    if word.role not in person.roles:
        return f"{word.person} does not hold the role {word.role}"
    if word.at > now:
        return f"it says that it was given in the future, at {word.at}"
    if word.expires_at <= now:
        return f"it expired at {word.expires_at}"
    try:
        envelope = Envelope.parse(signed.envelope)
        if envelope.payload != _statement(word).payload():
            return "what was signed is not what is shown"
        key, _ = envelope.signed_by(person.keys)
    except (EvidenceRejected, BadSignature) as error:
        return str(error)
    return "" if key == signed.key_fingerprint else "it was made with another key than it names"


def ensure_theirs(signed: SignedWaveWord, *, people: dict[str, Person]) -> None:
    """Refuse a word that was just signed and could never count. Raises ApprovalInvalid."""
    found = why_not(signed, plan=signed.word.plan, people=people, now=signed.word.at)
    if found:
        raise ApprovalInvalid(f"the word of {signed.word.person}: {found}")


def tell_word(recorder: Recorder, run: str, said: SignedWaveWord | SkippedGate, at: str) -> None:
    """Put a word on record in `run`, with its envelope."""
    if isinstance(said, SkippedGate):
        recorder.record(RunEvent(type="gate.skipped", run=run, at=at, data=_shown(said)))
        return
    kind = "gate.decided" if isinstance(said.word, GateWord) else "waiver.given"
    data = {
        **_shown(said.word),
        "key": said.key_fingerprint,
        "envelope": recorder.keep(said.envelope.encode(), ENVELOPE_MEDIA_TYPE),
    }
    recorder.record(RunEvent(type=kind, run=run, at=at, data=data))


def _shown(word: GateWord | Waiver | SkippedGate) -> dict[str, Any]:
    document = word.model_dump(mode="json")
    return {"by": document.pop("person"), **document}
