"""What a vault is made of: a repository that a host writes into, and the bucket that lets nothing be taken out."""

from typing import Protocol

from orchestrator.contracts.progress import ProgressSink
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host


class StoredTree(Frozen):
    """One folder as the repository keeps it."""

    snapshot: str
    path: str
    bytes_total: int
    bytes_added: int  # what this copy put into the bucket
    files: int


class VaultRepository(Protocol):
    """Encrypted copies of folders, written and read by the host itself; no data passes through this machine.

    Laws:
      secrets   are in no word, environment or file of the host, and end with the deed
      store     returns when everything is in the bucket; a file that could not be read is an error, not a warning
      restore   makes `folder`, which must be missing or empty, what was stored; it is whole or not there
      clear     removes what a restore made; of a missing folder it succeeds
    Fails only with HostError, DataError or TargetError and their kin.
    """

    @property
    def name(self) -> str: ...

    def prepare(self, host: Host) -> str:
        """Make the repository if there is none; the version of the program that writes it."""
        ...

    def store(self, host: Host, path: str, *, tags: tuple[str, ...], progress: ProgressSink | None) -> StoredTree: ...
    def restore(
        self, host: Host, snapshot: str, path: str, folder: str, *, bytes_total: int, progress: ProgressSink | None
    ) -> str: ...
    def clear(self, host: Host, folder: str) -> None: ...


class VaultBucket(Protocol):
    """The bucket under the repository.

    Laws:
      check        TargetError unless new objects are locked in compliance mode for at least so many days
      lock_all     locks every object of the repository until then, also those that earlier copies brought; the count
      try_removal  tries to delete a locked object of its own and returns the refusal; TargetError when it was deleted
    Fails only with TargetError and its kin.
    """

    def check(self, *, locked_days: int) -> None: ...
    def lock_all(self, *, locked_until: str) -> int: ...
    def try_removal(self, name: str) -> str: ...
