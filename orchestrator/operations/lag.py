"""Lag: how far each replica is behind by now, from what is remembered alone, and whether that is good enough."""

from collections.abc import Sequence
from datetime import datetime

from orchestrator.contracts.authority import AuthorityStore
from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.replication import ReplicationHistory
from orchestrator.foundation.amounts import seconds_text
from orchestrator.foundation.errors import DigestMismatch, ReplicaLagging
from orchestrator.model.damage import Damage
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.frozen import Frozen
from orchestrator.model.inventory import Inventory
from orchestrator.model.replication import LagSample, Round
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.operations.replication import last_moment, seconds_since
from orchestrator.steps.damages import damages


class DatasetLag(Frozen):
    """`seconds_behind` is what is certain: nobody has looked since `seen_at`, so the time since then counts too.

    None: no replica is known. `bytes_behind` is as it was at `seen_at`.
    """

    system: str
    dataset: str
    kind: str
    good_point: str = ""
    good_at: str = ""
    seen_at: str = ""
    seconds_behind: float | None = None
    bytes_behind: int | None = None
    rpo_seconds: float
    met: bool


class SystemLag(Frozen):
    """`replicated` is False where the system lives elsewhere: no objective is missed by a copy that is not made."""

    system: str
    authority: Side
    replicated: bool
    met: bool
    datasets: tuple[DatasetLag, ...] = ()
    last_round: Round | None = None
    damaged: tuple[Damage, ...] = ()  # live data that are not what they were proved to be


def lag_of_estate(
    inventory: Inventory,
    catalogue: Catalogue,
    authority: AuthorityStore,
    history: ReplicationHistory,
    now: datetime,
    *,
    systems: Sequence[str] = (),
) -> list[SystemLag]:
    """Of all systems, or those named. Touches no host: it answers when the source has burned down too."""
    samples = {(sample.system, sample.dataset): sample for sample in history.newest()}
    chosen = [inventory.systems[name] for name in (systems or inventory.systems)]
    return [_lag_of(system, samples, catalogue, authority, history, now) for system in chosen]


def _lag_of(
    system: System,
    samples: dict[tuple[str, str], LagSample],
    catalogue: Catalogue,
    authority: AuthorityStore,
    history: ReplicationHistory,
    now: datetime,
) -> SystemLag:
    points = catalogue.list("recovery_point", prefix=f"{system.name}/", limit=1)
    good = points[0][1] if points else {}
    moment_at = last_moment(history, system.name) or str(good.get("at", ""))
    side = authority.read(system.name).side
    rows = []
    for dataset in system.datasets:
        sample = samples.get((system.name, dataset.name))
        known = [seconds_since(moment_at, now)] if moment_at else []
        if isinstance(dataset, PostgresCluster) and sample is not None and sample.seconds_behind is not None:
            known.append(sample.seconds_behind + seconds_since(sample.at, now))
        behind = round(min(known), 3) if known else None
        rpo = system.objectives.rpo
        rows.append(
            DatasetLag(
                system=system.name,
                dataset=dataset.name,
                kind=dataset.kind,
                good_point=str(good.get("id", "")),
                good_at=moment_at,
                seen_at=sample.at if sample else "",
                seconds_behind=behind,
                bytes_behind=sample.bytes_behind if sample else None,
                rpo_seconds=rpo,
                met=behind is not None and behind <= rpo,
            )
        )
    replicated = side is Side.SOURCE
    return SystemLag(
        system=system.name,
        authority=side,
        replicated=replicated,
        met=not replicated or all(row.met for row in rows),
        datasets=tuple(rows) if replicated else (),
        damaged=tuple(each for each in damages(catalogue, system.name) if not each.point),
        last_round=next(iter(history.rounds(system.name, limit=1)), None),
    )


def complain_of_lag(systems: Sequence[SystemLag]) -> None:
    """DigestMismatch where a replica is damaged; ReplicaLagging, naming each dataset whose objective is missed."""
    damaged = [each for system in systems for each in system.damaged]
    if damaged:
        raise DigestMismatch(
            "; ".join(f"{each.place} is damaged: {each.why}" for each in damaged),
            hint="No drill and no switch uses it. Mend it: skerry replicate run SYSTEM --as PERSON",
        )
    missed = [row for system in systems for row in system.datasets if not row.met]
    if missed:
        told = "; ".join(f"{row.system}/{row.dataset} {_behind(row)}" for row in missed)
        raise ReplicaLagging(told, hint="Bring it up to date: skerry replicate run SYSTEM --as PERSON")


def _behind(row: DatasetLag) -> str:
    behind = "not replicated yet" if row.seconds_behind is None else f"{seconds_text(round(row.seconds_behind))} behind"
    return f"is {behind} (objective {seconds_text(row.rpo_seconds)})"
