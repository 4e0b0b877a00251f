"""Commit: a person has seen what only the new side holds, and says that the system lives there."""

from collections.abc import Mapping

from orchestrator.contracts.engine import FINAL, RunStatus
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import GateClosed, RunInProgress, UsageError
from orchestrator.model.names import Name
from orchestrator.model.plan import Plan
from orchestrator.operations import migrate
from orchestrator.operations.desk import Desk
from orchestrator.operations.plan import find_plan
from orchestrator.operations.rollback import run_named
from orchestrator.operations.status import ask_run


def plan_to_commit(desk: Desk, named: str) -> tuple[Plan, RunStatus | None]:
    """The plan that is meant by its digest, a run of it, or a system; and its run under way, None before there is one.

    Raises GateClosed where the named run, or the last one of the system, is over.
    """
    try:
        plan = find_plan(desk.catalogue, named)
    except UsageError:
        status = desk.runs.status(run_named(desk, named))
        # Else a plan would be begun anew that somebody gave up.
        if all(each.over or each.state in FINAL for each in status.systems):
            states = ", ".join(f"{each.system} is {each.state.replace('_', ' ')}" for each in status.systems)
            hint = "See where everything is: skerry runs list"
            raise GateClosed(f"run {status.run}: {states}; there is nothing to commit", hint=hint) from None
        return desk.runs.plan(status.run), status
    return plan, migrate.unfinished_run(desk.runs, plan.digest)


def commit(
    desk: Desk,
    plan: Plan,
    found: RunStatus | None,
    *,
    operator: Name,
    skip: Mapping[str, str] | None = None,
    on_run: migrate.OnRun = migrate.tell_nobody,
) -> tuple[RunStatus, bool]:
    """Bring the plan to its commit; whether that is done here, and not by the process that carries its run.

    A watch that is under way ends with its round, but for one that the runbook wants whole.
    """
    if found is None:
        return desk.run(plan, operator=operator, kind="migrate", stage="commit", skip=skip, on_run=on_run), True
    desk.catalogue.put("commit_asked", found.run, {"by": operator, "at": timestamp(desk.clock.now())})
    try:
        status = desk.run(plan, operator=operator, kind=found.kind, stage="commit", skip=skip, on_run=on_run)
    except RunInProgress:
        if skip:
            raise
        ask_run(found.run, "", "resume", by=operator, reason="the commit was asked for", step="")
        return desk.runs.status(found.run), False
    return status, True
