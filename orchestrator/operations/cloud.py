"""The cloud as a cost: what nobody needs any more there, and which machine a system should have."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.contracts.buckets import BucketComparison, StoredFolder
from orchestrator.contracts.cloud_things import CloudThings
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import (
    DigestMismatch,
    InventoryError,
    OrchestratorError,
    SnapshotError,
    TargetForbidden,
    UsageError,
)
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.event import RunEvent
from orchestrator.model.frozen import Frozen
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import DatasetName, HostName, Name, PointId, SystemName
from orchestrator.model.price import MeasuredLoad, PriceFile, SizeChoice, Tier
from orchestrator.model.site import Side
from orchestrator.model.system import Route53Front, System
from orchestrator.operations.desk import Desk, open_desk
from orchestrator.operations.estate import content_of
from orchestrator.operations.vault import recovery_point
from orchestrator.planning.orphans import DATASET_TAG, RUN_TAG, SYSTEM_TAG, Orphan, find_orphans
from orchestrator.planning.prices import cost_of, month_of, propose, read_prices

PRICES_FILE = "group_vars/skerry/prices.yml"


@dataclass(frozen=True)
class Priced:
    """A price file as it was read, with the digest of its bytes."""

    prices: PriceFile
    digest: str


def priced(named: Path | None, estate: Path) -> Priced:
    """The prices in the file that is named, else the estate's own. InventoryError with file and line where it cannot
    be read.
    """
    path = named or estate / PRICES_FILE
    content = content_of(path, missing_hint=f"Name a file of prices: --prices FILE, or write {PRICES_FILE}.")
    return Priced(*read_prices(content, str(path)))


def orphans(
    inventory: Inventory, things: CloudThings, images: frozenset[str], prices: PriceFile | None
) -> Sequence[Orphan]:
    """What carries our tags and serves nothing that is known, the dearest first. Nothing is touched."""
    if prices is not None:
        _same_region(inventory, prices)
    fronts = [system.front for system in inventory.systems.values()]
    names = frozenset(front.name for front in fronts if isinstance(front, Route53Front))
    found = find_orphans(things.all(), hosts=frozenset(inventory.machines), images=images, names=names)
    if prices is not None:
        found = [each.model_copy(update={"per_month": month_of(each.thing, prices)}) for each in found]
    return sorted(found, key=lambda each: (-(each.per_month or 0.0), each.thing.kind, each.thing.id))


def _same_region(inventory: Inventory, prices: PriceFile) -> None:
    if prices.region != inventory.cloud.region:
        raise InventoryError(
            f"the prices are those of {prices.region}, the estate is in {inventory.cloud.region}",
            hint=f"Name a price file of {inventory.cloud.region}.",
        )


@contextmanager
def open_cloud(folder: Path) -> Iterator[Desk]:
    """The estate in `folder`, for whoever asks about its cloud."""
    with open_desk(folder) as desk:
        yield desk


def orphans_of(desk: Desk, prices: PriceFile | None) -> Sequence[Orphan]:
    images = frozenset(str(kept["image"]) for _, kept in desk.catalogue.list("cloud_image"))
    return orphans(desk.inventory, desk.cloud_things, images, prices)


@dataclass(frozen=True)
class StoredPoint:
    """A tree of a recovery point in a bucket, compared by checksum after it was stored."""

    point: PointId
    host: Name
    stored: StoredFolder
    compared: BucketComparison


def store_point(
    desk: Desk, system_name: SystemName, dataset: DatasetName, bucket: str, *, point_id: PointId | None, by: Name
) -> StoredPoint:
    """What DR holds of a tree at a point goes into `bucket`, below system, dataset and point; it is on record.

    DigestMismatch, naming files, where the bucket is not what DR holds when all has been sent.
    """
    tree = next((each for each in system_of(desk, system_name).datasets if each.name == dataset), None)
    if not isinstance(tree, FileTree):
        raise UsageError(f"{system_name} has no file tree {dataset}", hint="Only trees go into buckets.")
    point = recovery_point(desk.catalogue, system_name, point_id)
    host = desk.inventory.hosts[desk.inventory.systems[system_name].host_of(Side.DR, dataset)]
    held = desk.points(tree, host).find(point.id)
    if held is None:
        raise SnapshotError(f"{host.name} does not hold {point.id} of {dataset}")
    _keep_to_residency(desk.inventory, system_name, bucket)
    run = f"bucket-{point.id}"
    tags = {SYSTEM_TAG: system_name, DATASET_TAG: dataset, RUN_TAG: run}
    where = desk.object_store(bucket, f"{system_name}/{dataset}/{point.id}", tags)
    told = {"by": by, "bucket": bucket, "point": point.id, "dataset": dataset, "host": host.name}
    with desk.recorder() as recorder:

        def record(kind: str, data: dict[str, Any]) -> None:
            at = timestamp(desk.clock.now())
            recorder.record(RunEvent(type=f"bucket.{kind}", run=run, system=system_name, at=at, data=data))

        record("store_started", told)
        if bucket not in desk.inventory.buckets:
            desk.catalogue.put("bucket", bucket, {"bucket": bucket})
        try:
            stored = where.store(host, held.path)
            compared = where.compare(host, held.path)
            if not compared.equal:
                named = [*compared.missing, *compared.different, *compared.extra][:5]
                raise DigestMismatch(f"s3://{bucket} is not what {host.name} holds of {dataset}: {', '.join(named)}")
        except OrchestratorError as error:
            record("store_failed", {**told, "error": type(error).__name__, "message": error.message})
            raise
        data = {**told, **stored.model_dump(mode="json"), "objects": compared.objects, "inventory": compared.inventory}
        record("store_finished", data)
    return StoredPoint(point=point.id, host=host.name, stored=stored, compared=compared)


def _keep_to_residency(inventory: Inventory, system_name: SystemName, bucket: str) -> None:
    """TargetForbidden, before the first call, where a class of the system's data may not go to the bucket's region."""
    place = inventory.buckets.get(bucket)
    region = place.region if place is not None else inventory.cloud.region
    allowed = {rule.data_class: rule.regions for rule in inventory.residency}
    refused = [each for each in inventory.systems[system_name].data_classes if region not in allowed.get(each, ())]
    if refused:
        raise TargetForbidden(
            f"{', '.join(refused)} of {system_name} may not go to {region}, where {bucket} is",
            hint="Nothing was called. Choose another bucket, or mend policy.residency in the estate.",
        )


def system_of(desk: Desk, name: SystemName) -> System:
    system = desk.inventory.systems.get(name)
    if system is None:
        raise UsageError(f"the estate has no system {name}")
    return system


def measure(desk: Desk, system_name: SystemName, seconds: float) -> MeasuredLoad:
    """Look at the host that runs the system's services now; with what earlier looks at it saw, the busiest counts."""
    system = system_of(desk, system_name)
    host = desk.inventory.hosts[system.host_of(desk.authority.read(system_name).side)]
    paths = [each.data_directory if isinstance(each, PostgresCluster) else each.path for each in system.datasets]
    seen = desk.measure_use(host, seconds, ["/", *paths])
    load = seen.model_copy(update={"measured_at": timestamp(desk.clock.now())})
    known = desk.catalogue.get("host_use", host.name)
    if known is not None:
        load = MeasuredLoad.model_validate(known).together(load)
    desk.catalogue.put("host_use", host.name, load.model_dump(mode="json"))
    return load


def measured(desk: Desk, system_name: SystemName) -> MeasuredLoad:
    """The busiest that was seen of the system's machine where it was looked at last. UsageError where nobody looked."""
    system = system_of(desk, system_name)
    known = [desk.catalogue.get("host_use", system.host_of(side)) for side in Side]
    loads = [MeasuredLoad.model_validate(document) for document in known if document is not None]
    if not loads:
        raise UsageError(
            f"nobody has looked what {system_name} uses",
            hint=f"Look at its busiest time: skerry cloud size {system_name} --measure 10m …",
        )
    return max(loads, key=lambda load: load.measured_at)


def choose_size(
    desk: Desk, system_name: SystemName, load: MeasuredLoad, tier: Tier, priced: Priced, *, drill_hours: float, by: Name
) -> SizeChoice:
    """The machine that is proposed for the services of a system. Who asked, the load and the prices go on record, and
    into every plan that is made from now on.
    """
    host = system_of(desk, system_name).host_of(Side.CLOUD)
    at = timestamp(desk.clock.now())
    proposed = propose(system_name, host, load, tier, priced.prices, drill_hours=drill_hours, digest=priced.digest)
    choice = proposed.model_copy(update={"by": by, "at": at})
    data = choice.model_dump(mode="json")
    with desk.recorder() as recorder:
        recorder.record(RunEvent(type="size.chosen", run=f"size-{system_name}", system=system_name, at=at, data=data))
    desk.catalogue.put("size", host, data)
    return choice


class MachinePrice(Frozen):
    """What one machine of the estate costs, as the estate has it. `chosen` is the type that was proposed for it."""

    host: HostName
    instance_type: str
    chosen: str
    tier: Tier
    disk_gib: float
    per_month: float
    per_drill: float


def price_machines(desk: Desk, prices: PriceFile, *, drill_hours: float) -> Sequence[MachinePrice]:
    """Every machine that the estate has made for it: a month of it at its tier, and a drill with one like it."""
    _same_region(desk.inventory, prices)
    found = []
    for host, spec in desk.inventory.machines.items():
        document = desk.catalogue.get("size", host)
        choice = SizeChoice.model_validate(document) if document is not None else None
        tier: Tier = choice.tier if choice else "hot"
        disk_gib = choice.load.disk_gib if choice else 0.0
        per_month, per_drill = cost_of(spec.instance_type, disk_gib, tier, prices, drill_hours=drill_hours)
        found.append(
            MachinePrice(
                host=host,
                instance_type=spec.instance_type,
                chosen=choice.instance_type if choice else "",
                tier=tier,
                disk_gib=disk_gib,
                per_month=per_month,
                per_drill=per_drill,
            )
        )
    return found
