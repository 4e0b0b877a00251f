"""Standbys: fitting, following an upstream, falling behind, catching up."""

import time
from collections.abc import Callable

from orchestrator.contracts.databases import Role
from orchestrator.foundation.errors import DataError, ReplicaLagging
from orchestrator.model.transfer import Lag
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.configuration import (
    conninfo,
    password_line,
    settings_of,
    slot_name,
    tls_parameters,
    with_settings,
)
from orchestrator.movers.postgres.lsn import parse_lsn

AUTO_CONF = "postgresql.auto.conf"
STREAM_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
_TRIES = 150  # of 2 ms; a longer look would hold a snapshot against the replay that it waits for
# What the standby holds for sure: received and flushed, or already replayed.
HELD = "greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"


class Upstream:
    """How a standby reaches the host that it follows."""

    def __init__(self, upstream: ClusterHost, standby: ClusterHost, secrets: Callable[[str], str]) -> None:
        self.upstream = upstream
        self.standby = standby
        self._secrets = secrets

    @property
    def slot(self) -> str:
        return slot_name(self.standby.host.name)

    @property
    def password_file(self) -> str:
        folder, _, name = self.standby.data.rpartition("/")
        return f"{folder}/.skerry-{name}.pgpass"

    def conninfo(self, **more: str) -> str:
        cluster = self.upstream.cluster
        with_password = {"passfile": self.password_file} if cluster.replication_password else {}
        trust = tls_parameters(cluster, cluster.replication_root and self.standby.host.path(cluster.replication_root))
        return conninfo(
            {
                "host": self.upstream.host.address,
                "port": cluster.port,
                "user": cluster.replication_user,
                "application_name": self.standby.host.name,
                "connect_timeout": 10,
                **with_password,
                **trust,
                **more,
            }
        )

    def put_password(self) -> None:
        """The password travels through stdin into a file of the server's user alone; never in words or environment."""
        reference = self.upstream.cluster.replication_password
        if reference:
            line = password_line(self.upstream.cluster.replication_user, self._secrets(reference))
            self.standby.write(self.password_file, line)

    def make_slot(self) -> None:
        name = self.slot
        self.upstream.sql_when_up(
            f"select pg_create_physical_replication_slot('{name}', true)"
            f" where not exists (select from pg_replication_slots where slot_name = '{name}')"
        )

    def drop_slot(self) -> None:
        """A sender that has not noticed yet that its standby is gone is ended first: it holds the slot."""
        mine = f"from pg_replication_slots where slot_name = '{self.slot}'"
        deadline = time.monotonic() + STREAM_SECONDS_MAX
        while self.upstream.sql(f"select count(*) {mine}") != "0":
            if time.monotonic() > deadline:
                raise ReplicaLagging(f"{self.upstream.host.name}: slot {self.slot} is in use and cannot be dropped")
            self.upstream.sql(f"select pg_terminate_backend(active_pid) {mine} and active")
            self.upstream.sql(f"select pg_drop_replication_slot(slot_name) {mine} and not active")
            time.sleep(POLL_SECONDS)

    def settings(self) -> dict[str, str]:
        return {
            "primary_conninfo": self.conninfo(),
            "primary_slot_name": self.slot,
            "recovery_target_timeline": "latest",
        }

    def configure(self, folder: str) -> None:
        """Make `folder` (a data directory) that of a standby of the upstream."""
        transport = self.standby.transport
        text = transport.read_file(f"{folder}/{AUTO_CONF}", user="postgres").decode()
        self.standby.write(f"{folder}/{AUTO_CONF}", with_settings(text, self.settings()))
        self.standby.write(f"{folder}/standby.signal", "")

    def is_configured(self) -> bool:
        return settings_of(self.standby.read(AUTO_CONF)) == self.settings()

    def is_streaming(self) -> bool:
        """The standby receives, and the upstream sends to just this standby."""
        receiving = self.standby.sql_when_up("select count(*) from pg_stat_wal_receiver where status = 'streaming'")
        if receiving != "1":
            return False
        name = self.standby.host.name
        sending = self.upstream.sql_when_up(
            f"select count(*) from pg_stat_replication where application_name = '{name}' and state = 'streaming'"
        )
        return sending != "0"

    def await_streaming(self, timeout_seconds: float = STREAM_SECONDS_MAX) -> bool:
        deadline = time.monotonic() + timeout_seconds
        while not self.is_streaming():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True


def position(cluster: ClusterHost) -> str:
    """How far a cluster's log reaches: written, or replayed where it is a standby itself."""
    return cluster.sql_when_up(
        "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end"
    )


def mark_position(cluster: ClusterHost) -> str:
    """A position that a caught-up standby reaches for certain: the end of a whole record.

    The log of an idle primary may end in the middle of a record and stay so; an empty message, committed, ends that.
    """
    return cluster.sql_when_up(
        "set synchronous_commit = local; select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()"
        " else pg_logical_emit_message(true, 'skerry', '') end"
    )


def measure_lag(upstream: ClusterHost, standby: ClusterHost) -> Lag:
    """How far the standby is behind; seconds by the clocks of one host alone, for clocks of two never agree.

    Seconds are what the upstream sees of a standby that keeps up. Of one that does not, be it cut off, paused or too
    slow, they are what passed since the last commit that it replayed; None where it replayed none since its start.
    """
    ahead = position(upstream)
    row = standby.sql_when_up(
        f"select coalesce({HELD}::text, ''), coalesce(pg_last_wal_replay_lsn()::text, ''),"
        " exists (select from pg_stat_wal_receiver where status = 'streaming')"
    )
    received, replayed, streaming = row.split("|")
    behind = max(0, parse_lsn(ahead) - parse_lsn(replayed)) if replayed else parse_lsn(ahead)
    return Lag(
        bytes_behind=behind,
        seconds_behind=_seconds_behind(upstream, standby, ahead, streaming=streaming == "t") if behind else 0.0,
        received=received,
        replayed=replayed,
        streaming=streaming == "t",
    )


def _seconds_behind(upstream: ClusterHost, standby: ClusterHost, ahead: str, *, streaming: bool) -> float | None:
    keeps_up = f"coalesce(pg_last_wal_replay_lsn() >= '{ahead}', false)"
    commit = "coalesce(extract(epoch from pg_last_xact_replay_timestamp())::text, '')"
    columns = f"{keeps_up}, {commit}"
    row = standby.sql_when_up(_until(keeps_up, columns) if streaming else f"select {columns}")
    kept_up, replayed_at = row.split("|")
    if kept_up == "t":
        lag = upstream.sql_when_up(
            "select coalesce(extract(epoch from max(replay_lag)), 0) from pg_stat_replication"
            f" where application_name = '{standby.host.name}'"
        )
        return float(lag)
    if not replayed_at:
        return None
    # Both times are of the primary's clock: a standby's commits bear the time at which the primary made them.
    now = upstream.sql_when_up(
        f"select case when pg_is_in_recovery() then {commit} else extract(epoch from clock_timestamp())::text end"
    )
    return max(0.0, float(now) - float(replayed_at)) if now else None


def await_caught_up(upstream: ClusterHost, standby: ClusterHost, timeout_seconds: float) -> Lag:
    """The lag after it: nothing of what the upstream had when this was called."""
    wanted = mark_position(upstream)
    row = await_condition(
        standby,
        f"coalesce(pg_last_wal_replay_lsn() >= '{wanted}', false)",
        f"has not replayed {wanted} of {upstream.host.name}",
        timeout_seconds,
        then=f", {HELD}, pg_last_wal_replay_lsn(),"
        " exists (select from pg_stat_wal_receiver where status = 'streaming')",
    )
    _, received, replayed, streaming = row.split("|")
    return Lag(bytes_behind=0, seconds_behind=0.0, received=received, replayed=replayed, streaming=streaming == "t")


def await_condition(standby: ClusterHost, condition: str, what: str, timeout_seconds: float, *, then: str = "") -> str:
    """Until `condition`, an expression, is true there: the row of it, with the columns `then`.

    The server itself looks again; each question has its price.
    """
    statement = _until(condition, condition + then)
    deadline = time.monotonic() + timeout_seconds
    while not (row := standby.sql_when_up(statement)).startswith("t"):
        if time.monotonic() > deadline:
            raise ReplicaLagging(f"{standby.host.name}: {standby.cluster.name} {what} within {timeout_seconds:g} s")
    return row


def _until(condition: str, columns: str) -> str:
    """Select `columns` once `condition` holds, or after some tenths of a second: the server itself looks."""
    return (
        f"do $wait$ begin for try in 1..{_TRIES} loop exit when {condition}; perform pg_sleep(0.002); end loop;"
        f" end $wait$; select {columns}"
    )


def refuse_primary(cluster: ClusterHost, role: Role) -> None:
    if role is Role.PRIMARY:
        raise DataError(
            f"{cluster.host.name}: {cluster.cluster.name} takes writes there; it will not be made a standby",
            hint="Find out which side has the authority; shut the other one down first.",
        )
