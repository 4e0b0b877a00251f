"""How fast systems change at the source, as rounds of replication measured it; the survey keeps it with its facts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.replication import ReplicationHistory
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.facts import Facts
from orchestrator.model.frozen import Frozen
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import DatasetName, SystemName
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.movers.postgres.lsn import parse_lsn

ROUNDS_LOOKED_AT = 20  # the newest
SPAN_SECONDS_MIN = 10.0  # between two rounds: in less, one commit more or less is all there is


class Changing(Frozen):
    """Bytes per second by dataset, over so many rounds."""

    rates: dict[DatasetName, float]
    rounds: int
    began_at: str
    ended_at: str

    @property
    def bytes_per_second(self) -> float:
        return sum(self.rates.values())

    @property
    def told(self) -> str:
        return f"{self.rounds} rounds from {self.began_at} to {self.ended_at}"


class _Round(NamedTuple):
    point: RecoveryPoint
    bytes_wire: int


def changing(system: System, catalogue: Catalogue, history: ReplicationHistory) -> Changing | None:
    """What the newest rounds that passed say; None where there are not two of them, far enough apart.

    Of databases the log that was written between their points; of all other datasets together what rounds brought over
    the wire, told for the first of them. The median of the rounds: one that copied everything anew says nothing of it.
    """
    spans = [span for span in pairwise(_rounds(system, catalogue, history)) if _seconds(*span) >= SPAN_SECONDS_MIN]
    if not spans:
        return None
    rates = {}
    for dataset in system.datasets:
        if isinstance(dataset, PostgresCluster):
            logs = [_log_written(old, new, dataset.name) / _seconds(old, new) for old, new in spans]
            rates[dataset.name] = max(0.0, median(logs))  # a cluster that began anew has a shorter log
    still = [dataset.name for dataset in system.datasets if dataset.name not in rates]
    brought = median(new.bytes_wire / _seconds(old, new) for old, new in spans)
    rates |= {name: brought if name == still[0] else 0.0 for name in still}
    began_at, ended_at = spans[0][0].point.at, spans[-1][1].point.at
    return Changing(rates=rates, rounds=len(spans) + 1, began_at=began_at, ended_at=ended_at)


def changes_of_estate(
    inventory: Inventory, catalogue: Catalogue, history: ReplicationHistory
) -> dict[SystemName, Changing]:
    """Of every system of which it was measured."""
    found = {name: changing(system, catalogue, history) for name, system in inventory.systems.items()}
    return {name: changes for name, changes in found.items() if changes is not None}


def with_changes(facts: Facts, inventory: Inventory, found: Mapping[SystemName, Changing]) -> Facts:
    """The facts with what was measured, in `detail` of each dataset at its source's host."""
    if not found:
        return facts
    hosts = dict(facts.hosts)
    for name, changes in found.items():
        for dataset, rate in changes.rates.items():
            host = inventory.systems[name].host_of(Side.SOURCE, dataset)
            if host not in hosts or dataset not in hosts[host].datasets:
                continue
            of_host = hosts[host]
            of_dataset = of_host.datasets[dataset]
            measured = {"changed_bytes_per_second": f"{rate:.1f}", "changed_measured": changes.told}
            of_dataset = of_dataset.model_copy(update={"detail": {**of_dataset.detail, **measured}})
            hosts[host] = of_host.model_copy(update={"datasets": {**of_host.datasets, dataset: of_dataset}})
    digest = digest_of({name: each.model_dump(mode="json") for name, each in hosts.items()})
    return facts.model_copy(update={"hosts": hosts, "digest": digest})


def _rounds(system: System, catalogue: Catalogue, history: ReplicationHistory) -> Sequence[_Round]:
    """Oldest first; those whose point is still known."""
    found = []
    for each in history.rounds(system.name, limit=ROUNDS_LOOKED_AT):
        document = catalogue.get("recovery_point", f"{system.name}/{each.point}") if each.point else None
        if each.result == "passed" and document is not None:
            found.append(_Round(RecoveryPoint.model_validate(document), each.bytes_wire))
    return sorted(found, key=lambda each: each.point.at)


def _seconds(old: _Round, new: _Round) -> float:
    return (datetime.fromisoformat(new.point.at) - datetime.fromisoformat(old.point.at)).total_seconds()


def _log_written(old: _Round, new: _Round, dataset: DatasetName) -> int:
    marks = [next((held.mark for held in each.point.datasets if held.dataset == dataset), "") for each in (old, new)]
    return parse_lsn(marks[1]) - parse_lsn(marks[0]) if all(marks) else 0
