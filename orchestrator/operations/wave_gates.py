"""Gates before and after a wave: what was observed, who decided, what is missing. An empty gate is closed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.model.frozen import Frozen
from orchestrator.model.gate import GateVerdict
from orchestrator.model.names import Name
from orchestrator.model.plan import Plan
from orchestrator.model.wave import GateWord, SignedWaveWord, SkippedGate, WaveGate
from orchestrator.planning.gates import judge_gate

Observed = Mapping[str, Mapping[str, Any]]


class GateStanding(Frozen):
    """How far a gate has come. `skipped` is a person's door round it, and no pass."""

    gate: str
    title: str = ""
    open: bool
    verdict: GateVerdict
    go: tuple[GateWord, ...] = ()
    no_go: tuple[GateWord, ...] = ()
    refused: tuple[str, ...] = ()  # words that do not count, and why
    missing: tuple[str, ...] = ()
    expires_at: str = ""  # when the first of its words does
    skipped: SkippedGate | None = None

    @property
    def words(self) -> tuple[GateWord, ...]:
        """Everybody's newest word that counts."""
        return (*self.go, *self.no_go)

    @property
    def why_closed(self) -> str:
        """In words, for a message."""
        told = [f"{word.person} ({word.role}) said no: {word.comment or 'no reason given'}" for word in self.no_go]
        told += list(self.missing)
        if not told and not self.verdict.passed:
            told = [self.verdict.message]
        return "; ".join((*told, *self.refused))


def gate_standing(
    gate: WaveGate,
    plan: Plan,
    words: Sequence[SignedWaveWord],
    observed: Observed,
    *,
    operator: Name | None,
    why_not: Callable[[SignedWaveWord], str],
    skipped: SkippedGate | None = None,
) -> GateStanding:
    """Judge `gate` by persons' words and by what is observed now; `why_not` says why a word does not count.

    Open where enough different persons in its roles said go, on values that meet every criterion, nobody's newest word
    is no, and what can be observed still meets the criteria. Neither the plan's author nor who runs it may say go.
    """
    newest: dict[str, GateWord] = {}
    refused: list[str] = []
    for signed in words:
        word = signed.word
        if not isinstance(word, GateWord) or word.gate != gate.id:
            continue
        reason = why_not(signed) or _not_entitled(gate, plan, word, operator)
        if not reason and word.decision == "go":
            reason = _on_what(gate, word, observed)
        if reason:
            refused.append(f"{word.person} as {word.role}: {reason}")
        elif word.person not in newest or newest[word.person].at <= word.at:
            newest[word.person] = word
    go = tuple(word for word in newest.values() if word.decision == "go")
    no_go = tuple(word for word in newest.values() if word.decision == "no_go")
    said = max(go, key=lambda word: word.at).said if go else {}
    verdict = judge_gate(gate.as_gate, {**observed, "said": said})
    missing = _missing(gate, go)
    return GateStanding(
        gate=gate.id,
        title=gate.title,
        open=verdict.passed and not missing and not no_go,
        verdict=verdict,
        go=go,
        no_go=no_go,
        refused=tuple(refused),
        missing=missing,
        expires_at=min((word.expires_at for word in go), default=""),
        skipped=skipped,
    )


def _not_entitled(gate: WaveGate, plan: Plan, word: GateWord, operator: Name | None) -> str:
    if word.role not in gate.roles:
        return f"gate {gate.id} asks for {', '.join(gate.roles)}"
    if word.decision == "go" and word.person == plan.author:
        return "made the plan"
    if word.decision == "go" and word.person == operator:
        return "runs the wave"
    return ""


def _on_what(gate: WaveGate, word: GateWord, observed: Observed) -> str:
    verdict = judge_gate(gate.as_gate, {**observed, "said": word.said})
    return "" if verdict.passed else f"said go, but {verdict.message.removeprefix(f'gate {gate.id} is closed: ')}"


def _missing(gate: WaveGate, go: Sequence[GateWord]) -> tuple[str, ...]:
    heard = {word.role for word in go}
    missing = [f"nobody said go as {role}" for role in gate.roles if role not in heard]
    if len(go) < gate.persons_min:
        missing.append(f"{len(go)} of {gate.persons_min} persons said go")
    return tuple(missing)
