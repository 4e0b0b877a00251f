"""How long ways back took: measured from runs that went back, and kept where a switch weighs its window."""

from typing import Any

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.engine import Runs
from orchestrator.model.names import SystemName
from orchestrator.model.plan import Plan

RUNS_LOOKED_AT_MAX = 1000  # of all systems, the newest first
WAYS_BACK_MAX = 5  # of one system


def note_ways_back(plan: Plan, runs: Runs, catalogue: Catalogue) -> None:
    """Keep, for each system of the plan that once went back, the longest of its newest ways back."""
    wanted = {planned.system.name for planned in plan.systems}
    found: dict[SystemName, list[str]] = {}
    for run in runs.list(limit=RUNS_LOOKED_AT_MAX):
        for system in run.systems:
            if system.state == "rolled_back" and system.system in wanted:
                found.setdefault(system.system, []).append(run.run)
    for name, went_back in found.items():
        measured = [_measured(runs, run, name) for run in went_back[:WAYS_BACK_MAX]]
        catalogue.put("way_back", name, max(measured, key=lambda each: float(each["seconds"])))


def _measured(runs: Runs, run: str, name: SystemName) -> dict[str, Any]:
    """The time that the inverses worked; inverses go one at a time, and waiting for a person is no work."""
    system = next(each for each in runs.status(run).systems if each.system == name)
    undone = [step for step in system.steps if step.mode == "undo"]
    finished_at = max((step.finished_at for step in undone), default="")
    return {"seconds": round(sum(step.seconds for step in undone), 3), "run": run, "at": finished_at}
