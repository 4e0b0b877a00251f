"""What newer facts say against a plan that was made from older ones. Pure.

Sizes and rates are judged anew, for they change by themselves; what a host is must still be what the plan was made for.
"""

from collections.abc import Iterator

from orchestrator.model.facts import DatasetFacts, Facts, HostFacts
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import HostName
from orchestrator.model.plan import Plan
from orchestrator.planning.feasibility import estimate
from orchestrator.planning.objectives import unmet_objectives, unmet_window

_OF_HOSTS = ("hostname", "operating_system", "architecture")
_OF_DATASETS = ("version", "file_system")


def against_newer_facts(plan: Plan, inventory: Inventory, before: Facts | None, now: Facts) -> list[str]:
    """Why the plan may not run any more by the facts of `now`; `before` are those it was made from, where kept."""
    if now.digest == plan.facts_digest:
        return []
    found: list[str] = []
    for planned in plan.systems:
        expected = estimate(planned.system, inventory, now)
        found += unmet_objectives(planned.system, expected) + unmet_window(planned.system, expected, plan.terms)
    if before is not None:
        for name in plan.hosts:
            if name in before.hosts and name in now.hosts:
                found += _of_host(name, before.hosts[name], now.hosts[name])
    return found


def _of_host(name: HostName, before: HostFacts, now: HostFacts) -> Iterator[str]:
    if not (before.reachable and now.reachable):
        return  # nothing is known to be another; the preflight of the run looks whether it can be reached
    for key in _OF_HOSTS:
        yield from _changed(f"host {name}", key, getattr(before, key), getattr(now, key))
    for tool, version in before.tools.items():
        if version and now.tools.get(tool) == "":
            yield f"host {name} no longer has {tool}"
    for dataset, held in before.datasets.items():
        yield from _of_dataset(f"dataset {dataset} on {name}", held, now.datasets.get(dataset))


def _of_dataset(what: str, before: DatasetFacts, now: DatasetFacts | None) -> Iterator[str]:
    if before.exists and (now is None or not now.exists):
        yield f"{what} is gone"
    elif now is not None:
        for key in _OF_DATASETS:
            yield from _changed(what, key, getattr(before, key), getattr(now, key))


def _changed(what: str, key: str, before: str, now: str) -> Iterator[str]:
    if before and now and before != now:
        yield f"{what}: {key.replace('_', ' ')} was {before}, is {now}"
