"""Where a cluster's log ends, and what it holds alone; crash recovery without a server that anybody could write to."""

import re

from orchestrator.contracts.databases import Role
from orchestrator.foundation.errors import DataError
from orchestrator.model.transfer import ClusterEnd, LogAlone
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.lsn import format_lsn, parse_lsn

RECOVERY_SECONDS_MAX = 3600.0
READ_SECONDS_MAX = 600.0
_CLEAN = ("shut down", "shut down in recovery")
_STANDBY = ("standby.signal",)
_BACKUP = ("standby.signal", "backup_label")
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


def newest_timeline(cluster: ClusterHost) -> int:
    """The history a running cluster is on; just after a promotion its last checkpoint tells of the one before."""
    present = int(cluster.sql_when_up("select timeline_id from pg_control_checkpoint()"))
    newest = cluster.sql_when_up(
        "select coalesce(max(substr(name, 1, 8)), '') from pg_ls_waldir() where name like '%.history'"
    )
    return max(present, int(newest, 16) if newest else 0)


def fork_position(upstream: ClusterHost, timeline: int) -> int | None:
    """Where the upstream's history left `timeline`; None where the upstream is still on it."""
    number = newest_timeline(upstream)
    if number == timeline:
        return None
    history = upstream.sql_when_up(f"select pg_read_file('pg_wal/{number:08X}.history')")
    for line in history.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0] == str(timeline):
            return parse_lsn(fields[1])
    raise DataError(f"{upstream.host.name}: the history of timeline {number} knows nothing of timeline {timeline}")


def bytes_apart(upstream: ClusterHost, stopped: ClusterHost) -> int | None:
    """What a stopped cluster holds beyond the place where the upstream left its history; None where it can follow."""
    lsn, timeline, begun = _at_rest(stopped)
    fork = fork_position(upstream, timeline)
    # A base backup is whole only at its own end, which nothing here tells: it follows the history that it was taken of.
    if fork is None or (begun and parse_lsn(lsn) < fork):
        return None
    return max(0, parse_lsn(lsn) - fork)


def _at_rest(cluster: ClusterHost) -> tuple[str, int, bool]:
    """(position, timeline, whether it has run) of a stopped cluster that need not be recovered first.

    That is one that was stopped cleanly; and a standby, however it ended, or a base backup that is to become one: they
    write nothing of their own, and go on from where they were. DataError for any other.
    """
    control = cluster.control()
    state = control["Database cluster state"]
    signs = _signs(cluster)
    if signs == _BACKUP or state in _CLEAN:
        position, timeline = control["Latest checkpoint location"], control["Latest checkpoint's TimeLineID"]
    elif signs == _STANDBY and state == "in archive recovery":
        position, timeline = control["Minimum recovery ending location"], control["Min recovery ending loc's timeline"]
    else:
        raise DataError(
            f"{cluster.host.name}: {cluster.cluster.name} was not stopped cleanly (its state is: {state})",
            hint="Start it and stop it again, or make a new standby of it.",
        )
    return position, int(timeline), signs != _BACKUP


def _signs(cluster: ClusterHost) -> tuple[str, ...]:
    """What lies in the data directory for the server's next start."""
    script = 'cd "$1" && for name in standby.signal backup_label; do [ ! -e $name ] || echo $name; done'
    return tuple(cluster.run(["sh", "-c", script, "signs", cluster.data]).text.split())


# The last whole record, and where the next one would begin, if that is told.
_LSN = r"([0-9A-F]+/[0-9A-F]+)"
_LOG_ENDED = re.compile(rf"error in WAL record at {_LSN}: (?:invalid record length at {_LSN})?")


def log_alone(newer: ClusterHost, older: ClusterHost) -> LogAlone:
    """What `newer` holds and `older` does not; nothing where `newer` holds no cluster."""
    if newer.role() is Role.MISSING:
        return LogAlone(bytes=0, transactions=0)
    ahead = cluster_end(newer)
    role = older.role()
    if role is Role.MISSING:
        return LogAlone(bytes=ahead.position, transactions=ahead.transactions, end=ahead.lsn)
    behind = cluster_end(older)
    stopped = newer.role() is Role.STOPPED
    control = newer.control()
    timeline = int(control["Latest checkpoint's TimeLineID"]) if stopped else newest_timeline(newer)
    if role is Role.STOPPED and timeline < int(older.control()["Latest checkpoint's TimeLineID"]):
        raise DataError(
            f"{older.host.name}: {older.cluster.name} is stopped, and went its own way: nobody can tell from where",
            hint=f"Start it behind its fence, and count again what only {newer.host.name} holds.",
        )
    if role is not Role.STOPPED and timeline < newest_timeline(older):
        fork = fork_position(older, timeline)
        return _log_read(newer, timeline, behind.position if fork is None else fork, parted=fork is not None)
    if stopped and control["Database cluster state"] not in _CLEAN:
        return _log_read(newer, timeline, behind.position, parted=False)
    return LogAlone(
        bytes=max(0, ahead.position - behind.position),
        transactions=max(0, ahead.transactions - behind.transactions),
        start=behind.lsn,
        end=ahead.lsn,
    )


def _log_read(cluster: ClusterHost, timeline: int, start: int, *, parted: bool) -> LogAlone:
    """What the log of a cluster holds from `start` on, read to its last whole record.

    pg_waldump fails where a log ends, and says first what it counted up to there: nothing at all, where that has
    no transaction's end.
    """
    words = [cluster.program("pg_waldump"), "-p", f"{cluster.data}/pg_wal", "-t", str(timeline)]
    words += ["-s", format_lsn(start), "--stats=record", "--rmgr=Transaction"]
    said = cluster.run(words, timeout_seconds=READ_SECONDS_MAX, check=False)
    between = re.search(r"^WAL statistics between (\S+) and (\S+):$", said.text, re.MULTILINE)
    if between is None:
        why = said.stderr.decode(errors="replace").strip().splitlines()[-1:]
        if why and "could not find a valid record after" in why[0]:
            lsn = format_lsn(start)
            return LogAlone(bytes=0, transactions=0, start=lsn, end=lsn, parted=parted)
        ended = _LOG_ENDED.search(why[0]) if why else None
        if ended is not None:
            lsn = ended[2] or ended[1]
            alone = max(0, parse_lsn(lsn) - start)
            return LogAlone(bytes=alone, transactions=0, start=format_lsn(start), end=lsn, parted=parted)
        raise DataError(f"{cluster.host.name}: the log of {cluster.cluster.name} cannot be read: {' '.join(why)}")
    first, last = between.groups()
    committed = re.findall(r"^Transaction/COMMIT\S* +([0-9]+) ", said.text, re.MULTILINE)
    return LogAlone(
        bytes=max(0, parse_lsn(last) - parse_lsn(first)),
        transactions=sum(int(count) for count in committed),
        start=first,
        end=last,
        parted=parted,
    )


def recover_alone(cluster: ClusterHost) -> None:
    """Bring a cluster that lost its power to a clean end, in single-user mode: no port is opened meanwhile.

    A standby needs none of it, and cannot be run so.
    """
    if cluster.role() is not Role.STOPPED or cluster.control()["Database cluster state"] in _CLEAN:
        return
    if _signs(cluster) in (_STANDBY, _BACKUP):
        return
    words = [cluster.program("postgres"), "--single", "-D", cluster.data, "template1"]
    done = cluster.run(words, stdin=b"", timeout_seconds=RECOVERY_SECONDS_MAX, check=False)
    if done.exit_code:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise DataError(
            f"{cluster.host.name}: {cluster.cluster.name} cannot be recovered: {' '.join(said)}",
            hint="Keep its data directory for analysis, and make a new standby in its place.",
        )
