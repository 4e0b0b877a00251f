"""PostgreSQL clusters in memory that obey the laws of Databases and DatabaseDigests.

A cluster at a host is a list of records, each with the timeline that wrote it. A position is the number of records.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.contracts.authority import Order
from orchestrator.contracts.databases import Role
from orchestrator.contracts.progress import ProgressSink
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.errors import AuthorityError, DataError, DigestMismatch, ReplicaLagging
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.transfer import ClusterCheck, ClusterEnd, ContentDigest, Lag, LogAlone, TransferReport

Record = tuple[int, str]  # timeline, row ("" for a checkpoint or the name of a moment)


@dataclass
class FakeServer:
    role: Role
    records: list[Record] = field(default_factory=list)
    timeline: int = 1
    upstream: str = ""
    replayed: int | None = None  # a paused standby shows no more than this

    def shown(self) -> list[Record]:
        return self.records if self.replayed is None else self.records[: self.replayed]


def position(count: int) -> str:
    return f"0/{count:X}"


def count_of(lsn: str) -> int:
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


class FakeDatabases:
    """Both contracts. `servers` is all there is; clients write with `write`."""

    def __init__(self) -> None:
        self.servers: dict[tuple[str, str], FakeServer] = {}
        self.obeyed: dict[str, tuple[int, int]] = {}  # the newest order of each host: number and ticket
        self.forgotten: set[tuple[str, str, str]] = set()  # cluster, upstream, standby: nothing is sent
        self.clones: dict[tuple[str, str, str], str] = {}  # by cluster, host and point: the digest

    def create(self, cluster: PostgresCluster, host: Host) -> None:
        self.servers[cluster.name, host.name] = FakeServer(Role.PRIMARY, [(1, "")])

    def write(self, cluster: PostgresCluster, host: Host, row: str) -> None:
        server = self._at(cluster, host)
        if server.role is not Role.PRIMARY:
            raise DataError(f"{host.name}: cannot execute INSERT in a read-only transaction")
        server.records.append((server.timeline, row))
        self._stream(cluster)

    def rows(self, cluster: PostgresCluster, host: Host) -> list[str]:
        return [row for _, row in self._at(cluster, host).shown() if row]

    def stand_ready(self, cluster: PostgresCluster, host: Host) -> str:
        return ""

    def release(self, cluster: PostgresCluster) -> None:
        pass

    def role(self, cluster: PostgresCluster, host: Host) -> Role:
        server = self.servers.get((cluster.name, host.name))
        return server.role if server else Role.MISSING

    def end(self, cluster: PostgresCluster, host: Host) -> ClusterEnd:
        records = self._at(cluster, host).records
        rows = sum(1 for _, row in records if row)
        return ClusterEnd(lsn=position(len(records)), position=len(records), transactions=rows)

    def log_alone(self, cluster: PostgresCluster, newer: Host, older: Host) -> LogAlone:
        ahead, behind = (
            server.records if (server := self.servers.get((cluster.name, host.name))) else [] for host in (newer, older)
        )
        shared = next(
            (place for place, pair in enumerate(zip(ahead, behind, strict=False)) if pair[0] != pair[1]),
            min(len(ahead), len(behind)),
        )
        return LogAlone(
            bytes=len(ahead) - shared,
            transactions=sum(1 for _, row in ahead[shared:] if row),
            start=position(shared),
            end=position(len(ahead)),
            parted=shared < min(len(ahead), len(behind)),
        )

    def make_standby(
        self, cluster: PostgresCluster, upstream: Host, standby: Host, *, progress: ProgressSink | None = None
    ) -> TransferReport:
        role = self.role(cluster, standby)
        self._refuse_primary(cluster, standby, role)
        above = self._at(cluster, upstream)
        moved = 0
        if role is Role.MISSING or not self._follows(above, self._at(cluster, standby)):
            self.servers[cluster.name, standby.name] = FakeServer(Role.STANDBY, list(above.records), above.timeline)
            moved = len(above.records)
        server = self._at(cluster, standby)
        server.role, server.upstream, server.replayed = Role.STANDBY, upstream.name, None
        self.forgotten.discard((cluster.name, upstream.name, standby.name))
        self._stream(cluster)
        return self._report(cluster, upstream, standby, "pg_basebackup" if moved else "streaming", moved)

    def forget_standby(self, cluster: PostgresCluster, upstream: Host, standby: Host) -> None:
        if self.role(cluster, upstream) in (Role.PRIMARY, Role.STANDBY):
            self.forgotten.add((cluster.name, upstream.name, standby.name))

    def lag(self, cluster: PostgresCluster, upstream: Host, standby: Host) -> Lag:
        above, below = self._at(cluster, upstream), self._at(cluster, standby)
        behind = len(above.shown()) - len(below.shown())
        received, replayed = position(len(below.records)), position(len(below.shown()))
        return Lag(
            bytes_behind=behind,
            seconds_behind=float(behind),
            received=received,
            replayed=replayed,
            streaming=above.role in (Role.PRIMARY, Role.STANDBY),
        )

    def await_caught_up(
        self, cluster: PostgresCluster, upstream: Host, standby: Host, *, timeout_seconds: float
    ) -> Lag:
        found = self.lag(cluster, upstream, standby)
        if found.bytes_behind:
            raise ReplicaLagging(f"{standby.name}: {cluster.name} is behind")
        return found

    def shut_down(self, cluster: PostgresCluster, host: Host) -> str:
        server = self._at(cluster, host)
        if server.role is Role.PRIMARY:
            server.records.append((server.timeline, ""))
            self._stream(cluster)
        server.role = Role.STOPPED
        return position(len(server.records) - 1)

    def start(self, cluster: PostgresCluster, host: Host, *, order: Order | None = None) -> Role:
        server = self._at(cluster, host)
        if server.role is Role.STOPPED:
            self._refuse_when_late(host, order)
            server.role = Role.STANDBY if server.upstream else Role.PRIMARY
            self._stream(cluster)
        return server.role

    def promote(
        self,
        cluster: PostgresCluster,
        host: Host,
        *,
        holding: str = "",
        timeout_seconds: float = 60.0,
        order: Order | None = None,
    ) -> None:
        self._refuse_when_late(host, order)
        server = self._at(cluster, host)
        if server.role is Role.PRIMARY:
            return
        if holding and len(server.records) <= count_of(holding):
            raise ReplicaLagging(f"{host.name}: {cluster.name} has not received the record at {holding}")
        if server.role is not Role.STANDBY:
            raise DataError(f"{host.name}: {cluster.name} is {server.role.value} and cannot be promoted")
        server.role, server.upstream, server.replayed = Role.PRIMARY, "", None
        server.timeline += 1
        server.records.append((server.timeline, ""))
        self._stream(cluster)

    def rejoin(
        self, cluster: PostgresCluster, old_primary: Host, upstream: Host, *, allow_rewind: bool = False
    ) -> TransferReport:
        old = self._at(cluster, old_primary)
        self._refuse_primary(cluster, old_primary, old.role)
        above = self._at(cluster, upstream)
        method, detail = "streaming", {}
        if not self._follows(above, old):
            lost = sum(1 for one, other in zip(old.records, above.records, strict=False) if one != other)
            lost += max(0, len(old.records) - len(above.records))
            if not allow_rewind:
                raise DataError(
                    f"{old_primary.name}: {cluster.name} holds {lost} records {upstream.name} never received"
                )
            method, detail = "pg_rewind", {"discarded_bytes": str(lost)}
            old.records = list(above.records)
        old.role, old.upstream = Role.STANDBY, upstream.name
        self._stream(cluster)
        return self._report(cluster, upstream, old_primary, method, 0, detail)

    def hold_moment(
        self,
        cluster: PostgresCluster,
        host: Host,
        name: str,
        *,
        seconds_max: float,
        named: Callable[[str], None] | None = None,
    ) -> tuple[str, str]:
        server = self._at(cluster, host)
        if server.role is not Role.PRIMARY:
            raise DataError(f"{host.name}: {cluster.name} is no primary; only a primary can name a moment")
        server.records.append((server.timeline, ""))
        lsn = position(len(server.records))
        digest = self._digest(server.records)
        if named is not None:
            named(lsn)
        self._stream(cluster)
        return lsn, digest

    def digest(self, cluster: PostgresCluster, host: Host) -> ContentDigest:
        return self._content_digest(cluster, host, self._at(cluster, host).shown())

    def find_clone(self, cluster: PostgresCluster, host: Host, point: str) -> str | None:
        return f"/clones/{point}" if (cluster.name, host.name, point) in self.clones else None

    def prove_clone(self, cluster: PostgresCluster, host: Host, folder: str, *, lsn: str, digest: str) -> ClusterCheck:
        found = self.clones[cluster.name, host.name, folder.rpartition("/")[2]]
        if found != digest:
            raise DigestMismatch(f"{cluster.name} at {lsn}: {found}, not {digest}")
        checks = {"amcheck": "not shown: nothing to check in memory"}
        return ClusterCheck(dataset=cluster.name, host=host.name, lsn=lsn, digest=digest, checks=checks)

    def digest_at(
        self,
        cluster: PostgresCluster,
        standby: Host,
        lsn: str,
        *,
        timeout_seconds: float,
        keep_as: str | None = None,
    ) -> ContentDigest:
        server = self._at(cluster, standby)
        wanted = count_of(lsn)
        try:
            if len(server.records) < wanted:
                raise ReplicaLagging(f"{standby.name}: {cluster.name} has not received {lsn}")
            if server.replayed is None and len(server.records) > wanted:
                raise DataError(f"{standby.name}: {cluster.name} is past the moment at {lsn}")
            found = self._content_digest(cluster, standby, server.records[:wanted])
            if keep_as is not None:
                self.clones[cluster.name, standby.name, keep_as] = found.digest
            return found
        finally:
            server.replayed = None
            self._stream(cluster)

    def check(self, cluster: PostgresCluster, host: Host) -> dict[str, str]:
        self._at(cluster, host)
        return {"pages": "passed: every page", "amcheck": "not shown: no database has the extension amcheck"}

    def prepare_moment(self, cluster: PostgresCluster, standby: Host) -> None:
        server = self._at(cluster, standby)
        if server.role is not Role.STANDBY:
            raise DataError(f"{standby.name}: {cluster.name} is no standby")
        server.replayed = len(server.records)

    def _at(self, cluster: PostgresCluster, host: Host) -> FakeServer:
        found = self.servers.get((cluster.name, host.name))
        if found is None:
            raise DataError(f"{host.name}: {cluster.name} has no data directory")
        return found

    def _refuse_when_late(self, host: Host, order: Order | None) -> None:
        if order is not None and self.obeyed.get(host.name, (0, 0)) > (order.number, order.ticket):
            raise AuthorityError(f"{host.name} obeyed {self.obeyed[host.name]} before: {order} came too late")

    def _refuse_primary(self, cluster: PostgresCluster, host: Host, role: Role) -> None:
        if role is Role.PRIMARY:
            raise DataError(f"{host.name}: {cluster.name} takes writes there; it will not be made a standby")

    def _follows(self, above: FakeServer, below: FakeServer) -> bool:
        """Whether the records below are a beginning of those above."""
        return above.records[: len(below.records)] == below.records

    def _stream(self, cluster: PostgresCluster) -> None:
        """Bring every running standby to where its upstream is, down the whole cascade."""
        for _ in self.servers:
            for (name, host), server in self.servers.items():
                above = self.servers.get((name, server.upstream))
                if (name, server.upstream, host) in self.forgotten:
                    continue
                if name != cluster.name or server.role is not Role.STANDBY or above is None:
                    continue
                if above.role is Role.STOPPED:
                    continue
                if self._follows(above, server):
                    server.records, server.timeline = list(above.records), above.timeline

    def _digest(self, records: list[Record]) -> str:
        return digest_of([row for _, row in records if row])

    def _content_digest(self, cluster: PostgresCluster, host: Host, records: list[Record]) -> ContentDigest:
        return ContentDigest(
            dataset=cluster.name, host=host.name, digest=self._digest(records), algorithm="postgresql/v1"
        )

    def _report(
        self,
        cluster: PostgresCluster,
        source: Host,
        replica: Host,
        method: str,
        moved: int,
        detail: dict[str, str] | None = None,
    ) -> TransferReport:
        return TransferReport(
            dataset=cluster.name,
            source=source.name,
            replica=replica.name,
            method=method,
            bytes_total=moved,
            bytes_wire=moved,
            seconds=0.0,
            detail=detail or {},
        )
