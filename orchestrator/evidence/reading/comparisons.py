"""Data that several sides digested, each its own copy: what was compared in a run, and whether it was equal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.story import SystemStory


@dataclass(frozen=True)
class Comparison:
    """One dataset: its digest by side. `event` says so."""

    dataset: str
    digests: Mapping[str, str]
    equal: bool
    event: LoggedEvent


def comparisons(system: SystemStory) -> list[Comparison]:
    """Those of the run's own steps; of a run without, those by which its recovery points were held.

    A point is held at several sides only once each of them gave the same digest of each dataset.
    """
    compared = list(_by_steps(system))
    return compared or list(_by_points(system))


def _by_steps(system: SystemStory) -> Iterator[Comparison]:
    for event in system.of("digests.compared"):
        sides = event.data.get("sides") or {}
        digests = {side: str(each.get("digest", "")) for side, each in sides.items()}
        yield Comparison(str(event.data.get("dataset", "")), digests, event.data.get("match") is True, event)


def _by_points(system: SystemStory) -> Iterator[Comparison]:
    for event in system.of("recovery_point.held"):
        sides = event.data.get("sides") or []
        for held in event.data.get("datasets") or [] if len(sides) > 1 else []:
            yield Comparison(str(held["dataset"]), dict.fromkeys(sides, str(held["digest"])), True, event)
