"""How the systems of a plan stand by their drills: the newest of each, how old it is, and of what it was."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.model.drill import Fire
from orchestrator.model.names import SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.system import System
from orchestrator.operations.drills import kept_fires
from orchestrator.operations.plan import find_plan


def drills_observed(catalogue: Catalogue, plan: Plan, now: datetime) -> dict[str, Any]:
    """What a gate's criteria may ask of `drill`. Of several systems the worst is told.

    `result` is passed, failed, never (a system that was not drilled), or changed (it was drilled as something else
    than what the plan has). `age_seconds` is not there before each was drilled, so whoever asks for it is closed.
    """
    newest = _newest_of(catalogue, {planned.system.name: planned.system for planned in plan.systems})
    fires = [newest.get(planned.system.name) for planned in plan.systems]
    drilled = [each for each in fires if each is not None]
    results = [_result(each) for each in fires]
    worst = next((each for each in ("never", "failed", "changed") if each in results), "passed")
    observed: dict[str, Any] = {
        "result": worst,
        "systems": len(fires),
        "passed": results.count("passed"),
        "injects_found": min((_found(fire) for fire, _ in drilled), default=0) if len(drilled) == len(fires) else 0,
    }
    if len(drilled) == len(fires):
        ages = [(now - datetime.fromisoformat(fire.finished_at)).total_seconds() for fire, _ in drilled]
        observed["age_seconds"] = round(max(ages), 3)
    return observed


def _newest_of(catalogue: Catalogue, systems: Mapping[SystemName, System]) -> dict[SystemName, tuple[Fire, bool]]:
    """By system its newest drill that came to an end, and whether it was of the system as it is in `systems`."""

    @cache
    def drilled_by(digest: str) -> dict[SystemName, System]:
        try:
            return {planned.system.name: planned.system for planned in find_plan(catalogue, digest).systems}
        except OrchestratorError:  # a plan that is no longer kept, or not whole, tells nothing
            return {}

    newest: dict[SystemName, tuple[Fire, bool]] = {}
    for fire in kept_fires(catalogue):
        if fire.state not in ("passed", "failed") or not fire.finished_at or fire.plan is None:
            continue
        for name, system in drilled_by(fire.plan).items():
            if name in systems:
                newest.setdefault(name, (fire, system == systems[name]))
        if len(newest) == len(systems):
            break
    return newest


def _result(found: tuple[Fire, bool] | None) -> str:
    if found is None:
        return "never"
    fire, same = found
    return fire.state if fire.state != "passed" or same else "changed"


def _found(fire: Fire) -> int:
    return sum(bool(each.found) for each in fire.injected)
