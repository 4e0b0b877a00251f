"""Prices as people write them down, and what follows: an instance type for a load, the cost of a month and of a drill.

Pure: bytes and values in, values out. Tiers: `hot` runs all the time with room for what was measured and a reserve;
`warm` is stopped and ready, so that it costs its disk alone; `dr_small` runs all the time on the smallest machine that
holds the memory, to be made larger when it is needed.
"""

from orchestrator.contracts.cloud_things import CloudThing
from orchestrator.foundation.errors import InventoryError, PlanningError
from orchestrator.foundation.written_file import Finding, digest_of_bytes, parse_written_file
from orchestrator.foundation.written_model import judge
from orchestrator.model.names import HostName, SystemName
from orchestrator.model.price import HOURS_PER_MONTH, InstancePrice, MeasuredLoad, PriceFile, SizeChoice, Tier

RESERVE = 1.3  # of what was measured: measured peaks are not the highest there will be
SMALL_SHARE_OF_CPU = 0.25


def read_prices(content: bytes, name: str) -> tuple[PriceFile, str]:
    """The prices and the digest of their file. InventoryError with file and line for whatever is wrong."""
    findings: list[Finding] = []
    written = parse_written_file(content, name, findings)
    prices = judge(PriceFile, written.data, written, findings) if written is not None else None
    if findings or prices is None:
        said = "\n".join(map(str, findings)) or f"{name}: no prices stand in it"
        raise InventoryError(said, hint="Mend the price file; docs/cloud.md shows a whole one.")
    return prices, digest_of_bytes(content)


def propose(
    system: SystemName,
    host: HostName,
    load: MeasuredLoad,
    tier: Tier,
    prices: PriceFile,
    *,
    drill_hours: float,
    digest: str,
) -> SizeChoice:
    """The cheapest type that carries the load at that tier. PlanningError where no priced type does."""
    cpu = load.vcpus_busy * (SMALL_SHARE_OF_CPU if tier == "dr_small" else RESERVE)
    memory = load.memory_gib * (1.0 if tier == "dr_small" else RESERVE)
    disk = load.disk_mib_per_second * (SMALL_SHARE_OF_CPU if tier == "dr_small" else RESERVE)
    fitting = {
        name: each
        for name, each in prices.instances.items()
        if each.architecture == load.architecture
        and each.vcpus >= cpu
        and each.memory_gib >= memory
        and each.disk_mib_per_second >= disk
    }
    wanted = f"{cpu:.2f} vCPU, {memory:.1f} GiB, {disk:.0f} MiB/s, {load.architecture}"
    if not fitting:
        largest = max((each for each in prices.instances.values()), key=lambda each: (each.vcpus, each.memory_gib))
        raise PlanningError(
            f"{host}: no priced instance type has {wanted}",
            hint=f"The largest that is priced has {largest.vcpus} vCPU, {largest.memory_gib:g} GiB, "
            f"{largest.disk_mib_per_second:g} MiB/s, {largest.architecture}. Add a larger type to the price file.",
        )
    name = min(fitting, key=lambda each: (fitting[each].per_hour, each))
    per_month, per_drill = cost_of(name, load.disk_gib, tier, prices, drill_hours=drill_hours)
    return SizeChoice(
        system=system,
        host=host,
        tier=tier,
        instance_type=name,
        because=f"cheapest of {len(fitting)} that have {wanted}",
        load=load,
        per_month=per_month,
        per_drill=per_drill,
        drill_hours=drill_hours,
        currency=prices.currency,
        prices_from=prices.source,
        prices_digest=digest,
    )


def cost_of(
    instance_type: str, disk_gib: float, tier: Tier, prices: PriceFile, *, drill_hours: float
) -> tuple[float, float]:
    """A month of the machine as its tier runs it, and one drill with a machine like it; each with its disk."""
    known = prices.instances.get(instance_type)
    if known is None:
        raise PlanningError(
            f"the price file knows no {instance_type}", hint=f"Add it below instances, as {prices.source} has it."
        )
    disk_month = disk_gib * prices.storage.volume_gib_month
    running = 0.0 if tier == "warm" else known.per_hour * HOURS_PER_MONTH
    drill = (known.per_hour + disk_month / HOURS_PER_MONTH) * drill_hours
    return round(running + disk_month, 2), round(drill, 2)


def month_of(thing: CloudThing, prices: PriceFile) -> float | None:
    """What a thing costs in a month if it stays as it is; None where the price file does not tell."""
    if thing.kind == "machine":
        known: InstancePrice | None = prices.instances.get(thing.instance_type)
        if thing.state not in ("pending", "running"):
            return 0.0  # a stopped machine costs its volumes, which are things of their own
        return round(known.per_hour * HOURS_PER_MONTH, 2) if known else None
    if thing.kind == "volume":
        return round(thing.gib * prices.storage.volume_gib_month, 2)
    if thing.kind == "snapshot":
        return round(thing.gib * prices.storage.snapshot_gib_month, 2)
    if thing.kind == "upload":
        rate = prices.storage.object_gib_month
        return None if rate is None else round(thing.gib * rate, 2)
    return 0.0  # an image costs its snapshots; a record what its zone costs
