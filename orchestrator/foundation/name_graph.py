"""Graphs of names: circles, ancestors, levels. Pure, and without recursion, so that a long chain is no trouble."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

Graph = Mapping[str, Sequence[str]]  # name → the names it needs; needs outside the graph are left aside


def in_order(graph: Graph) -> list[str]:
    """Every name after all it needs; in written order otherwise. Names within or behind a circle are left out."""
    waiting = {name: len({needed for needed in needs if needed in graph}) for name, needs in graph.items()}
    followers: dict[str, list[str]] = {name: [] for name in graph}
    for name, needs in graph.items():
        for needed in dict.fromkeys(needs):
            if needed in graph:
                followers[needed].append(name)
    ready = deque(name for name in graph if waiting[name] == 0)
    ordered: list[str] = []
    while ready:
        name = ready.popleft()
        ordered.append(name)
        for follower in followers[name]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                ready.append(follower)
    return ordered


def circles_in(graph: Graph) -> Iterator[list[str]]:
    """Ways from a name back to itself, the name at both ends; no name is in two of them. Nothing where none is."""
    left = set(graph) - set(in_order(graph))
    while left:
        # Every name that is left needs another that is left, so walking along must come back to where it has been.
        name = next(name for name in graph if name in left)
        walk: dict[str, int] = {}
        while name not in walk:
            walk[name] = len(walk)
            name = next(needed for needed in graph[name] if needed in left)
        circle = list(walk)[walk[name] :]
        yield [*circle, name]
        rest = {other: graph[other] for other in left if other not in circle}
        left = set(rest) - set(in_order(rest))


def ancestors(graph: Graph) -> dict[str, frozenset[str]]:
    """All that each name needs, directly or through others. The graph has no circle."""
    found: dict[str, frozenset[str]] = {}
    for name in in_order(graph):
        needs = [needed for needed in graph[name] if needed in graph]
        found[name] = frozenset(needs).union(*(found[needed] for needed in needs))
    return found


def levels(graph: Graph) -> list[list[str]]:
    """Names that can go side by side: each level needs only names of the levels before it."""
    depth: dict[str, int] = {}
    for name in in_order(graph):
        depth[name] = 1 + max((depth[needed] for needed in graph[name] if needed in depth), default=-1)
    result: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in graph:
        if name in depth:
            result[depth[name]].append(name)
    return result
