"""Replicate: every dataset of a system from one side to the next, hop by hop."""

from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.access_log import AccessReading
from orchestrator.contracts.authority import Order
from orchestrator.contracts.databases import Role
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import ProgressSink
from orchestrator.foundation.errors import DataError, PlanningError
from orchestrator.foundation.limits import MIB
from orchestrator.model.action import Replicate
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.model.transfer import TransferReport
from orchestrator.steps.asked import asked
from orchestrator.steps.damages import refuse_damaged
from orchestrator.steps.meetings import note_meetings
from orchestrator.steps.places import clusters, host_at, hosts_at
from orchestrator.steps.points import last_point
from orchestrator.steps.readiness import in_parallel, stand_ready
from orchestrator.steps.shrinking import refuse_shrunk
from orchestrator.steps.still_data import StillData, StillDataMover, still_data
from orchestrator.steps.written_over import asked_meanwhile, refuse_open

CATCH_UP_SECONDS_MAX = 300.0
LAST_SECONDS_MAX = 20.0  # a standby that was caught up a moment ago needs milliseconds
CHANGED_NAMES_KEPT_MAX = 50


def hop_name(source: Side, replica: Side) -> str:
    return f"{source.value}_to_{replica.value}"


@dataclass(frozen=True)
class ReplicateHandler:
    """First copy or delta. Trees and volumes are copied; databases get a streaming standby and are waited for."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # a second pass moves only what differs

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, Replicate)
        order = None
        if deed.ticket and action.pace != "last":  # outside of a run the round has looked; at the last, clients wait
            refuse_shrunk(self.drivers, deed, action.source, action.replica)
            order = refuse_open(self.drivers, deed, action.replica)
        if action.read == "live":
            refuse_damaged(self.drivers.catalogue, deed.system_plan.system.name, action.source)
        # The seed comes from the replica: what production saw meanwhile is written down.
        spares_source = Side.SOURCE not in (action.source, action.replica) and action.pace != "last"
        before = self._source_access(deed) if spares_source else []

        datasets: list[StillData | PostgresCluster] = [*clusters(deed), *still_data(deed)]
        began = self.drivers.clock.now()
        not_ready = prepare_last(self.drivers, deed, action.source, action.replica) if action.pace == "ahead" else {}

        asked_last = [action.replica] if action.pace == "last" else []
        with asked_meanwhile(self.drivers, deed, asked_last) as refuse:

            def move(dataset: StillData | PostgresCluster) -> TransferReport:
                if isinstance(dataset, PostgresCluster):
                    return self._move_cluster(deed, action, dataset, progress)
                allowed = refuse(action.replica) if action.pace == "last" else order
                return self._copy(deed, action, dataset, allowed, progress)

            reports = in_parallel(move, datasets)
        if action.read == "live" and action.pace != "last":
            note_meetings(self.drivers, deed.system_plan.system.name, (action.source, action.replica), began)
        if action.pace == "ahead":
            stand_ready(self.drivers, deed, action.source, action.replica)
        hop = hop_name(action.source, action.replica)
        for report in reports:
            emit("transfer.finished", {"hop": hop, **_kept(report)})
        observed: dict[str, Any] = {
            "hop": hop,
            "bytes_wire": sum(report.bytes_wire for report in reports),
            "bytes_total": sum(report.bytes_total for report in reports),
            "seconds": round(sum(report.seconds for report in reports), 3),
            "datasets": {report.dataset: _kept(report) for report in reports},
        }
        if not_ready:
            observed["last_delta_not_ready"] = not_ready
        if spares_source:
            observed["source_read"] = self._compare_access(deed, before, emit)
        moved = observed["bytes_wire"] / MIB
        return Outcome.done(f"{moved:.1f} MiB moved, {action.source.value} → {action.replica.value}", **observed)

    def _copy(
        self, deed: Deed, action: Replicate, dataset: StillData, order: Order | None, progress: ProgressSink
    ) -> TransferReport:
        source, replica = (host_at(deed, side, dataset.name) for side in (action.source, action.replica))
        mover = StillDataMover(self.drivers)
        if action.pace == "last":
            return mover.copy_last(dataset, source, replica, order=order, progress=progress)
        point = last_point(self.drivers.catalogue, deed, action.source) if action.read == "point" else None
        from_point = point.id if point else None
        return mover.copy(dataset, source, replica, from_point=from_point, order=order, progress=progress)

    def _move_cluster(
        self, deed: Deed, action: Replicate, cluster: PostgresCluster, progress: ProgressSink
    ) -> TransferReport:
        upstream = host_at(deed, action.source, cluster.name)
        standby = host_at(deed, action.replica, cluster.name)
        databases = self.drivers.databases
        if action.pace == "last" and (report := await_last(self.drivers, cluster, upstream, standby)):
            return report
        if databases.role(cluster, standby) is Role.PRIMARY:
            raise PlanningError(
                f"{standby.name}: {cluster.name} is a primary already, not a replica of {upstream.name}",
                hint="Find out who writes there. Nothing was overwritten.",
            )
        report = databases.make_standby(cluster, upstream, standby, progress=progress)
        lag = databases.await_caught_up(cluster, upstream, standby, timeout_seconds=CATCH_UP_SECONDS_MAX)
        return report.model_copy(
            update={
                "detail": {
                    **report.detail,
                    "lag_bytes": str(lag.bytes_behind),
                    "lag_seconds": f"{lag.seconds_behind or 0.0:.3f}",
                    "received": lag.received,
                }
            }
        )

    def _source_access(self, deed: Deed) -> list[AccessReading]:
        ports = tuple(cluster.port for cluster in clusters(deed))
        return [self.drivers.access_log.read(host, ports) for host in hosts_at(deed, Side.SOURCE)]

    def _compare_access(self, deed: Deed, before: list[AccessReading], emit: Emit) -> dict[str, Any]:
        """What DR and cloud hosts asked of the source's hosts meanwhile, by those hosts' own records."""
        others = {host.address: host.name for side in (Side.DR, Side.CLOUD) for host in hosts_at(deed, side)}
        cloud = {host.address for host in hosts_at(deed, Side.CLOUD)}
        readings: dict[str, Any] = {}
        for earlier, later in zip(before, self._source_access(deed), strict=True):
            sessions = {
                others[peer]: count - earlier.ssh_sessions.get(peer, 0)
                for peer, count in later.ssh_sessions.items()
                if peer in others and count > earlier.ssh_sessions.get(peer, 0)
            }
            asked = {others[peer]: count for peer, count in later.database_peers.items() if peer in cloud}
            readings[later.host] = {
                "ssh_sessions_from_dr_and_cloud": sum(sessions.values()),
                "database_connections_from_cloud": sum(asked.values()),
                "peers": sorted({*sessions, *asked}),
                "from": earlier.at,
                "to": later.at,
            }
        emit("source.access", {"hosts": readings})
        return readings


def prepare_last(drivers: Drivers, deed: Deed, source: Side, replica: Side) -> dict[str, str]:
    """Make the last delta of this hop ready; datasets whose last delta will take the long way all the same, with why.

    It begins before the copy: what the copy brings is then seen to arrive.
    """

    def prepare(dataset: StillData) -> str:
        hosts = (host_at(deed, side, dataset.name) for side in (source, replica))
        return StillDataMover(drivers).prepare_last(dataset, *hosts)

    datasets = list(still_data(deed))
    why = in_parallel(prepare, datasets)
    return {dataset.name: reason for dataset, reason in zip(datasets, why, strict=True) if reason}


def await_last(drivers: Drivers, cluster: PostgresCluster, upstream: Host, standby: Host) -> TransferReport | None:
    """The last writes of a cluster whose standby streams, directly or by way of another; None where that is not so."""
    started = drivers.clock.monotonic_seconds()
    try:
        lag = drivers.databases.await_caught_up(cluster, upstream, standby, timeout_seconds=LAST_SECONDS_MAX)
    except DataError:
        return None  # it does not follow as it is: whoever makes standbys looks why
    if not lag.streaming:
        return None
    return TransferReport(
        dataset=cluster.name,
        source=upstream.name,
        replica=standby.name,
        method="streaming",
        bytes_total=0,
        bytes_wire=0,
        seconds=drivers.clock.monotonic_seconds() - started,
        detail={"lag_bytes": str(lag.bytes_behind), "received": lag.received, "verified": "streaming"},
    )


def _kept(report: TransferReport) -> dict[str, Any]:
    kept = report.model_dump(mode="json")
    kept["changed"] = kept["changed"][:CHANGED_NAMES_KEPT_MAX]
    kept["bytes_total"], kept["bytes_wire"] = report.bytes_total, report.bytes_wire
    return kept
