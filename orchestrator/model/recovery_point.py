"""One moment over all datasets of a system, with digest."""

from typing import Literal

from orchestrator.foundation.canonical_json import digest_of
from orchestrator.model.frozen import Frozen
from orchestrator.model.names import DatasetName, Digest, PointId, SystemName
from orchestrator.model.site import Side


class HeldDataset(Frozen):
    """One dataset within a point. `mark` is a path for trees, an LSN for databases."""

    dataset: DatasetName
    digest: Digest
    mark: str
    bytes_total: int = 0


class SeededImage(Frozen):
    """A volume of a point as the cloud holds it: read back there, and equal. `aggregate` is the checksum that the cloud
    itself compared when the blocks had come: base64 of SHA-256 over their digests.
    """

    dataset: DatasetName
    snapshot: str
    image: str
    digest: Digest
    aggregate: str


class RecoveryPoint(Frozen):
    """All datasets of a system at one moment. The digest covers what is held, not where."""

    id: PointId
    system: SystemName
    at: str
    consistency: Literal["crash", "app", "group_crash", "group_app"]
    datasets: tuple[HeldDataset, ...]
    sides: tuple[Side, ...]
    holds: tuple[str, ...] = ()
    images: tuple[SeededImage, ...] = ()

    @property
    def digest(self) -> str:
        return digest_of(self.digests)

    @property
    def digests(self) -> dict[DatasetName, Digest]:
        return {held.dataset: held.digest for held in self.datasets}
