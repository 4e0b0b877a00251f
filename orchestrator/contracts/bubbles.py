"""Bubbles: a system's held data, started on a host of its own, where nothing of production is reached or changed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from orchestrator.contracts.transport import Transport
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import AbsolutePath, DatasetName, Digest, Name

# The digest of a dataset as it is within a bubble, by its transport.
DigestWithin = Callable[[FileTree | PostgresCluster, Host, Transport], Digest]


class CarriedBack(Frozen):
    """Writes that were made within, carried into a second clone of the same point, which then gave the same digest."""

    dataset: DatasetName
    digest: Digest
    bytes_carried: int
    seconds: float


class ClustersWithin(Protocol):
    """Clusters as they run within bubbles, by a bubble's transport. DataError with the server's own words."""

    def sql(self, cluster: PostgresCluster, inside: Transport, statement: str) -> str:
        """Its rows, fields split by `|`."""
        ...

    def runs(self, cluster: PostgresCluster, inside: Transport) -> bool:
        """Whether a server runs there at all, ready to be asked or not."""
        ...

    def log_in(self, cluster: PostgresCluster, inside: Transport) -> None:
        """As its replication user, by the password that the estate names, over the bubble's network."""
        ...

    def carry_back(self, cluster: PostgresCluster, inside: Transport, folder: str) -> CarriedBack:
        """What it has written since the moment of the clone in `folder` there, into that clone: equal digests.

        Something is written first, and the cluster is stopped. DigestMismatch where the two differ then.
        """
        ...


class BubbleData(Frozen):
    """A dataset as it is held on the host. `places` shows folders of it (`""` is all of it) at paths of the bubble.

    Of an `image`, a file, nothing is cloned: its place is an empty folder, for what its machine writes.
    """

    name: DatasetName
    held: str
    places: tuple[tuple[str, str], ...]
    bytes_max: int = 0
    image: bool = False


class BubbleCluster(Frozen):
    """A held PostgreSQL cluster that is to open at just `lsn`."""

    name: DatasetName
    data: str
    lsn: str
    binaries: AbsolutePath


class BubbleService(Frozen):
    """A unit of the host, and where it takes connections once it is up."""

    name: Name
    address: str
    port: int


class ForbiddenTarget(Frozen):
    """Something of production that must not be reached from within."""

    name: str
    address: str
    port: int
    datagram: bool = False


class BubbleClone(Frozen):
    """How a bubble got its data: by a layer on top (of files, of an image's blocks), by shared blocks, or copied."""

    dataset: DatasetName
    how: Literal["overlay", "blocks", "reflink", "copy"]
    seconds: float


class Attempt(Frozen):
    attempt: Literal["network", "socket", "write", "interfaces", "cloud"]  # the cloud is asked, not tried
    target: str
    reached: bool
    outcome: str


class Isolation(Frozen):
    """What was tried from within, and what came of it. Isolated: not one attempt got through."""

    isolated: bool
    attempts: tuple[Attempt, ...]


class StartedUnit(Frozen):
    unit: Name
    port: int
    seconds: float  # until it took connections


class Leftovers(Frozen):
    """What a closed bubble left behind: nothing, or it is named."""

    processes: tuple[int, ...] = ()
    mounts: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()  # of the cloud

    @property
    def any(self) -> bool:
        return bool(self.processes or self.mounts or self.files or self.machines)


class Bubbles(Protocol):
    """Bubbles on one host at a time, one bubble on a host.

    Laws (tests/platform/test_bubbles.py):
      open    clones what is held and never changes it; starts no service. Where a bubble is open it waits for as long
              as one lives whose opener was killed, then refuses; what ended ones left is taken away first. A bubble
              ends by itself after `seconds_max`, whoever lives then, and soon after whoever opened it does not; what
              it wrote is erased as soon as it has ended
      prove   tries, from within, to reach each target, every socket of the host and to write to its file systems
      start   starts units in the order given, each once the one before takes connections
      stop    ends units that were started, in the order given, with all that they started
      transport   keeps the laws of Transport, and raises DataError where the bubble has ended
      shown   what a host shows the world, thing by thing; two looks differ only where somebody changed something
      close   ends the bubble and everything in it, erases what it wrote, and looks for what is left; where there is
              none it does nothing
    Fails with DataError for what the host refuses, else with a HostError.
    """

    def open(
        self, host: Host, bubble: str, data: Sequence[BubbleData], units: Sequence[Name], *, seconds_max: float
    ) -> Sequence[BubbleClone]:
        """`data` that says `bytes_max` may be changed by so much only: the disk is full then."""
        ...

    def prove(self, host: Host, bubble: str, targets: Sequence[ForbiddenTarget]) -> Isolation: ...

    def start(
        self, host: Host, bubble: str, services: Sequence[BubbleService], clusters: Sequence[BubbleCluster]
    ) -> Sequence[StartedUnit]: ...

    def transport(self, host: Host, bubble: str) -> Transport:
        """The host as it is within: what runs by it sees the bubble's files, addresses and processes alone."""
        ...

    def stop(self, host: Host, bubble: str, units: Sequence[Name]) -> None: ...

    def shown(self, host: Host, units: Sequence[Name], *, estate: Sequence[str] = ()) -> Mapping[str, str]:
        """With `estate`, of a host that serves nobody: its mail too, and whom it calls but for those addresses."""
        ...

    def close(self, host: Host, bubble: str) -> Leftovers: ...

    def listed(self, host: Host) -> Sequence[str]: ...
