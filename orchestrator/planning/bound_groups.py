"""Systems that cannot move apart: hard dependencies, shared hosts and disks, what people declare. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.model.dataset import BlockVolume
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import HostName, SystemName
from orchestrator.model.site import Side


@dataclass(frozen=True)
class Bond:
    """Why two systems move together. `declared`: the number of the entry below `bound`, where a person said so."""

    one: SystemName
    other: SystemName
    why: str
    declared: int | None = None


class BoundGroups:
    """Systems in groups that move as one. The first member of a group, in the order of the estate, names it."""

    def __init__(self, systems: Iterable[SystemName], bonds: Iterable[Bond]) -> None:
        self._above: dict[SystemName, SystemName] = {name: name for name in systems}
        self._order = {name: number for number, name in enumerate(self._above)}
        for bond in bonds:
            if bond.one in self._above and bond.other in self._above:
                ends = self.group_of(bond.one), self.group_of(bond.other)
                first, second = sorted(ends, key=self._order.__getitem__)
                self._above[second] = first

    def group_of(self, system: SystemName) -> SystemName:
        """The name of the system's group."""
        path = []
        while self._above[system] != system:
            path.append(system)
            system = self._above[system]
        for each in path:
            self._above[each] = system
        return system

    def members(self) -> dict[SystemName, list[SystemName]]:
        """Every group by name, members in the order of the estate."""
        groups: dict[SystemName, list[SystemName]] = {}
        for name in self._above:
            groups.setdefault(self.group_of(name), []).append(name)
        return groups


def bonds_of(
    inventory: Inventory,
    *,
    declared: Iterable[tuple[str, tuple[SystemName, ...]]] = (),
    separable: frozenset[HostName] = frozenset(),
) -> list[Bond]:
    """Why systems of the estate hang together. `separable` hosts do not bind the systems that share them.

    Only the source binds: a machine there is stopped as a whole sooner or later, while replicas share hosts by design.
    """
    bonds: list[Bond] = []
    for system in inventory.systems.values():
        bonds += [
            Bond(system.name, needed.system, f"{system.name} depends hard on {needed.system}")
            for needed in system.depends_on
            if needed.kind == "hard"
        ]
    bonds += _by_host(inventory, separable)
    bonds += _by_disk(inventory)
    for number, (name, members) in enumerate(declared):
        bonds += [Bond(members[0], other, f"bound by {name}", declared=number) for other in members[1:]]
    return bonds


def _by_host(inventory: Inventory, separable: frozenset[HostName]) -> list[Bond]:
    first: dict[HostName, SystemName] = {}
    bonds: list[Bond] = []
    for system in inventory.systems.values():
        hosts = [system.host_of(Side.SOURCE), *system.placements[Side.SOURCE].datasets.values()]
        for host in dict.fromkeys(hosts):
            other = first.setdefault(host, system.name)
            if other != system.name and host not in separable:
                bonds.append(Bond(other, system.name, f"both are on host {host}"))
    return bonds


def _by_disk(inventory: Inventory) -> list[Bond]:
    """A disk that two systems have datasets on, or that one has whole and the other files on, at any side."""
    owner: dict[tuple[HostName, str], SystemName] = {}
    bonds: list[Bond] = []
    for system in inventory.systems.values():
        for dataset in system.datasets:
            if not isinstance(dataset, BlockVolume):
                continue
            for side in Side:
                host = system.host_of(side, dataset.name)
                other = owner.setdefault((host, dataset.path), system.name)
                if other != system.name:
                    bonds.append(Bond(other, system.name, f"both have volume {dataset.path} of host {host}"))
    return bonds


def groups_of(inventory: Inventory, bonds: Iterable[Bond]) -> BoundGroups:
    return BoundGroups(inventory.systems, bonds)


def torn_bonds(bonds: Iterable[Bond], wave_of: Mapping[SystemName, str]) -> list[Bond]:
    """Bonds whose two systems are in different waves. A system in no wave stays where it is, and so tears them too."""
    return [
        bond
        for bond in bonds
        if (bond.one in wave_of or bond.other in wave_of) and wave_of.get(bond.one) != wave_of.get(bond.other)
    ]
