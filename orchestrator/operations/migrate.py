"""Migrate: run an approved plan, or go on with the run of it that was broken off."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from orchestrator.contracts.engine import AT_REST, Runs, RunStatus, SystemStatus, Worker
from orchestrator.foundation.errors import (
    GateClosed,
    OrchestratorError,
    RolledBack,
    RunFailed,
    RunInProgress,
    UsageError,
)
from orchestrator.model.plan import Plan
from orchestrator.model.step import Phase

OnRun = Callable[[str], None]
Rests = Callable[[RunStatus], bool]
Stage = Literal["replicate", "seed", "cutover", "commit"]
STAGES: tuple[Stage, ...] = ("replicate", "seed", "cutover", "commit")
# What each stage of a move does; a run of one stage pauses before the next.
PHASES: dict[Stage, frozenset[Phase]] = {
    "replicate": frozenset({Phase.PREPARE, Phase.REPLICATE}),
    "seed": frozenset({Phase.SEED}),
    "cutover": frozenset(
        {
            Phase.FREEZE,
            Phase.QUIESCE,
            Phase.FINAL_SYNC,
            Phase.VERIFY_DATA,
            Phase.FENCE_SOURCE,
            Phase.PROMOTE,
            Phase.START,
            Phase.VERIFY_SERVICE,
            Phase.SWITCH_TRAFFIC,
            Phase.OBSERVE,
            Phase.ROLLBACK,
        }
    ),
    "commit": frozenset({Phase.COMMIT, Phase.CLOSURE}),
}
REST_POLL_SECONDS = 0.25
_FINAL_GOOD = {"committed"}
_FINAL_BACK = {"rolled_back"}


def tell_nobody(_: str) -> None:
    """Nobody needs to know the run's id before it ends."""


def new_run_id(milliseconds: int | None = None) -> str:
    """A UUID version 7 (RFC 9562): sorts by time, and cannot be guessed, for evidence hashes are over it."""
    moment = int(time.time() * 1000) if milliseconds is None else milliseconds
    number = (moment & (1 << 48) - 1) << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def unfinished_run(runs: Runs, plan_digest: str) -> RunStatus | None:
    """The run of this plan that has not ended yet."""
    for status in runs.list(plan=plan_digest):
        if status.state == "running":
            return status
    return None


def run_plan(
    plan: Plan,
    *,
    operator: str,
    kind: str,
    runs: Runs,
    worker: Worker,
    allowed: Callable[[Plan, str], None],
    on_run: OnRun = tell_nobody,
    stage: Stage | None = None,
    withdrawn: Callable[[Plan], str] = lambda plan: "",
    skip: Mapping[str, str] | None = None,
) -> RunStatus:
    """Run `plan` to its end or to the end of `stage`, in this process; a run of it that was broken off goes on.

    `allowed` raises GateClosed or its kin unless the plan is approved; a run under way was allowed when it began, and
    goes on unless `withdrawn` says why it is no longer: then only ways back go on, and GateClosed is raised for the
    rest. `skip` names gates that may be gone round, each with the reason: UsageError where the plan has none of that
    name. Returns the status whatever the systems came to: see `complain`.
    """
    found = unfinished_run(runs, plan.digest)
    run = found.run if found else new_run_id()
    closed = withdrawn(plan) if found else ""
    if found is None:
        allowed(plan, operator)
    stops = first_steps_after(plan, stage)
    doors = _steps_behind(plan, skip or {})
    worker.start()
    try:
        if found is None:
            # No worker comes to such a gate before it heard who goes round it.
            runs.submit(run, plan, kind=kind, operator=operator, pause_before=[*stops, *doors])
        for gate, because in (skip or {}).items():
            runs.request(run, "", "skip_gate", by=operator, reason=because, step=gate)
        if found is None:
            if doors:
                reason = "gates that may be gone round are known"
                runs.request(run, "", "resume", by=operator, reason=reason, step=" ".join(stops))
        elif closed:
            _go_back_only(found, runs, operator=operator, because=closed)
        elif stops or any(system.state == "paused" for system in found.systems):
            # One word for both: a stage that is quick cannot run past its end before somebody says where that is.
            reason = f"{stage or 'all'} was asked for"
            runs.request(run, "", "resume", by=operator, reason=reason, step=" ".join(stops))
        on_run(run)
        status = await_rest(run, runs, worker)
        if closed and any(system.state == "paused" for system in status.systems):
            raise GateClosed(
                f"run {run} does not go on: {closed}",
                hint=f"Have the plan approved anew, or take the run back: skerry runs ask rollback {run}",
            )
        return status
    finally:
        worker.stop()


def hand_over(
    plan: Plan,
    *,
    operator: str,
    kind: str,
    runs: Runs,
    allowed: Callable[[Plan, str], None],
    stage: Stage | None = None,
) -> str:
    """Submit `plan` for whatever worker carries runs, and return the run's id at once. Nothing is carried here.

    `allowed` as in `run_plan`. Raises RunInProgress where a run of this plan is under way already.
    """
    found = unfinished_run(runs, plan.digest)
    if found is not None:
        raise RunInProgress(
            f"run {found.run} of this plan is under way",
            hint=f"Watch it: skerry runs watch {found.run}; what rests is asked to go on: skerry runs ask resume",
        )
    allowed(plan, operator)
    run = new_run_id()
    runs.submit(run, plan, kind=kind, operator=operator, pause_before=first_steps_after(plan, stage))
    return run


def _steps_behind(plan: Plan, skip: Mapping[str, str]) -> list[str]:
    """The steps behind the gates that are to be gone round."""
    behind = {step.gate.id: step.id for step in plan.systems[0].steps if step.gate is not None}
    for gate, because in skip.items():
        if gate not in behind:
            raise UsageError(f"the plan has no gate {gate} (there are: {', '.join(sorted(behind)) or 'none'})")
        if not because.strip():
            raise UsageError(f"say why gate {gate} is skipped: --because TEXT")
    return [step.id for step in plan.systems[0].steps if step.gate is not None and step.gate.id in skip]


def _go_back_only(found: RunStatus, runs: Runs, *, operator: str, because: str) -> None:
    """Whoever goes back goes on; whoever goes forward begins nothing more."""
    for system in found.systems:
        goes_back = system.state == "rolling_back" or any(step.mode == "undo" for step in system.steps)
        if goes_back and system.state == "paused":
            runs.request(found.run, system.system, "resume", by=operator, reason="it goes back")
        elif not goes_back and system.state in ("waiting", "running") and not found.requests_open:
            # What was asked before is obeyed first; a way back that was asked for must not be paused.
            runs.request(found.run, system.system, "pause", by=operator, reason=because)


def first_steps_after(plan: Plan, stage: Stage | None) -> list[str]:
    """The steps before which a run of `stage` pauses: those of later phases that need nothing of later phases."""
    if stage is None:
        return []
    steps = plan.systems[0].steps
    later = {step.id for step in steps if _stage_of(step.phase) > STAGES.index(stage)}
    return [step.id for step in steps if step.id in later and not later & set(step.needs)]


def _stage_of(phase: Phase) -> int:
    return next(index for index, name in enumerate(STAGES) if phase in PHASES[name])


def is_at_rest(status: RunStatus) -> bool:
    """Nothing is under way, and everything that was asked is answered."""
    return all(map(system_rests, status.systems)) and status.requests_open == 0


def system_rests(system: SystemStatus) -> bool:
    """Nothing of it is under way."""
    return system.state in AT_REST or system.state == "paused"


def await_rest(run: str, runs: Runs, worker: Worker, *, rests: Rests = is_at_rest) -> RunStatus:
    """Until every system is at rest, or paused because a stage is over; or what `rests` says.

    While a request is open, `paused` may still be the end of the stage before.
    """
    while True:
        status = worker.await_finished(run, timeout_seconds=REST_POLL_SECONDS)
        if status.state == "finished":
            return status
        if rests(status):
            return runs.status(run)


def complain(status: RunStatus, hint: str = "") -> None:
    """Raise what a run's end means for an exit code: RunFailed before RolledBack; a good end raises nothing.

    `hint` is for what failed, where more is known of it.
    """
    good = _FINAL_GOOD | _FINAL_BACK | {"paused"}
    failed = [system for system in status.systems if system.state not in good]
    back = [system for system in status.systems if system.state in _FINAL_BACK]
    error: OrchestratorError | None = None
    if failed:
        told = "; ".join(f"{system.system} is {system.state}: {system.reason}" for system in failed)
        see = f"See every step with: skerry runs show {status.run}"
        on = [ways_on(status.run, system) for system in failed if not system.over]
        lines = [*_hints(failed), *filter(None, on), see]
        error = RunFailed(f"run {status.run}: {told}", hint=hint or "\n".join(lines))
    elif back:
        told = "; ".join(f"{system.system}: {system.reason}" for system in back)
        where = "The systems are where they started."
        error = RolledBack(f"run {status.run} was rolled back: {told}", hint="\n".join([*_hints(back), where]))
    if error:
        raise error


def ways_on(run: str, system: SystemStatus) -> str:
    """How a system goes on that is not over, but stands at what failed; "" where nothing has failed.

    The command that began the run only finds it standing there.
    """
    stuck = [step for step in system.steps if step.state in ("failed", "unknown")]
    by = "--as PERSON --because WHY"
    if system.state == "rollback_failed":
        at = [step for step in stuck if step.mode == "undo"]
        way = (
            f"The way back goes on with: skerry rollback {system.system} {by}; where the side that may write is lost, "
            "the other takes over, on a named person's word that it is down: "
            f"skerry failover {system.system} --as PERSON (of a lost cloud: --set from=cloud --set to=source)"
        )
    elif system.state == "failed" and stuck:
        at = stuck
        again = f"skerry runs ask retry {run} --system {system.system} --step {stuck[-1].step} {by}"
        way = f"To have it done again: {again}; to go back: skerry rollback {system.system} {by}"
    else:
        return ""
    unknown = [step.step for step in at if step.state == "unknown"]
    if not unknown:
        return way
    found = f"skerry runs ask found_applied|found_absent {run} --system {system.system} --step {unknown[-1]} {by}"
    return f"Look at the host whether {unknown[-1]} took effect, then say what you found: {found}"


def _hints(systems: Sequence[SystemStatus]) -> list[str]:
    """What the steps that failed, or whose outcome nobody knows, say that one may do; each once."""
    steps = [step for system in systems for step in system.steps if step.state in ("failed", "unknown") and step.hint]
    return list(dict.fromkeys(step.hint for step in steps))
