"""Lag over time, as it is remembered: in stretches, of each of which the worst moment is told; and rounds meanwhile."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from math import inf

from orchestrator.contracts.replication import ReplicationHistory
from orchestrator.foundation.clock import timestamp
from orchestrator.model.frozen import Frozen
from orchestrator.model.inventory import Inventory
from orchestrator.model.replication import LagSample, Round

STRETCHES = 24
ROUNDS_MAX = 500


class Stretch(Frozen):
    """The worst of the looks since `since`. `seconds_behind` None: at one of them it was not known."""

    since: str
    looks: int
    seconds_behind: float | None
    bytes_behind: int | None
    met: bool


class DatasetPast(Frozen):
    """Stretches in which nobody looked are not there."""

    system: str
    dataset: str
    rpo_seconds: float
    stretches: tuple[Stretch, ...]


class LagPast(Frozen):
    """`rounds` that began since `since`, newest first."""

    since: str
    datasets: tuple[DatasetPast, ...]
    rounds: tuple[Round, ...]


def lag_past(
    inventory: Inventory, history: ReplicationHistory, now: datetime, *, systems: Sequence[str], seconds: float
) -> LagPast:
    """Of the last `seconds`, from what is remembered alone."""
    begun = now - timedelta(seconds=seconds)
    since = timestamp(begun)
    datasets, rounds = [], []
    for name in systems:
        system = inventory.systems[name]
        rpo = system.objectives.rpo
        for dataset in system.datasets:
            samples = history.samples(name, dataset.name, since=since)
            stretches = tuple(_stretches(samples, begun, seconds / STRETCHES, rpo))
            datasets.append(DatasetPast(system=name, dataset=dataset.name, rpo_seconds=rpo, stretches=stretches))
        rounds += [each for each in history.rounds(name, limit=ROUNDS_MAX) if each.started_at >= since]
    rounds.sort(key=lambda each: each.started_at, reverse=True)
    return LagPast(since=since, datasets=tuple(datasets), rounds=tuple(rounds))


def _stretches(samples: Sequence[LagSample], begun: datetime, length: float, rpo: float) -> Iterator[Stretch]:
    def number(sample: LagSample) -> int:
        return int((datetime.fromisoformat(sample.at) - begun).total_seconds() // length)

    for _, found in groupby(samples, key=number):
        looks = list(found)
        worst = max(inf if each.seconds_behind is None else each.seconds_behind for each in looks)
        yield Stretch(
            since=looks[0].at,
            looks=len(looks),
            seconds_behind=None if worst == inf else worst,
            bytes_behind=max((each.bytes_behind for each in looks if each.bytes_behind is not None), default=None),
            met=worst <= rpo,
        )
