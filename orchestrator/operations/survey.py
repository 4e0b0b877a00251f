"""Survey: what the hosts of an estate really are, kept for planning."""

from collections.abc import Callable, Mapping

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.foundation.errors import PlanningError
from orchestrator.model.facts import Facts, HostFacts
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import SystemName
from orchestrator.operations.changing import Changing, with_changes

Surveyor = Callable[[Inventory, Callable[[HostFacts], None]], Facts]


def survey_estate(
    inventory: Inventory,
    survey: Surveyor,
    catalogue: Catalogue,
    *,
    on_host: Callable[[HostFacts], None],
    changes: Mapping[SystemName, Changing] | None = None,
) -> Facts:
    """Ask every host, keep the answers as the estate's newest facts, return them. Unreachable hosts are facts too.

    `changes` is how fast systems were measured to change, and becomes a part of the facts.
    """
    facts = with_changes(survey(inventory, on_host), inventory, changes or {})
    catalogue.put("facts", inventory.digest, facts.model_dump(mode="json"))
    return facts


def newest_facts(inventory: Inventory, catalogue: Catalogue) -> Facts:
    """The facts of the last survey of exactly this inventory."""
    document = catalogue.get("facts", inventory.digest)
    if document is None:
        raise PlanningError(
            "this inventory has not been surveyed since it was last edited", hint="Ask the hosts first: skerry survey"
        )
    return Facts.model_validate(document)
