"""Where a cluster's log ends, running or stopped; and crash recovery without a server that anybody could write to."""

from orchestrator.contracts.databases import Role
from orchestrator.foundation.errors import DataError
from orchestrator.model.transfer import ClusterEnd
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.lsn import parse_lsn

RECOVERY_SECONDS_MAX = 3600.0
_CLEAN = ("shut down", "shut down in recovery")
_OF_A_RUNNING = (
    "select case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"
    " else pg_current_wal_flush_lsn() end, pg_snapshot_xmax(pg_current_snapshot())"
)


def cluster_end(cluster: ClusterHost) -> ClusterEnd:
    """What the cluster holds for sure: up to which position, and how many transactions it has numbered."""
    role = cluster.role()
    if role is Role.MISSING:
        raise DataError(f"{cluster.host.name}: {cluster.cluster.name} has no data directory at {cluster.data}")
    if role is not Role.STOPPED:
        lsn, transactions = cluster.sql_when_up(_OF_A_RUNNING).split("|")
        return ClusterEnd(lsn=lsn, position=parse_lsn(lsn), transactions=int(transactions))
    control = cluster.control()
    # A standby has replayed at least up to the second of these; of a primary it is 0/0.
    ends = (control["Latest checkpoint location"], control["Minimum recovery ending location"])
    lsn = max(ends, key=parse_lsn)
    # `epoch:next`, the next transaction number that would be given.
    epoch, _, number = control["Latest checkpoint's NextXID"].partition(":")
    return ClusterEnd(lsn=lsn, position=parse_lsn(lsn), transactions=(int(epoch) << 32) + int(number))


def recover_alone(cluster: ClusterHost) -> None:
    """Bring a cluster that lost its power to a clean end, in single-user mode: no port is opened meanwhile."""
    if cluster.role() is not Role.STOPPED or cluster.control()["Database cluster state"] in _CLEAN:
        return
    words = [cluster.program("postgres"), "--single", "-D", cluster.data, "template1"]
    done = cluster.run(words, stdin=b"", timeout_seconds=RECOVERY_SECONDS_MAX, check=False)
    if done.exit_code:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise DataError(
            f"{cluster.host.name}: {cluster.cluster.name} cannot be recovered: {' '.join(said)}",
            hint="Keep its data directory for analysis, and make a new standby in its place.",
        )
