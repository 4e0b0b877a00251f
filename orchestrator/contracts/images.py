"""Volumes of ours as images of the cloud: the blocks of a disk become a snapshot, the snapshot an image to boot."""

from typing import Protocol

from orchestrator.contracts.progress import ProgressSink
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import DatasetName, Digest


class SeedWish(Frozen):
    """A volume as its host holds it at `path`, and the digest that the cloud must give back. One key is one wish."""

    volume: BlockVolume
    host: Host
    path: str
    expected: Digest
    key: str
    tags: dict[str, str]


class SeededVolume(Frozen):
    """A volume that the cloud holds, proved. `digest` is made of what the cloud gave back, not of what was sent."""

    dataset: DatasetName
    snapshot: str
    parent: str  # the snapshot that it is the difference to; "" for a first copy
    digest: Digest
    aggregate: str  # base64 of SHA-256 over the digests of the blocks that were written: what the cloud checked
    kms_key: str
    volume_bytes: int
    blocks_with_data: int
    blocks_written: int
    blocks_sent: int  # by the last try; what earlier ones had brought was not sent again
    blocks_read: int = 0  # back from the cloud: of a difference, those that the cloud says differ from the parent
    bytes_wire: int
    seconds: float
    sending_seconds: float = 0.0  # of the last try; the rest is reading back
    memory_bytes: int


class BootFinding(Frozen):
    """One thing that a machine needs from its disk to start in the cloud. `holds` is None where it cannot be told."""

    id: str
    holds: bool | None
    said: str


class ImageFacts(Frozen):
    """What a disk says of itself, read offline."""

    architecture: str  # x86_64, arm64, or "" where no program was found to tell
    boot_mode: str  # uefi, legacy-bios
    partitions: str  # gpt, mbr, none
    file_system: str
    findings: tuple[BootFinding, ...] = ()


class CloudImage(Frozen):
    """An image that machines can be started from."""

    id: str
    name: str
    snapshot: str


class CloudImages(Protocol):
    """Disks of ours in the cloud.

    Laws (tests/platform/test_aws_images.py):
      look      reads the disk at its host, changes nothing, and says of each need whether it holds, not, or untold
      seed      ends with a snapshot whose content was read back and has the digest that was expected, or raises
      seed      again with one key, after whatever death, goes on with the same snapshot and sends nothing twice
      seed      of a disk whose earlier snapshot is known sends only what changed since
      register  twice with one name is one image; a name that somebody else's image has is refused
    The blocks go from the host to the cloud; none passes through this machine. Fails only with TargetError, DataError,
    HostError and their kin, or RunInProgress.
    """

    def look(self, volume: BlockVolume, host: Host, *, path: str) -> ImageFacts: ...

    def seed(self, wish: SeedWish, *, progress: ProgressSink | None = None) -> SeededVolume: ...

    def register(self, seeded: SeededVolume, facts: ImageFacts, *, name: str, tags: dict[str, str]) -> CloudImage: ...
