"""Waves as they run: promoted one after the other, carried out under their terms, paused, taken back, committed."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from orchestrator.contracts.engine import AT_REST, RunStatus, Worker
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import ApprovalMissing, GateClosed
from orchestrator.model.names import Name, SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.step import Phase
from orchestrator.model.wave import GateName, WaveGate
from orchestrator.operations import migrate
from orchestrator.operations import revoke as revoking
from orchestrator.operations.desk import Desk
from orchestrator.operations.elsewhere import here_or_elsewhere
from orchestrator.operations.wave_state import PROMOTED
from orchestrator.operations.wave_status import WaveDesk, WaveStatus, plan_needed, wave_status
from orchestrator.operations.wave_words import skip_gate, tell_words
from orchestrator.operations.waves import EstateWaves, ensure_terms_unchanged
from orchestrator.operations.ways_back import note_ways_back
from orchestrator.planning.windows import moment_of

REST_POLL_SECONDS = 0.25
LOOKING_SHARE = 5  # times as long as a look at the status takes, nobody looks
OnInterrupt = Literal["leave", "pause", "rollback"]
WaveOperation = Literal["pause", "resume", "cancel", "rollback"]


def run_wave(
    desk: WaveDesk,
    waves: EstateWaves,
    named: Name,
    *,
    operator: Name,
    skip: Mapping[GateName, str] | None = None,
    on_run: migrate.OnRun = migrate.tell_nobody,
    on_interrupt: OnInterrupt = "leave",
) -> WaveStatus:
    """Bring a wave to its new side, to the end of the watch; one that was broken off goes on.

    Before its window opens it is prepared: replicated and seeded, and paused before service is interrupted. Members
    that are there already are left alone, and looked at. Raises GateClosed or its kin when the wave may not begin.
    """
    plan = plan_needed(desk, waves, named)
    for gate, because in (skip or {}).items():
        skip_gate(desk, plan, gate, person=operator, because=because)
    status = wave_status(desk, waves, named, operator=operator, look=True)
    _refuse_changed(status)
    under_way = migrate.unfinished_run(desk.runs, plan.digest)
    left = [m.system for m in status.members if not m.is_there and not m.waived_by and m.state != "committed"]
    alone = {"left_alone": tuple(member.system for member in status.members if member.is_there)}
    if not left:
        return status.model_copy(update=alone)
    if under_way is None:
        ensure_terms_unchanged(plan, waves)
        _ensure_promoted(desk, waves, plan)
        ensure_gates(status, plan.terms.entry if plan.terms is not None else ())
        desk.ensure_allowed(plan, operator)
    else:
        _ensure_not_withdrawn(desk, plan)
    stage = _stage_now(desk, plan)
    run = under_way.run if under_way is not None else migrate.new_run_id()
    if under_way is None:
        desk.catalogue.put("wave_run", f"{named}/{run}", {"run": run, "plan": plan.digest})
    _carry(desk, plan, run, under_way, left, operator=operator, stage=stage, on_run=on_run, on_interrupt=on_interrupt)
    return wave_status(desk, waves, named, operator=operator).model_copy(update=alone)


def _ensure_not_withdrawn(desk: Desk, plan: Plan) -> None:
    """What was allowed when it began goes forward only as long as nobody took that back."""
    why = revoking.withdrawn(plan, desk.catalogue, timestamp(desk.clock.now()))
    if why:
        raise GateClosed(
            f"wave {plan.wave} does not go on: {why}",
            hint=f"Have the plan approved anew, or take the wave back: skerry wave rollback {plan.wave}",
        )


def _stage_now(desk: Desk, plan: Plan) -> migrate.Stage:
    """How far a wave may go at this moment: before its window, no further than what interrupts nothing."""
    window = plan.terms.window if plan.terms is not None else None
    if window is None:
        return "cutover"
    now = desk.clock.now()
    if now < moment_of(window.start):
        return "seed"
    if now >= moment_of(window.end):
        raise GateClosed(
            f"the window of wave {plan.wave} was over at {window.end}",
            hint=f"Give it another in waves.yml, then: skerry plan wave {plan.wave} --as PERSON",
        )
    return "cutover"


def _refuse_changed(status: WaveStatus) -> None:
    changed = [f"{member.system}: {member.changed}" for member in status.members if member.changed]
    if changed:
        raise GateClosed(
            f"members of wave {status.wave} are no longer what they were: {'; '.join(changed)}",
            hint="Find out who changed that before the wave goes on.",
        )


def _ensure_promoted(desk: WaveDesk, waves: EstateWaves, plan: Plan) -> None:
    """The wave before must have passed its soak, with every member still where it was brought."""
    before = plan.terms.before if plan.terms is not None else None
    if before is None:
        return
    status = wave_status(desk, waves, before, look=True)
    _refuse_changed(status)
    if status.state not in PROMOTED:
        until = f" until {status.soak_ends_at}" if status.state == "soaking" else ""
        raise GateClosed(
            f"wave {plan.wave} comes after wave {before}, which is {status.state.replace('_', ' ')}{until}",
            hint=f"See it with: skerry wave status {before}",
        )
    last = waves.program.wave(before)
    ensure_gates(status, last.terms.exit if last is not None else ())


def ensure_gates(status: WaveStatus, gates: Sequence[WaveGate]) -> None:
    """GateClosed, or ApprovalMissing where nobody decided yet, unless each of `gates` is open or was gone round."""
    wanted = {gate.id for gate in gates}
    closed = [gate for gate in status.gates if gate.gate in wanted and not gate.open and gate.skipped is None]
    if closed:
        told = "; ".join(f"gate {gate.gate} is closed: {gate.why_closed}" for gate in closed)
        first = closed[0].gate
        kind = ApprovalMissing if not any(gate.no_go or gate.refused for gate in closed) else GateClosed
        raise kind(
            f"wave {status.wave}: {told}",
            hint=f"Whoever decides says so: skerry wave gate {status.wave} {first} --go --as PERSON --key KEYFILE",
        )


def _carry(
    desk: WaveDesk,
    plan: Plan,
    run: str,
    found: RunStatus | None,
    systems: Sequence[SystemName],
    *,
    operator: Name,
    stage: migrate.Stage | None,
    on_run: migrate.OnRun,
    on_interrupt: OnInterrupt,
) -> None:
    """Carry the run until every member is at rest or paused; stops the others when one fails."""
    pauses = migrate.first_steps_after(plan, stage)
    note_ways_back(plan, desk.runs, desk.catalogue)
    tell_words(desk, plan, run)
    with desk.worker() as worker:
        # Before the worker begins: nothing may be carried past where it is to pause.
        if found is None:
            desk.runs.submit(run, plan, kind="migrate", operator=operator, systems=systems)
        elif any(system.state == "paused" for system in found.systems):
            desk.runs.request(run, "", "resume", by=operator, reason=f"{stage or 'all'} was asked for")
        _pause_before(desk, run, pauses, operator=operator, because=f"{stage} was asked for")
        worker.start()
        try:
            on_run(run)
            _await_rest(desk, plan, run, worker, operator=operator, on_interrupt=on_interrupt)
        finally:
            worker.stop()


def _pause_before(desk: WaveDesk, run: str, steps: Sequence[str], *, operator: Name, because: str) -> None:
    for step in steps:
        desk.runs.request(run, "", "pause", by=operator, reason=because, step=step)


def _await_rest(
    desk: WaveDesk,
    plan: Plan,
    run: str,
    worker: Worker,
    *,
    operator: Name,
    on_interrupt: OnInterrupt,
    goes_back: bool = False,
) -> None:
    # Members that nobody needs to stop: they were told already, or all of them were told to go back.
    stopped = {planned.system.name for planned in plan.systems} if goes_back else set()
    wait_seconds = REST_POLL_SECONDS
    while True:
        try:
            began = time.monotonic()
            status = worker.await_finished(run, timeout_seconds=wait_seconds)
            # Of a large wave the status itself takes time: most of it is left to the work.
            looking = max(0.0, time.monotonic() - began - wait_seconds)
            wait_seconds = max(REST_POLL_SECONDS, LOOKING_SHARE * looking)
        except KeyboardInterrupt:
            if on_interrupt == "leave":
                raise
            _obey_interrupt(desk, plan, run, on_interrupt, stopped, operator=operator)
            on_interrupt = "leave"  # whoever interrupts again means this program
            continue
        if status.state == "finished":
            return
        wrong = [s for s in status.systems if s.state in ("failed", "rolling_back", "rolled_back", "rollback_failed")]
        if wrong:
            because = f"{wrong[0].system} is {wrong[0].state.replace('_', ' ')}: the wave stops"
            _hold_back(desk, plan, status, stopped, operator=operator, because=because)
        resting = all(system.state in AT_REST or system.state == "paused" for system in status.systems)
        if resting and status.requests_open == 0:
            return


def _obey_interrupt(
    desk: WaveDesk, plan: Plan, run: str, wish: OnInterrupt, stopped: set[SystemName], *, operator: Name
) -> None:
    because = "interrupted by the operator"
    if wish == "pause":
        _hold_back(desk, plan, desk.runs.status(run), stopped, operator=operator, because=because)
    else:
        desk.runs.request(run, "", "rollback", by=operator, reason=because)
        stopped |= {planned.system.name for planned in plan.systems}


def _hold_back(
    desk: WaveDesk, plan: Plan, status: RunStatus, stopped: set[SystemName], *, operator: Name, because: str
) -> None:
    """Let members go no further than where nothing is interrupted yet; whoever is past that goes on to its end, for
    stopping there would leave a service down. Those in `stopped` were told already.
    """
    for system in status.systems:
        if system.system in stopped or system.state not in ("running", "waiting"):
            continue
        stopped.add(system.system)
        interrupts = [step.id for step in plan.system_plan(system.system).steps if step.phase is Phase.QUIESCE]
        begun = {row.step for row in system.steps}
        if not begun & set(interrupts):
            step = interrupts[0] if interrupts and system.state == "running" else ""
            desk.runs.request(status.run, system.system, "pause", by=operator, reason=because, step=step)


def ask_wave(
    desk: WaveDesk,
    waves: EstateWaves,
    named: Name,
    operation: WaveOperation,
    *,
    operator: Name,
    because: str,
    on_run: migrate.OnRun = migrate.tell_nobody,
) -> WaveStatus:
    """Ask something of every member that is under way, and carry out what takes deeds, or wait for the process that
    carries the run and does.

    A pause stops members where nothing is interrupted yet; those that are past that come to the end of their stage.
    """
    plan = plan_needed(desk, waves, named)
    found = migrate.unfinished_run(desk.runs, plan.digest)
    if found is None:
        raise GateClosed(
            f"nothing of wave {named} is under way, so there is nothing to {operation}",
            hint=f"See it with: skerry wave status {named}",
        )
    if operation == "resume":
        _ensure_not_withdrawn(desk, plan)
    pauses = migrate.first_steps_after(plan, _stage_now(desk, plan)) if operation == "resume" else []
    run, goes_back = found.run, operation in ("rollback", "cancel")

    def ask() -> None:
        desk.runs.request(run, "", operation, by=operator, reason=because)
        _pause_before(desk, run, pauses, operator=operator, because=because)

    def carry(ask_now: Callable[[], None]) -> None:
        tell_words(desk, plan, run)
        with desk.worker() as worker:
            ask_now()
            worker.start()
            try:
                on_run(run)
                _await_rest(desk, plan, run, worker, operator=operator, on_interrupt="leave", goes_back=goes_back)
            finally:
                worker.stop()

    if operation == "pause":
        _hold_back(desk, plan, found, set(), operator=operator, because=because)
    else:
        here_or_elsewhere(run, desk.runs, ask=ask, carry=carry, on_run=on_run)
    return wave_status(desk, waves, named, operator=operator)


def commit_wave(
    desk: WaveDesk,
    waves: EstateWaves,
    named: Name,
    *,
    operator: Name,
    skip: Mapping[GateName, str] | None = None,
    on_run: migrate.OnRun = migrate.tell_nobody,
) -> WaveStatus:
    """Commit every member, once the soak is over, the members are what they were, and the exit gates are open."""
    plan = plan_needed(desk, waves, named)
    for gate, because in (skip or {}).items():
        skip_gate(desk, plan, gate, person=operator, because=because)
    status = wave_status(desk, waves, named, operator=operator, look=True)
    if status.state in ("passed", "passed_with_waivers"):
        return status
    _refuse_changed(status)
    _ensure_not_withdrawn(desk, plan)
    if status.state != "soaked":
        until = f" until {status.soak_ends_at}" if status.state == "soaking" else ""
        raise GateClosed(
            f"wave {named} is {status.state.replace('_', ' ')}{until}, so it cannot be committed",
            hint=f"See it with: skerry wave status {named}",
        )
    ensure_gates(status, plan.terms.exit if plan.terms is not None else ())
    found = migrate.unfinished_run(desk.runs, plan.digest)
    if found is not None:
        _carry(desk, plan, found.run, found, (), operator=operator, stage=None, on_run=on_run, on_interrupt="leave")
    return wave_status(desk, waves, named, operator=operator)
