"""PostgreSQL clusters: standbys, lag, clean shutdown, promotion, digests."""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from orchestrator.contracts.authority import Order
from orchestrator.contracts.progress import ProgressSink
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.names import Digest, PointId
from orchestrator.model.transfer import ClusterCheck, ClusterEnd, ContentDigest, Lag, LogAlone, TransferReport

SERVER_USER = "postgres"  # owns data directories, and is the clusters' superuser


class Role(StrEnum):
    PRIMARY = "primary"
    STANDBY = "standby"
    STOPPED = "stopped"
    MISSING = "missing"  # no data directory yet


class Databases(Protocol):
    """Physical replication of one cluster over several hosts.

    Laws (tests/laws/databases_laws.py):
      end              of a cluster that runs or is stopped; changes nothing; a lower bound where it is stopped, so that
                       what it lacks is never counted too small
      log_alone        counts what `newer` holds and `older` does not, also where their histories have parted or `newer`
                       lost its power; changes nothing. Of such a log the transactions are those that were committed;
                       else they are counted by their numbers, and some may have changed nothing
      role             tells what is, from the host, never from memory
      make_standby     ends with a streaming standby of `upstream`; on one that streams already it changes nothing;
                       the base backup was verified against its manifest. On one that is of another cluster than the
                       upstream's it raises SourceShrank and changes nothing
      shut_down        is clean and returns the shutdown checkpoint's LSN; on a stopped cluster it returns the same LSN
      promote          returns when the cluster takes writes; on a primary it changes nothing. With `holding` only once
                       the standby holds the record at that LSN; ReplicaLagging after the limit, and it stays a standby
      start, promote   with an `order` that is older than one the host obeyed change nothing: AuthorityError. The host
                       compares in the same command, and obeys nothing else meanwhile
      rejoin           makes a cleanly stopped old primary a streaming standby of the new one, without a new base backup
      forget_standby   an upstream that runs keeps nothing more for a standby that is gone; twice is once. Made one
                       again, it streams as before
      hold_moment      blocks writers for at most seconds_max, names a restore point, returns its LSN
      digest           is of the logical content (schemas, rows, sequences): equal on a primary and a standby at one LSN
      digest_at        replays a standby to exactly that LSN, digests, lets it stream on
      stand_ready      changes nothing but how long answers take: every law holds as before, also once the server was
                       stopped, started again or promoted. It says why, where answers will take as long as ever
      release          ends what stands ready for a cluster at every host; nothing else ends it but this process
    """

    def stand_ready(self, cluster: PostgresCluster, host: Host) -> str: ...

    def release(self, cluster: PostgresCluster) -> None: ...

    def end(self, cluster: PostgresCluster, host: Host) -> ClusterEnd: ...

    def log_alone(self, cluster: PostgresCluster, newer: Host, older: Host) -> LogAlone: ...

    def role(self, cluster: PostgresCluster, host: Host) -> Role: ...

    def make_standby(
        self, cluster: PostgresCluster, upstream: Host, standby: Host, *, progress: ProgressSink | None = None
    ) -> TransferReport: ...

    def forget_standby(self, cluster: PostgresCluster, upstream: Host, standby: Host) -> None: ...

    def lag(self, cluster: PostgresCluster, upstream: Host, standby: Host) -> Lag: ...

    def await_caught_up(
        self, cluster: PostgresCluster, upstream: Host, standby: Host, *, timeout_seconds: float
    ) -> Lag: ...

    def shut_down(self, cluster: PostgresCluster, host: Host) -> str: ...

    def start(self, cluster: PostgresCluster, host: Host, *, order: Order | None = None) -> Role: ...

    def promote(
        self,
        cluster: PostgresCluster,
        host: Host,
        *,
        holding: str = "",
        timeout_seconds: float = 60.0,
        order: Order | None = None,
    ) -> None: ...

    def rejoin(
        self, cluster: PostgresCluster, old_primary: Host, upstream: Host, *, allow_rewind: bool = False
    ) -> TransferReport:
        """Where the histories have parted, writes would be lost: DataError, unless `allow_rewind` accepts it.

        The report's `detail["discarded_bytes"]` then tells how much.
        """
        ...


class DatabaseDigests(Protocol):
    """Moments and digests of a cluster; the laws stand at `Databases`."""

    def hold_moment(
        self,
        cluster: PostgresCluster,
        host: Host,
        name: str,
        *,
        seconds_max: float,
        named: Callable[[str], None] | None = None,
    ) -> tuple[str, str]:
        """(LSN, digest) of one moment of a primary: writers wait only until the moment is named, not for the digest.

        `named` is called with the LSN once, while writers still wait: what else belongs to the moment (points of the
        system's trees) is held there. Writers go on when it returns; the digest is read afterwards.
        """
        ...

    def digest(self, cluster: PostgresCluster, host: Host) -> ContentDigest: ...

    def digest_at(
        self,
        cluster: PostgresCluster,
        standby: Host,
        lsn: str,
        *,
        timeout_seconds: float,
        keep_as: PointId | None = None,
    ) -> ContentDigest:
        """With `keep_as` the standby keeps a clone of that name: the cluster at that moment as files, on that host."""
        ...

    def find_clone(self, cluster: PostgresCluster, host: Host, point: PointId) -> str | None:
        """The folder of a clone that is whole; only the newest `clones_kept` are kept."""
        ...

    def prove_clone(
        self, cluster: PostgresCluster, host: Host, folder: str, *, lsn: str, digest: Digest
    ) -> ClusterCheck:
        """Open a copy of the clone in `folder` at `lsn`, compare its digest, let PostgreSQL's own checks read it all.

        DigestMismatch, or DataError with the words of the check that failed. The clone itself is not changed.
        """
        ...

    def check(self, cluster: PostgresCluster, host: Host) -> dict[str, str]:
        """What PostgreSQL's own checks say of the cluster as it runs there, primary or standby: by check, `passed: …`
        or `not shown: why`. Reads all of it. DataError, in its words, where one finds something.
        """
        ...

    def prepare_moment(self, cluster: PostgresCluster, standby: Host) -> None:
        """Pause replay on the standby, so that it can later stop at an exact LSN (call before hold_moment)."""
        ...
