"""Deeds of no run: what handlers and steps ask of a deed, for what is done between runs."""

from collections.abc import Sequence

from orchestrator.contracts.handler import Deed
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import Name
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.step import Step
from orchestrator.model.system import System


def deed_outside_runs(
    inventory: Inventory, system: System, step: Step, *, of: str, by: Name, what: Name, steps: Sequence[Step] = ()
) -> Deed:
    """The deed of `step`, one of `steps`, over the system as the inventory has it now. `of` stands for the run's id."""
    plan = Plan(
        wave=what,
        author=by,
        runbook=what,
        runbook_version="1",
        runbook_digest=digest_of([each.model_dump(mode="json") for each in steps or (step,)]),
        inventory_digest=inventory.digest,
        facts_digest=digest_of({}),
        closure={},
        hosts=inventory.hosts,
        machines=inventory.machines,
        systems=(SystemPlan(system=system, steps=tuple(steps or (step,))),),
    )
    key = f"{of}/{system.name}/{step.id}/do"
    return Deed(run=of, plan=plan, system_plan=plan.systems[0], step=step, mode="do", attempt=1, key=key)
