"""Migrate: run an approved plan, or go on with the run of it that was broken off."""

import secrets
import time
from collections.abc import Callable

from orchestrator.contracts.engine import Runs, RunStatus, Worker
from orchestrator.foundation.errors import OrchestratorError, RolledBack, RunFailed
from orchestrator.model.plan import Plan

OnRun = Callable[[str], None]
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
    for status in runs.list():
        if status.plan == plan_digest and status.state == "running":
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
) -> RunStatus:
    """Run `plan` to its end, in this process; a run of it that was broken off goes on where it was.

    `allowed` raises GateClosed or its kin unless the plan is approved; a run under way was allowed when it began.
    Returns the status whatever the systems came to: see `complain`.
    """
    found = unfinished_run(runs, plan.digest)
    run = found.run if found else new_run_id()
    if found is None:
        allowed(plan, operator)
    worker.start()
    try:
        if found is None:
            runs.submit(run, plan, kind=kind, operator=operator)
        on_run(run)
        return worker.await_finished(run)
    finally:
        worker.stop()


def complain(status: RunStatus) -> None:
    """Raise what a run's end means for an exit code: RunFailed before RolledBack; a good end raises nothing."""
    failed = [system for system in status.systems if system.state not in _FINAL_GOOD | _FINAL_BACK]
    back = [system for system in status.systems if system.state in _FINAL_BACK]
    error: OrchestratorError | None = None
    if failed:
        told = "; ".join(f"{system.system} is {system.state}: {system.reason}" for system in failed)
        error = RunFailed(f"run {status.run}: {told}", hint=f"See every step with: skerry runs show {status.run}")
    elif back:
        told = "; ".join(f"{system.system}: {system.reason}" for system in back)
        error = RolledBack(f"run {status.run} was rolled back: {told}", hint="The systems are where they started.")
    if error:
        raise error
