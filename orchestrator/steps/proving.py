"""VerifyDigests: the same digest at every side, made by each side from its own content. Could not compare is failed."""

from dataclasses import dataclass

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.contracts.trees import Reading
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.errors import DigestMismatch
from orchestrator.model.action import VerifyDigests
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.model.transfer import ContentDigest
from orchestrator.steps.asked import asked
from orchestrator.steps.damages import note_sound
from orchestrator.steps.places import clusters, host_at
from orchestrator.steps.readiness import in_parallel
from orchestrator.steps.still_data import StillData, StillDataMover, still_data


def compare_sides(
    drivers: Drivers,
    deed: Deed,
    sides: tuple[Side, ...],
    progress: ProgressSink,
    emit: Emit,
    *,
    only: set[str] | None = None,
    reading: Reading = "all",
) -> dict[str, str]:
    """System digest by side, all equal; else DigestMismatch naming dataset, sides and the first that differs.

    `only` names the datasets to compare, None means all of them.
    """
    every: list[StillData | PostgresCluster] = [*clusters(deed), *still_data(deed)]
    datasets = [dataset for dataset in every if only is None or dataset.name in only]
    asked = [(dataset, side) for dataset in datasets for side in sides]

    def digest(pair: tuple[StillData | PostgresCluster, Side]) -> ContentDigest:
        dataset, side = pair
        host = host_at(deed, side, dataset.name)
        progress(Progress(dataset=dataset.name, text=f"digest of {dataset.name} at {side.value}"))
        if isinstance(dataset, PostgresCluster):
            return drivers.database_digests.digest(dataset, host)
        return StillDataMover(drivers).digest(dataset, host, reading=reading, progress=progress)

    names = [(dataset.name, side) for dataset, side in asked]
    found = dict(zip(names, in_parallel(digest, asked), strict=True))
    unequal: list[str] = []
    for dataset in datasets:
        digests = {side: found[dataset.name, side] for side in sides}
        match = len({item.digest for item in digests.values()}) == 1
        emit(
            "digests.compared",
            {
                "dataset": dataset.name,
                "match": match,
                "sides": {side.value: item.model_dump(mode="json") for side, item in digests.items()},
            },
        )
        if not match:
            unequal.append(_name_difference(drivers, deed, dataset, digests))
    if unequal:
        raise DigestMismatch("; ".join(unequal))
    for dataset, side in asked:
        note_sound(drivers.catalogue, deed.system_plan.system.name, dataset.name, side)
    return {
        side.value: digest_of({dataset.name: found[dataset.name, side].digest for dataset in datasets})
        for side in sides
    }


def _name_difference(
    drivers: Drivers, deed: Deed, dataset: StillData | PostgresCluster, digests: dict[Side, ContentDigest]
) -> str:
    told = ", ".join(f"{side.value} {item.digest}" for side, item in digests.items())
    if isinstance(dataset, PostgresCluster):
        return f"{dataset.name} differs: {told}"
    first, *others = digests
    other = next(side for side in others if digests[side].digest != digests[first].digest)
    hosts = host_at(deed, first, dataset.name), host_at(deed, other, dataset.name)
    places = StillDataMover(drivers).differences(dataset, *hosts)
    return f"{dataset.name} differs between {first.value} and {other.value}: {'; '.join(places)} ({told})"


@dataclass(frozen=True)
class VerifyDigestsHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, VerifyDigests)
        digests = compare_sides(self.drivers, deed, action.sides, progress, emit, reading=action.reading)
        return Outcome.done(f"equal at {', '.join(digests)}", equal=True, digests=digests)
