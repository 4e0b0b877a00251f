"""What gates G0 to G2 ask of a plan's systems: scope, release of data, readiness of replicas. From what is stored."""

from typing import Any

from orchestrator.model.facts import Facts
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.operations.desk import Desk
from orchestrator.operations.lag import lag_of_estate


def estate_observed(desk: Desk, plan: Plan) -> dict[str, dict[str, Any]]:
    """By the name that criteria call it. Touches no host."""
    return {
        "scope": scope_observed(desk, plan),
        "release": release_observed(desk.inventory, plan),
        "replica": replica_observed(desk, plan),
    }


def scope_observed(desk: Desk, plan: Plan) -> dict[str, Any]:
    """Whether the plan is of the estate and facts as they are now, and whether all that hangs together moves in it."""
    names = {planned.system.name for planned in plan.systems}
    outside = sorted(
        f"{planned.system.name} needs {needed.system}"
        for planned in plan.systems
        for needed in planned.system.depends_on
        if needed.kind == "hard" and needed.system not in names
    )
    facts = desk.catalogue.get("facts", desk.inventory.digest)
    return {
        "inventory_unchanged": desk.inventory.digest == plan.inventory_digest,
        "facts_unchanged": facts is not None and Facts.model_validate(facts).digest == plan.facts_digest,
        "hard_dependencies_outside": len(outside),
        "outside": outside,
        "strategies": sorted({planned.system.strategy for planned in plan.systems}),
        "classes_missing": sum(not planned.system.data_classes for planned in plan.systems),
    }


def release_observed(inventory: Inventory, plan: Plan) -> dict[str, Any]:
    """Whether each class of data may go where the plan brings it."""
    allowed = {rule.data_class: set(rule.regions) for rule in inventory.residency}
    refused = sorted(
        f"{name} of {planned.system.name} in {region}"
        for planned in plan.systems
        for name in planned.system.data_classes
        for side in (Side.DR, Side.CLOUD)
        if (region := inventory.site_of(planned.system.host_of(side)).region) not in allowed.get(name, set())
    )
    return {
        "classes": sorted({name for planned in plan.systems for name in planned.system.data_classes}),
        "places_not_allowed": len(refused),
        "refused": refused,
    }


def replica_observed(desk: Desk, plan: Plan) -> dict[str, Any]:
    """How far replicas are behind their objectives, and whether each system's newest point is proved and held."""
    names = [planned.system.name for planned in plan.systems]
    lags = lag_of_estate(
        desk.inventory, desk.catalogue, desk.authority, desk.replication, desk.clock.now(), systems=names
    )
    behind = [row for system in lags for row in system.datasets if not row.met]
    points = [desk.catalogue.list("recovery_point", prefix=f"{name}/", limit=1) for name in names]
    newest = [RecoveryPoint.model_validate(found[0][1]) for found in points if found]
    vaulted = [name for name in names if desk.catalogue.list("vault_copy", prefix=f"{name}/", limit=1)]
    return {
        "within_rpo": not behind and all(system.replicated for system in lags),
        "behind": sorted(f"{row.system}/{row.dataset}" for row in behind),
        "systems_without_point": len(names) - len(newest),
        "oldest_point_at": min((point.at for point in newest), default=""),
        "systems_without_locked_copy": len(names) - len(vaulted),
    }
