"""Folders of hosts as objects of a bucket."""

from typing import Protocol

from orchestrator.contracts.progress import ProgressSink
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.inventory import StoreAbility


class StoredFolder(Frozen):
    """What a store came to. `bytes_sent` is what was not in the bucket yet."""

    files: int
    present: int
    bytes_total: int
    bytes_sent: int
    storage_classes: dict[str, int]
    seconds: float
    memory_bytes: int


class BucketComparison(Frozen):
    """Files and objects by checksum. Lists are cut at a hundred names; `counts` are whole."""

    files: int
    objects: int
    bytes_read: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]
    counts: dict[str, int]
    inventory: str  # SHA-256 over names and sizes of all objects

    @property
    def equal(self) -> bool:
        return not any(self.counts.values())


class ObjectStore(Protocol):
    """One bucket and prefix.

    Laws (tests/laws/object_store_laws.py, and of what breaks off tests/platform/test_s3_store.py):
      abilities  what it declares; what is wished besides is refused with TargetLacks, and nothing is sent
      store    ends with every file in the bucket under a checksum that was made of what was read, or raises
      store    again sends nothing that is there; a killed one goes on with the parts that had arrived
      store    replaces nothing: an object with other content is refused by name
      store    gives every object that it makes the tags that were given, where the server keeps tags
      compare  believes checksums alone, never sizes or dates; where the server keeps none, those of what it gives back
    The files go from the host to the bucket; none passes through this machine. Fails only with TargetError, DataError,
    HostError and their kin, or RunInProgress.
    """

    @property
    def abilities(self) -> frozenset[StoreAbility]: ...
    def store(self, host: Host, path: str, *, progress: ProgressSink | None = None) -> StoredFolder: ...
    def compare(self, host: Host, path: str, *, progress: ProgressSink | None = None) -> BucketComparison: ...
