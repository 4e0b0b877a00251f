"""PostgreSQL clusters over hosts: `Databases` and `DatabaseDigests` by streaming replication."""

import time
from collections.abc import Callable

from orchestrator.contracts.authority import Order
from orchestrator.contracts.bandwidth import Bandwidth, unlimited
from orchestrator.contracts.databases import Role
from orchestrator.contracts.progress import ProgressSink
from orchestrator.contracts.transport import Transports
from orchestrator.foundation.errors import DataError
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.names import Digest, PointId
from orchestrator.model.transfer import ClusterCheck, ClusterEnd, ContentDigest, Lag, LogAlone, TransferReport
from orchestrator.movers.kept_programs import KeptPrograms
from orchestrator.movers.limits import Turns
from orchestrator.movers.postgres import digest as digests
from orchestrator.movers.postgres import standby as standbys
from orchestrator.movers.postgres.base_backup import pull_base_backup, put_in_place
from orchestrator.movers.postgres.checks import check_running
from orchestrator.movers.postgres.clones import find_clone, prove_clone
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.ends import bytes_apart, cluster_end, log_alone, recover_alone
from orchestrator.movers.postgres.fit import check_fit, compare_control, refuse_another_cluster
from orchestrator.movers.postgres.ready_clusters import ReadyCluster
from orchestrator.movers.postgres.rewinding import rewind
from orchestrator.movers.postgres.standby import Upstream
from orchestrator.movers.postgres.switching import promote, shut_down
from orchestrator.movers.postgres.tablespaces import moved_to
from orchestrator.movers.postgres.turns import alone_at


class PostgresMover:
    """One mover for all clusters. `secrets` resolves a reference to its value, at the moment of need."""

    def __init__(
        self,
        transports: Transports,
        secrets: Callable[[str], str],
        *,
        bandwidth: Bandwidth = unlimited,
        turns: Turns | None = None,
    ) -> None:
        self._transports = transports
        self._secrets = secrets
        self._bandwidth = bandwidth
        self._turns = turns or Turns()
        self._ready = KeptPrograms()

    def _at(self, cluster: PostgresCluster, host: Host) -> ClusterHost:
        transport = self._transports(host)
        return ClusterHost(cluster, transport, ReadyCluster(self._ready, cluster, transport))

    # --- for when clients wait --------------------------------------------------------------------------------------

    def stand_ready(self, cluster: PostgresCluster, host: Host) -> str:
        return ReadyCluster(self._ready, cluster, self._transports(host)).begin()

    def release(self, cluster: PostgresCluster) -> None:
        self._ready.end(lambda key: key[:2] == (cluster.name, cluster.data_directory))

    # --- what is ----------------------------------------------------------------------------------------------------

    def role(self, cluster: PostgresCluster, host: Host) -> Role:
        return self._at(cluster, host).role()

    def end(self, cluster: PostgresCluster, host: Host) -> ClusterEnd:
        return cluster_end(self._at(cluster, host))

    def log_alone(self, cluster: PostgresCluster, newer: Host, older: Host) -> LogAlone:
        return log_alone(self._at(cluster, newer), self._at(cluster, older))

    def lag(self, cluster: PostgresCluster, upstream: Host, standby: Host) -> Lag:
        return standbys.measure_lag(self._at(cluster, upstream), self._at(cluster, standby))

    # --- replication ------------------------------------------------------------------------------------------------

    def make_standby(
        self, cluster: PostgresCluster, upstream: Host, standby: Host, *, progress: ProgressSink | None = None
    ) -> TransferReport:
        started = time.monotonic()
        here, there = self._at(cluster, standby), self._at(cluster, upstream)
        link = Upstream(there, here, self._secrets)
        role = here.role()
        standbys.refuse_primary(here, role)
        moved = 0
        method = "streaming"
        if role is Role.MISSING:
            moved, method = self._base_backup(link, progress), "pg_basebackup"
        elif role is Role.STANDBY and link.is_configured() and link.is_streaming():
            # A moment that was prepared and never reached must not keep the standby behind for ever.
            digests.stream_on(here)
        elif not self._follow(link):
            moved, method = self._base_backup(link, progress), "pg_basebackup"
        total = there.sql_when_up("select coalesce(sum(pg_database_size(oid)), 0) from pg_database")
        return TransferReport(
            dataset=cluster.name,
            source=upstream.name,
            replica=standby.name,
            method=method,
            bytes_total=int(total),
            bytes_wire=moved,
            seconds=time.monotonic() - started,
            detail={"slot": link.slot, "verified": "pg_verifybackup" if moved else "streaming"},
        )

    def _base_backup(self, link: Upstream, progress: ProgressSink | None) -> int:
        with alone_at(link.standby):
            spaces = moved_to(link.upstream, link.standby, check_fit(link.upstream, link.standby, link.slot))
            if link.standby.role() not in (Role.MISSING, Role.STOPPED):
                link.standby.stop()
            link.put_password()
            link.make_slot()
            with self._turns.turn(limited=self._bandwidth().bytes_per_second is not None):
                folder, copied = pull_base_backup(link, bandwidth=self._bandwidth, spaces=spaces, progress=progress)
            put_in_place(link.standby, folder, link.configure, spaces=spaces)
            link.standby.start()
        self._insist_on_streaming(link)
        return copied

    def _follow(self, link: Upstream) -> bool:
        """Point an existing data directory at the upstream; False when it cannot follow and needs a base backup."""
        standby = link.standby
        refuse_another_cluster(link.upstream, standby)
        compare_control(link.upstream, standby)
        if standby.role() is Role.STOPPED and bytes_apart(link.upstream, standby) is not None:
            return False
        link.put_password()
        link.make_slot()
        link.configure(standby.data)
        if standby.role() is Role.STANDBY:
            standby.restart_standby()
        else:
            standby.start()
        return link.await_streaming()

    def _insist_on_streaming(self, link: Upstream) -> None:
        if not link.await_streaming():
            raise DataError(
                f"{link.standby.host.name}: {link.standby.cluster.name} does not stream from"
                f" {link.upstream.host.name}: {link.standby.log_end()}"
            )

    def await_caught_up(
        self, cluster: PostgresCluster, upstream: Host, standby: Host, *, timeout_seconds: float
    ) -> Lag:
        return standbys.await_caught_up(self._at(cluster, upstream), self._at(cluster, standby), timeout_seconds)

    def forget_standby(self, cluster: PostgresCluster, upstream: Host, standby: Host) -> None:
        there = self._at(cluster, upstream)
        if there.role() in (Role.PRIMARY, Role.STANDBY):
            Upstream(there, self._at(cluster, standby), self._secrets).drop_slot()

    # --- the switch -------------------------------------------------------------------------------------------------

    def shut_down(self, cluster: PostgresCluster, host: Host) -> str:
        return shut_down(self._at(cluster, host))

    def start(self, cluster: PostgresCluster, host: Host, *, order: Order | None = None) -> Role:
        return self._at(cluster, host).start(order=order)

    def promote(
        self,
        cluster: PostgresCluster,
        host: Host,
        *,
        holding: str = "",
        timeout_seconds: float = 60.0,
        order: Order | None = None,
    ) -> None:
        promote(self._at(cluster, host), holding, timeout_seconds, order=order)

    def rejoin(
        self, cluster: PostgresCluster, old_primary: Host, upstream: Host, *, allow_rewind: bool = False
    ) -> TransferReport:
        started = time.monotonic()
        here, there = self._at(cluster, old_primary), self._at(cluster, upstream)
        link = Upstream(there, here, self._secrets)
        role = here.role()
        standbys.refuse_primary(here, role)
        detail = {"slot": link.slot}
        method = "streaming"
        if not (role is Role.STANDBY and link.is_configured() and link.is_streaming()):
            compare_control(there, here)
            if role is Role.STOPPED:
                recover_alone(here)
                if (lost := bytes_apart(there, here)) is not None:
                    method, detail["discarded_bytes"] = "pg_rewind", str(lost)
                    rewind(link, lost, allowed=allow_rewind)
            link.put_password()
            link.make_slot()
            link.configure(here.data)
            here.restart_standby() if role is Role.STANDBY else here.start()
            self._insist_on_streaming(link)
        return TransferReport(
            dataset=cluster.name,
            source=upstream.name,
            replica=old_primary.name,
            method=method,
            bytes_total=0,
            bytes_wire=0,
            seconds=time.monotonic() - started,
            detail=detail,
        )

    # --- moments and digests ----------------------------------------------------------------------------------------

    def hold_moment(
        self,
        cluster: PostgresCluster,
        host: Host,
        name: str,
        *,
        seconds_max: float,
        named: Callable[[str], None] | None = None,
    ) -> tuple[str, str]:
        return digests.hold_moment(self._at(cluster, host), name, seconds_max=seconds_max, named=named)

    def digest(self, cluster: PostgresCluster, host: Host) -> ContentDigest:
        return digests.cluster_digest(self._at(cluster, host))

    def prepare_moment(self, cluster: PostgresCluster, standby: Host) -> None:
        digests.pause_replay(self._at(cluster, standby))

    def digest_at(
        self,
        cluster: PostgresCluster,
        standby: Host,
        lsn: str,
        *,
        timeout_seconds: float,
        keep_as: PointId | None = None,
    ) -> ContentDigest:
        here = self._at(cluster, standby)
        return digests.digest_at(here, lsn, timeout_seconds=timeout_seconds, keep_as=keep_as)

    def find_clone(self, cluster: PostgresCluster, host: Host, point: PointId) -> str | None:
        return find_clone(self._at(cluster, host), point)

    def prove_clone(
        self, cluster: PostgresCluster, host: Host, folder: str, *, lsn: str, digest: Digest
    ) -> ClusterCheck:
        return prove_clone(
            self._at(cluster, host),
            folder,
            lsn=lsn,
            digest=digest,
            digest_of=lambda clone: digests.cluster_digest(clone).digest,
        )

    def check(self, cluster: PostgresCluster, host: Host) -> dict[str, str]:
        return check_running(self._at(cluster, host))

    def differences(self, cluster: PostgresCluster, one: Host, other: Host, *, limit: int = 20) -> list[str]:
        """Which parts (schema, table, sequence) differ between two hosts, for the message of a mismatch."""
        return digests.differences(self._at(cluster, one), self._at(cluster, other))[:limit]
