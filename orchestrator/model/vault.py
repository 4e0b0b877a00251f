"""The vault: a third copy of recovery points, in another form and another place, that nobody can take away in time."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import DatasetName, Digest, HostName, PointId, SecretReference, SystemName


class VaultSettings(Frozen):
    """A bucket under Object Lock, meant to be in another account. No secret stands here, only references."""

    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    region: str
    endpoint: str | None = None  # an URL, or file:PATH of a file that holds it; None means AWS itself
    endpoint_at_hosts: str | None = None  # where hosts reach it, when that is another address than from here
    prefix: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9/-]*$")] = "skerry"
    access_key: SecretReference
    secret_key: SecretReference
    password: SecretReference  # encrypts all that leaves the host; without it the copies are lost
    locked_days: int = Field(default=30, ge=1, le=36500)


class VaultedDataset(Frozen):
    """One dataset of a copy. `digest` is the recovery point's, which a restored copy must show again."""

    dataset: DatasetName
    kind: Literal["file_tree", "postgresql"]
    snapshot: str  # the repository's name for it
    path: str  # on the host that read it, and within the snapshot
    digest: Digest
    mark: str = ""  # the point of a tree, the LSN of a cluster
    bytes_total: int = 0


class VaultCopy(Frozen):
    """A recovery point in the vault. What `verified_at` does not say was never restored, and so is only believed."""

    id: str
    system: SystemName
    point: PointId
    point_digest: Digest
    at: str
    host: HostName  # read the point, and can restore it
    repository: str
    datasets: tuple[VaultedDataset, ...]
    locked_until: str
    objects_locked: int
    removal_refused: str  # what the bucket answered to an attempt to delete a locked object
    verified_at: str = ""
    verified_on: str = ""

    @property
    def place(self) -> str:
        """How lists of where a recovery point exists name it."""
        return f"vault:{self.id}"
