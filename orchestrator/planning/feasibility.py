"""How much must move, and how long that takes over the links that were measured. Pure, never typed in by hand."""

from orchestrator.model.dataset import Dataset
from orchestrator.model.facts import DatasetFacts, Facts
from orchestrator.model.frozen import Frozen
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import HostName
from orchestrator.model.site import Side
from orchestrator.model.system import System

LINK_SHARE = 0.8  # of the nominal rate: protocol overhead, and room for what else uses the link
HOPS = ((Side.SOURCE, Side.DR), (Side.DR, Side.CLOUD))


class Estimate(Frozen):
    """What a move of one system is expected to take. `None` where nobody measured what it depends on."""

    bytes_source_to_dr: int
    bytes_dr_to_cloud: int
    copy_seconds: float | None  # both hops, one after the other, while clients still work
    final_delta_seconds: float | None  # both hops again, while they cannot
    bytes_changed_per_second: float | None

    @property
    def bytes_expected(self) -> int:
        return self.bytes_source_to_dr + self.bytes_dr_to_cloud


def dataset_facts(facts: Facts, host: HostName, dataset: str) -> DatasetFacts | None:
    """What the survey found of `dataset` on `host`; None where it did not get to look."""
    found = facts.hosts.get(host)
    return found.datasets.get(dataset) if found is not None and found.reachable else None


def bytes_to_move(system: System, dataset: Dataset, facts: Facts, hop: tuple[Side, Side]) -> int:
    """What the replica side of `hop` lacks of `dataset`, by size alone; what exists there is taken as a start."""
    at_source = dataset_facts(facts, system.host_of(Side.SOURCE, dataset.name), dataset.name)
    at_replica = dataset_facts(facts, system.host_of(hop[1], dataset.name), dataset.name)
    whole = at_source.bytes_used if at_source is not None else 0
    held = at_replica.bytes_used if at_replica is not None and at_replica.exists else 0
    return max(0, whole - held)


def mbit_between(inventory: Inventory, source: HostName, replica: HostName) -> float | None:
    """The measured rate from one host's site to the other's; within a site no link is needed."""
    ends = inventory.hosts[source].site, inventory.hosts[replica].site
    if ends[0] == ends[1]:
        return None
    for link in inventory.links:
        if (link.source, link.replica) == ends:
            return link.mbit_per_second
    return None


def copy_seconds(bytes_moved: float, mbit_per_second: float) -> float:
    """Time for `bytes_moved` over a link of that nominal rate."""
    return bytes_moved * 8 / (mbit_per_second * 1_000_000 * LINK_SHARE)


def changed_bytes_per_second(system: System, facts: Facts) -> float | None:
    """How fast the system's datasets change at the source, where the survey measured it for every one of them."""
    total = 0.0
    for dataset in system.datasets:
        found = dataset_facts(facts, system.host_of(Side.SOURCE, dataset.name), dataset.name)
        measured = found.detail.get("changed_bytes_per_second") if found is not None else None
        if measured is None:
            return None
        total += float(measured)
    return total


def estimate(system: System, inventory: Inventory, facts: Facts) -> Estimate:
    """What moving `system` from source over DR to the cloud is expected to take."""
    moved = [sum(bytes_to_move(system, dataset, facts, hop) for dataset in system.datasets) for hop in HOPS]
    rates = [mbit_between(inventory, system.host_of(hop[0]), system.host_of(hop[1])) for hop in HOPS]
    change = changed_bytes_per_second(system, facts)
    copying: float | None = None
    final: float | None = None
    if rates[0] is not None and rates[1] is not None:
        copying = copy_seconds(moved[0], rates[0]) + copy_seconds(moved[1], rates[1])
        if change is not None:
            final = _final_delta_seconds(change, rates[0], rates[1])
    return Estimate(
        bytes_source_to_dr=moved[0],
        bytes_dr_to_cloud=moved[1],
        copy_seconds=copying,
        final_delta_seconds=final,
        bytes_changed_per_second=change,
    )


def _final_delta_seconds(change: float, first_mbit: float, second_mbit: float) -> float:
    """What is left when catching up no longer gets shorter: the changes made during one pass over both hops.

    A pass that moves d seconds' worth of changes takes share * d seconds; once share < 1 each pass is shorter than the
    one before it, so what remains at the drain is bounded by the fixed cost of a pass, taken as one second.
    """
    share = copy_seconds(change, first_mbit) + copy_seconds(change, second_mbit)
    return float("inf") if share >= 1 else share / (1 - share)
