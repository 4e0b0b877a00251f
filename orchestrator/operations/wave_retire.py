"""Retire: the old side of a wave's members is given up, once its gate is open. Rounds bring nothing there any more."""

from collections.abc import Mapping

from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import GateClosed
from orchestrator.model.names import Name
from orchestrator.model.wave import GateName
from orchestrator.operations.wave import ensure_gates
from orchestrator.operations.wave_status import WaveDesk, WaveStatus, plan_needed, wave_status
from orchestrator.operations.wave_words import skip_gate, try_to_tell
from orchestrator.operations.waves import EstateWaves


def retire_wave(
    desk: WaveDesk,
    waves: EstateWaves,
    named: Name,
    *,
    operator: Name,
    skip: Mapping[GateName, str] | None = None,
) -> WaveStatus:
    """Give up the source of every committed member. GateClosed before the wave passed, or while G8 is closed."""
    plan = plan_needed(desk, waves, named)
    for gate, because in (skip or {}).items():
        skip_gate(desk, plan, gate, person=operator, because=because)
    status = wave_status(desk, waves, named, operator=operator, look=True)
    if status.state not in ("passed", "passed_with_waivers"):
        raise GateClosed(
            f"wave {named} is {status.state.replace('_', ' ')}: nothing of its old side is given up",
            hint=f"It is committed first: skerry wave commit {named}",
        )
    gates = plan.terms.retire if plan.terms is not None else ()
    if not gates:
        raise GateClosed(
            f"wave {named} has no gate G8, so nothing was judged, and the gate is closed",
            hint="Write it below gates, name it at the wave (retire: [G8]), and plan the wave again.",
        )
    ensure_gates(status, gates)
    for member in status.members:
        if member.state == "committed":
            word = {"by": operator, "at": timestamp(desk.clock.now()), "wave": named, "plan": plan.digest}
            desk.catalogue.put("retired_source", member.system, word)
    try_to_tell(desk, waves, named)
    return wave_status(desk, waves, named, operator=operator)
