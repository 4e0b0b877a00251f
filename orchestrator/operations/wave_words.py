"""What persons say of waves: decisions at gates, waivers, and doors round a gate; signed, kept, put on record."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from orchestrator.evidence.wave_words import ensure_theirs, sign_wave_word, tell_word
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import ApprovalInvalid, GateClosed, RunInProgress, UsageError
from orchestrator.model.names import Name, SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.wave import GateName, GateWord, SignedWaveWord, SkippedGate, Waiver, WaveGate
from orchestrator.operations.desk import Desk
from orchestrator.operations.wave_status import WaveDesk, plan_needed, wave_status
from orchestrator.operations.waves import EstateWaves

WAIVER_VALID_DEFAULT = timedelta(days=30)


def decide(
    desk: WaveDesk,
    waves: EstateWaves,
    named: Name,
    gate_id: GateName,
    *,
    person: Name,
    role: Name,
    key_file: str,
    decision: Literal["go", "no_go"],
    said: Mapping[str, str | int | float | bool],
    comment: str = "",
) -> GateWord:
    """Sign and keep `person`'s decision at a gate of the wave; refused here already where it could not count."""
    plan = plan_needed(desk, waves, named)
    gate = gate_of(plan, gate_id)
    if role not in gate.roles:
        raise ApprovalInvalid(f"gate {gate_id} asks for {', '.join(gate.roles)}, not {role}")
    if decision == "go" and person == plan.author:
        raise ApprovalInvalid(f"{person} made this plan, so another person must say go")
    now = desk.clock.now()
    word = GateWord(
        plan=plan.digest,
        wave=named,
        gate=gate_id,
        person=person,
        role=role,
        decision=decision,
        said=dict(said),
        comment=comment,
        at=timestamp(now),
        expires_at=timestamp(now + timedelta(seconds=gate.valid_for)),
        nonce=secrets.token_hex(16),
    )
    if decision == "go":
        _refuse_empty_go(gate, word)
    _keep_signed(desk, plan, sign_wave_word(word, key_file))
    return word


def gate_of(plan: Plan, gate_id: str) -> WaveGate:
    gate = plan.terms.gate(gate_id) if plan.terms is not None else None
    if gate is None:
        there = ", ".join(each.id for each in plan.terms.gates) if plan.terms is not None else ""
        raise UsageError(f"wave {plan.wave} has no gate {gate_id} (there are: {there or 'none'})")
    return gate


def _refuse_empty_go(gate: WaveGate, word: GateWord) -> None:
    """A go without what its criteria ask the person for is only a tick."""
    unsaid = [each.observed for each in gate.criteria if each.step == "said" and each.observed not in word.said]
    if unsaid:
        raise ApprovalInvalid(
            f"gate {gate.id} asks what you observed of {', '.join(unsaid)}",
            hint="Say each: " + " ".join(f"--observe {name}=VALUE" for name in unsaid),
        )


def waive(
    desk: WaveDesk,
    waves: EstateWaves,
    named: Name,
    system: SystemName | None,
    *,
    person: Name,
    role: Name,
    key_file: str,
    because: str,
) -> Waiver:
    """Sign and keep a waiver: the wave goes without `system`, or without the rest of its soak. It is never a pass."""
    plan = plan_needed(desk, waves, named)
    if person == plan.author:
        raise ApprovalInvalid(f"{person} made this plan, so another person must waive")
    status = wave_status(desk, waves, named)
    member = next((each for each in status.members if each.system == system), None)
    if system is not None and member is None:
        raise UsageError(f"wave {named} has no system {system} (it has: {', '.join(m.system for m in status.members)})")
    if member is not None and member.state in ("running", "paused", "rolling_back", "committed"):
        raise GateClosed(
            f"{system} is {member.state.replace('_', ' ')}: it cannot be gone without",
            hint=f"Take it back first: skerry runs ask rollback {member.run} --system {system}",
        )
    now = desk.clock.now()
    waiver = Waiver(
        plan=plan.digest,
        wave=named,
        system=system,
        person=person,
        role=role,
        because=because,
        at=timestamp(now),
        expires_at=timestamp(now + WAIVER_VALID_DEFAULT),
        nonce=secrets.token_hex(16),
    )
    _keep_signed(desk, plan, sign_wave_word(waiver, key_file))
    return waiver


def _keep_signed(desk: Desk, plan: Plan, signed: SignedWaveWord) -> None:
    ensure_theirs(signed, people=dict(desk.inventory.people))
    key = f"{plan.digest}/signed/{signed.word.nonce}"
    desk.catalogue.put("wave_word", key, {"said": signed.model_dump(mode="json"), "told": ""})


def skip_gate(desk: Desk, plan: Plan, gate: GateName, *, person: Name, because: str) -> SkippedGate:
    """Keep that `person` goes round a gate of the wave. It is told in the evidence of the run, and never a pass."""
    gate_of(plan, gate)
    if not because.strip():
        raise UsageError(f"say why gate {gate} is skipped: --because TEXT")
    said = SkippedGate(
        plan=plan.digest, wave=plan.wave, gate=gate, person=person, because=because, at=timestamp(desk.clock.now())
    )
    key = f"{plan.digest}/skipped/{gate}-{said.at}"
    desk.catalogue.put("wave_word", key, {"said": said.model_dump(mode="json"), "told": ""})
    return said


def tell_words(desk: Desk, plan: Plan, run: str) -> None:
    """Put on record, in `run`, what persons said of its wave and was not told there yet.

    A caretaker steps aside meanwhile; RunInProgress where another process carries runs.
    """
    untold = [
        (key, document)
        for key, document in reversed(desk.catalogue.list("wave_word", prefix=f"{plan.digest}/"))
        if document["told"] != run
    ]
    if not untold:
        return
    with desk.between_runs() as recorder:
        for key, document in untold:
            kind = SkippedGate if "/skipped/" in key else SignedWaveWord
            tell_word(recorder, run, kind.model_validate(document["said"]), timestamp(desk.clock.now()))
    for key, document in untold:
        desk.catalogue.put("wave_word", key, {**document, "told": run})


def try_to_tell(desk: WaveDesk, waves: EstateWaves, named: Name) -> bool:
    """Put words on record in the wave's newest run, where it has one and nobody else writes to the ledger now."""
    plan = plan_needed(desk, waves, named)
    kept = desk.catalogue.list("wave_run", prefix=f"{named}/", limit=1)
    if not kept:
        return False
    try:
        tell_words(desk, plan, kept[0][1]["run"])
    except RunInProgress:
        return False  # a worker writes; its next beginning tells
    return True
