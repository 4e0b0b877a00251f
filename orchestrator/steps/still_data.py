"""Datasets that lie still as files or blocks, and are copied, held and digested alike: file trees and block volumes."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.contracts.authority import Order
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.progress import ProgressSink
from orchestrator.contracts.trees import PointStore, Reading
from orchestrator.foundation.errors import DataError
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.model.site import Side
from orchestrator.model.transfer import ContentDigest, TransferReport
from orchestrator.steps.places import host_at

StillData = FileTree | BlockVolume


def still_data(deed: Deed) -> Iterator[StillData]:
    """The deed's trees and volumes, as they are written."""
    for dataset in deed.system_plan.system.datasets:
        if isinstance(dataset, FileTree | BlockVolume):
            yield dataset


def keep_given_up(
    drivers: Drivers, deed: Deed, side: Side, dataset: StillData, tell: Callable[[dict[str, Any]], None]
) -> None:
    """What `side` holds stays there as a point: files may exist in it that are nowhere else."""
    host = host_at(deed, side, dataset.name)
    point = "given-up-" + hashlib.sha256(f"{deed.key}/{side.value}".encode()).hexdigest()[:16]
    points = StillDataMover(drivers).points(dataset, host)
    try:
        points.take(point)
    except DataError as error:
        raise DataError(
            f"{host.name}: {dataset.name} could not be kept as it is before it is given up: {error.message}",
            hint=f"Make room for a copy of it on {host.name}, then: retry.",
        ) from error
    points.hold(point, deed.run)
    tell({"dataset": dataset.name, "host": host.name, "kept_as_point": point})


def digest_while_copying(
    digest_source: Callable[[], ContentDigest], copy: Callable[[], TransferReport]
) -> tuple[TransferReport, ContentDigest]:
    """Both at once, of a source that holds still: what the copy reads is digested while it lies in memory. A copy that
    fails is told at once, whatever the digest still reads.
    """
    pool = ThreadPoolExecutor(max_workers=1)
    made = pool.submit(digest_source)
    try:
        report = copy()
    finally:
        pool.shutdown(wait=False)
    return report, made.result()


@dataclass(frozen=True)
class StillDataMover:
    """The mover of each dataset, by its kind; what it promises stands at TreeMover and VolumeMover."""

    drivers: Drivers

    def points(self, dataset: StillData, host: Host) -> PointStore:
        if isinstance(dataset, FileTree):
            return self.drivers.trees.points(dataset, host)
        return self.drivers.volumes.points(dataset, host)

    def copy(
        self,
        dataset: StillData,
        source: Host,
        replica: Host,
        *,
        from_point: PointId | None = None,
        order: Order | None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        """`order`: by which the replica's side was seen to be fenced; None for DR, which never serves."""
        if isinstance(dataset, FileTree):
            copy = partial(self.drivers.trees.copy, dataset)
        else:
            copy = partial(self.drivers.volumes.copy, dataset)
        return copy(source, replica, from_point=from_point, order=order, progress=progress)

    def prepare_last(self, dataset: StillData, source: Host, replica: Host) -> str:
        """Why the last delta will not be quick; "" when it will. A volume's is as quick as its change tracking."""
        return self.drivers.trees.prepare_last(dataset, source, replica) if isinstance(dataset, FileTree) else ""

    def copy_last(
        self, dataset: StillData, source: Host, replica: Host, *, order: Order | None, progress: ProgressSink
    ) -> TransferReport:
        if isinstance(dataset, FileTree):
            return self.drivers.trees.copy_last(dataset, source, replica, order=order, progress=progress)
        return self.drivers.volumes.copy(dataset, source, replica, order=order, progress=progress)

    def digest(
        self,
        dataset: StillData,
        host: Host,
        *,
        point: PointId | None = None,
        reading: Reading = "all",
        progress: ProgressSink | None = None,
    ) -> ContentDigest:
        if isinstance(dataset, FileTree):
            return self.drivers.trees.digest(dataset, host, point=point, reading=reading, progress=progress)
        return self.drivers.volumes.digest(dataset, host, point=point, progress=progress)

    def differences(self, dataset: StillData, one: Host, other: Host, *, limit: int = 20) -> Sequence[str]:
        if isinstance(dataset, FileTree):
            return self.drivers.trees.differences(dataset, one, other, limit=limit)
        return self.drivers.volumes.differences(dataset, one, other, limit=limit)
