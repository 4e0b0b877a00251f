"""File trees: points of them, copies between hosts, digests."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from orchestrator.contracts.authority import Order
from orchestrator.contracts.progress import ProgressSink
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.model.transfer import ContentDigest, TransferReport

# What a digest reads. `all`: every byte. `changed`: files that are not, by inode, size, mtime and ctime, what they were
# at their last reading. `scrub`: every byte, from the disk itself, naming what changed while nothing told of it.
# `watched`: as `all`, when the host read all under watches and has seen every change since (see `prepare_last`); where
# no watch stands, it is `all`.
Reading = Literal["all", "changed", "scrub", "watched"]


class Point(Frozen):
    """A held copy of one tree or volume on one host."""

    id: PointId
    path: str
    made_at: str
    holds: tuple[str, ...] = ()  # who needs it: a transfer, a drill, a rollback window, a lock


class CopyOutlook(Frozen):
    """What a copy would do to the replica now: how far it is behind, and what it would lose."""

    dataset: str
    entries_source: int
    bytes_source: int
    entries_replica: int
    entries_deleted: int  # of the replica's, because the source has them no more
    bytes_pending: int  # of files that are new or changed


class FileState(NamedTuple):
    """What one side has of a file. The time is the one that the file carries, by the clock of whoever wrote it."""

    bytes: int
    mtime_ns: int


class PartedFile(NamedTuple):
    """A file that two sides hold differently; None where a side has none of that name."""

    path: str
    one: FileState | None
    other: FileState | None


class PointStore(Protocol):
    """Points of one tree or volume on one host.

    Laws (tests/laws/point_store_laws.py):
      take    returns when the point is durable; taking one id twice makes one point and changes nothing
      take    a later change of the tree does not change the point
      list    oldest first; shows only points that this tool made
      delete  of a missing point succeeds; a foreign folder or snapshot is never touched; a held point is refused
      hold    is durable when it returns; twice by one name is once; of a missing point it raises SnapshotError
      release of what is not held, or of a missing point, succeeds
    Fails only with SnapshotError, NoSpace or a HostError.
    """

    def take(self, point: PointId) -> Point: ...
    def list(self) -> Sequence[Point]: ...
    def find(self, point: PointId) -> Point | None: ...
    def delete(self, point: PointId) -> None: ...
    def hold(self, point: PointId, by: str) -> Point: ...
    def release(self, point: PointId, by: str) -> None: ...


class PointStores(Protocol):
    """Gives the store that holds the points of a volume, or of a tree by what that asks for (`FileTree.snapshots`)."""

    def __call__(self, dataset: FileTree | BlockVolume, host: Host) -> PointStore: ...


class TreeMover(Protocol):
    """Copies of trees between hosts, and their digests.

    Laws (tests/laws/tree_mover_laws.py):
      copy    makes target equal to source, deletions included; a second copy moves no file
      copy    that broke off is resumed by calling it again; the bulk of data never passes through this machine
      copy    of an empty tree to a replica that holds something raises SourceShrank and changes nothing: a disk that is
              not mounted looks so; after `let_empty` it is copied like any other
      copy    leaves no key, certificate or entry for its access on either host
      copy    with an order raises AuthorityError and changes nothing where no fence of its system stands at the
              replica, or where that host obeyed a newer order: it is compared there, once no other copy can begin
      copy    that returned outlives a loss of power at the replica (tests/platform/test_copies_on_disk.py)
      outlook touches neither tree; after a copy of a still tree nothing is pending and nothing would be deleted
      digest  is made by the host from content and names alone, equal on both ends after a copy of a still tree
      copy_last of a still tree does what copy does, whether or not anything stands ready for it
      a difference of one bit, name, mode, owner, mtime, xattr, link target gives another digest
    """

    def points(self, tree: FileTree, host: Host) -> PointStore: ...

    def copy(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        *,
        from_point: PointId | None = None,
        order: Order | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        """Bring the live tree of `source` (or its point) to the live tree of `replica`, host to host."""
        ...

    def let_empty(self, tree: FileTree) -> None:
        """A person said that this tree is meant to be empty. It holds in this process alone, until that ends."""
        ...

    def prepare_last(self, tree: FileTree, source: Host, replica: Host) -> str:
        """Let stand ready whatever makes `copy_last` and a `watched` digest quick: before writers are stopped.

        "" when all of it does; else why not, and then the long way is taken. It is kept in this process alone.
        """
        ...

    def copy_last(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        *,
        order: Order | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        """`copy`, now that nobody writes at the source any more."""
        ...

    def release_last(self, tree: FileTree | None = None) -> None:
        """Let go of what `prepare_last` made ready, for one tree or for all."""
        ...

    def outlook(self, tree: FileTree, source: Host, replica: Host) -> CopyOutlook:
        """What a copy of the live tree would do now. Entries are files, folders and all else that has a name."""
        ...

    def digest(
        self,
        tree: FileTree,
        host: Host,
        *,
        point: PointId | None = None,
        reading: Reading = "all",
        progress: ProgressSink | None = None,
    ) -> ContentDigest: ...

    def differences(self, tree: FileTree, one: Host, other: Host, *, limit: int = 20) -> Sequence[str]:
        """Paths at which the two live trees differ, with why, for the message of a mismatch."""
        ...

    def parted(self, tree: FileTree, one: Host, other: Host, *, limit: int = 1000) -> Sequence[PartedFile]:
        """Files, and all else that is no folder, that the two live trees hold differently, or one of them alone."""
        ...
