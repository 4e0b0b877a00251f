"""Proposes waves for systems that are in none: what hangs together stays together, what is needed comes first. Pure."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.model.inventory import Inventory
from orchestrator.model.names import SystemName
from orchestrator.planning.bound_groups import Bond, groups_of
from orchestrator.planning.compile import STAYING

_CRITICALITY = {"low": 0, "moderate": 1, "high": 2}


class _Weight(NamedTuple):
    """By which groups are taken: simple and uncritical ones first, to learn from."""

    criticality: int
    systems: int
    position: int


def propose_waves(
    inventory: Inventory, bonds: Iterable[Bond], *, systems_max: int, assigned: frozenset[SystemName] = frozenset()
) -> list[list[SystemName]]:
    """Waves of at most `systems_max` systems each, in order, for all that move and are not `assigned`.

    A group that is larger by itself gets a wave of its own. A system never comes before one that it depends on, except
    where two groups need each other: they then stand side by side or one after the other.
    """
    groups = groups_of(inventory, bonds)
    members = {
        name: [each for each in systems if each not in assigned and inventory.systems[each].strategy not in STAYING]
        for name, systems in groups.members().items()
    }
    members = {name: systems for name, systems in members.items() if systems}
    needs: dict[SystemName, set[SystemName]] = {name: set() for name in members}
    for name, systems in members.items():
        for system in systems:
            for needed in inventory.systems[system].depends_on:
                other = groups.group_of(needed.system)
                if other != name and other in members:
                    needs[name].add(other)
    waves: list[list[SystemName]] = []
    for name in _ordered(needs, _weights(inventory, members)):
        if not waves or len(waves[-1]) + len(members[name]) > systems_max:
            waves.append([])
        waves[-1] += members[name]
    return waves


def _weights(inventory: Inventory, members: Mapping[SystemName, Sequence[SystemName]]) -> dict[SystemName, _Weight]:
    return {
        name: _Weight(
            max(_CRITICALITY[inventory.systems[system].criticality] for system in systems), len(systems), position
        )
        for position, (name, systems) in enumerate(members.items())
    }


def _ordered(needs: Mapping[SystemName, set[SystemName]], weights: Mapping[SystemName, _Weight]) -> list[SystemName]:
    """Every group after those it needs, the lightest first; a circle is opened at its lightest group."""
    left = {name: len(wanted) for name, wanted in needs.items()}
    followers: dict[SystemName, list[SystemName]] = {name: [] for name in needs}
    for name, wanted in needs.items():
        for needed in wanted:
            followers[needed].append(name)
    ready = [(weights[name], name) for name, count in left.items() if count == 0]
    heapq.heapify(ready)
    rest = sorted(needs, key=weights.__getitem__)
    position = 0
    taken: set[SystemName] = set()
    ordered: list[SystemName] = []
    while len(ordered) < len(needs):
        if ready:
            _, name = heapq.heappop(ready)
        else:
            while rest[position] in taken:
                position += 1
            name = rest[position]
        if name in taken:
            continue
        taken.add(name)
        ordered.append(name)
        for follower in followers[name]:
            left[follower] -= 1
            if left[follower] == 0:
                heapq.heappush(ready, (weights[follower], follower))
    return ordered
