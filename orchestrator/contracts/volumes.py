"""Block volumes: points of them, copies between hosts, and their digests."""

from collections.abc import Sequence
from typing import Protocol

from orchestrator.contracts.authority import Order
from orchestrator.contracts.progress import ProgressSink
from orchestrator.contracts.trees import PointStore
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.model.transfer import ContentDigest, TransferReport


class VolumeMover(Protocol):
    """Copies of disks and images between hosts.

    Laws (tests/laws/volume_mover_laws.py):
      copy    makes the replica's volume equal to the source's, or to a point of it; a second copy moves no page; holes
              cost nothing
      copy    leaves the replica as it was, or makes it as the source is: nothing between, whatever dies meanwhile
      copy    that broke off is resumed by calling it again, and believes nothing that it has not digested
      copy    of a source that holds nothing, or far less than the replica, raises SourceShrank and changes nothing: an
              image made anew looks so; after `let_empty` it is copied like any other
      copy    with an order obeys it as that of a tree does (contracts/trees.py)
      copy    of a source that changed meanwhile raises SourceChanged and changes nothing
      digest  reads all of it, at the host, every time; equal content gives equal digests, holes or zeros alike
      points  obey the laws of PointStore
    Fails only with a DataError, a HostError or RunInProgress.
    """

    def points(self, volume: BlockVolume, host: Host) -> PointStore: ...

    def copy(
        self,
        volume: BlockVolume,
        source: Host,
        replica: Host,
        *,
        from_point: PointId | None = None,
        order: Order | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport: ...

    def let_empty(self, volume: BlockVolume) -> None:
        """A person said that this volume is meant to be empty, or to have shrunk. It holds in this process alone."""
        ...

    def digest(
        self,
        volume: BlockVolume,
        host: Host,
        *,
        point: PointId | None = None,
        scrub: bool = False,
        progress: ProgressSink | None = None,
    ) -> ContentDigest:
        """`scrub` reads from the disk rather than from memory."""
        ...

    def differences(self, volume: BlockVolume, one: Host, other: Host, *, limit: int = 20) -> Sequence[str]:
        """Ranges of bytes in which two volumes differ, for the message of a mismatch. Where there are any, what earlier
        copies remembered of both is forgotten: the next copy reads everything, and heals what nothing told of.
        """
        ...
