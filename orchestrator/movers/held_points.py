"""What a copy or digest reads: the live dataset, or a point of it, which stays until all of it has arrived."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.contracts.trees import PointStore
from orchestrator.foundation.errors import SnapshotError
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.model.host import Host
from orchestrator.model.names import PointId


@contextmanager
def held_for(
    store: PointStore, dataset: FileTree | BlockVolume, source: Host, replica: Host, point: PointId | None
) -> Iterator[str]:
    """The path to copy from. A point is held for the transfer, so that nobody prunes it meanwhile."""
    if point is None:
        yield source.path(dataset.path)
        return
    by = f"transfer-{replica.name}"
    held = store.hold(point, by)
    try:
        yield held.path
    finally:
        store.release(point, by)


def path_of(store: PointStore, dataset: FileTree | BlockVolume, host: Host, point: PointId | None) -> str:
    """The path to digest: of the live dataset, or of a point, which must be there."""
    if point is None:
        return host.path(dataset.path)
    found = store.find(point)
    if found is None:
        raise SnapshotError(f"{host.name} has no point {point} of {dataset.name}")
    return found.path
