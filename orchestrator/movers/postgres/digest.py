"""Digests of clusters, and moments: held at a primary, reached again by a standby."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.contracts.databases import SERVER_USER, Role
from orchestrator.contracts.programs import run_program
from orchestrator.foundation.errors import DataError, OrchestratorError, ReplicaLagging
from orchestrator.model.transfer import ContentDigest
from orchestrator.movers.postgres.clones import hold_clone
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.configuration import settings_of, with_settings
from orchestrator.movers.postgres.lsn import format_lsn, parse_lsn
from orchestrator.movers.postgres.standby import AUTO_CONF, POLL_SECONDS

PROGRAM = Path(__file__).parent.parent / "host_programs" / "postgres_digest.py"
DIGEST_SECONDS_MAX = 24 * 3600.0
# A server that is told to resume while it waits at a target ends its recovery and takes writes. What counts is the
# target in force: an earlier life may have ended after it took the target out of the file, before the restart.
_IN_FORCE = ", ".join(f"current_setting('recovery_target{kind}')" for kind in ("", "_lsn", "_name", "_time", "_xid"))
_UNLESS_AT_TARGET = f"select case when concat({_IN_FORCE}) <> '' then 'target' "
_PAUSE = f"{_UNLESS_AT_TARGET} else pg_wal_replay_pause()::text end"
_RESUME = f"{_UNLESS_AT_TARGET} when pg_is_wal_replay_paused() then pg_wal_replay_resume()::text end"


def ask(
    cluster: ClusterHost, on_event: Callable[[str, dict[str, Any]], None] | None = None, **more: Any
) -> dict[str, Any]:
    request = {
        "data": cluster.data,
        "binaries": cluster.binaries,
        "databases": list(cluster.cluster.databases),
        **more,
    }
    result = run_program(
        cluster.transport,
        PROGRAM,
        request,
        user=SERVER_USER,
        timeout_seconds=DIGEST_SECONDS_MAX,
        on_event=on_event,
    )
    where = f"{cluster.host.name}: {cluster.cluster.name}"
    if "failed" in result:
        raise DataError(f"{where} cannot be digested: {result['failed']}")
    if result.get("unsettled"):
        raise DataError(
            f"{where} would not hold still for a moment: transactions outside of its tables went on in every attempt",
            hint="Stop what changes schemas or draws sequences, then run the same command again.",
        )
    return result


def content_digest(cluster: ClusterHost, result: dict[str, Any]) -> ContentDigest:
    return ContentDigest(
        dataset=cluster.cluster.name,
        host=cluster.host.name,
        digest=result["digest"],
        algorithm="postgresql/v1",
        bytes_read=result["bytes"],
        entries=result["entries"],
        seconds=result["seconds"],
    )


def cluster_digest(cluster: ClusterHost) -> ContentDigest:
    made = cluster.ready.digest() if cluster.ready is not None else None
    return content_digest(cluster, made or ask(cluster))


def hold_moment(
    cluster: ClusterHost, name: str, *, seconds_max: float, named: Callable[[str], None] | None = None
) -> tuple[str, str]:
    if cluster.role() is not Role.PRIMARY:
        raise DataError(f"{cluster.host.name}: {cluster.cluster.name} is no primary; only a primary can name a moment")
    refused: list[OrchestratorError] = []

    def hear(kind: str, value: dict[str, Any]) -> None:
        if kind != "moment" or named is None:
            return
        try:
            named(str(value["lsn"]))
        except OrchestratorError as error:
            refused.append(error)
        finally:
            # Writers go on whatever came of it; without this word they would wait until the limit.
            cluster.transport.run(["touch", str(value["release"])], user=SERVER_USER, check=False)

    result = ask(cluster, hear, name=name, seconds_max=seconds_max, await_release=named is not None)
    if refused:
        raise refused[0]
    return str(result["lsn"]), str(result["digest"])


def pause_replay(standby: ClusterHost) -> None:
    """Keep receiving, stop replaying, so that a moment yet to come is not run past."""
    role = standby.role()
    if role is Role.STOPPED and _has_standby_signal(standby):
        # The digest of an earlier moment was cut off while it restarted the standby.
        _forget_target(standby)
        role = standby.restart_standby()
    if role is not Role.STANDBY:
        raise DataError(f"{standby.host.name}: {standby.cluster.name} is no standby")
    if standby.sql(_PAUSE) == "target":
        # The digest of an earlier moment was cut off while it waited there; nothing more would be received.
        stream_on(standby)
        standby.sql_when_up(_PAUSE)


def _has_standby_signal(standby: ClusterHost) -> bool:
    words = ["test", "-e", f"{standby.data}/standby.signal"]
    return standby.transport.run(words, user=SERVER_USER, check=False).exit_code == 0


def digest_at(standby: ClusterHost, lsn: str, *, timeout_seconds: float, keep_as: str | None = None) -> ContentDigest:
    """Replay to just that position, digest, stream on. Whatever happens, the standby is left streaming.

    With `keep_as` a clone of that name is held before it goes on.
    """
    wanted = parse_lsn(lsn)
    if standby.role() is not Role.STANDBY:
        raise DataError(f"{standby.host.name}: {standby.cluster.name} is no standby")
    deadline = time.monotonic() + timeout_seconds
    try:
        replayed = replay_position(standby)
        if replayed < wanted:
            # The record must be here before the restart, or the wait below could not be told from a hang.
            await_received(standby, wanted, deadline)
            stop_at(standby, lsn)
            while (replayed := replay_position(standby)) < wanted:
                if time.monotonic() > deadline:
                    raise ReplicaLagging(f"{where(standby)} has not replayed {lsn} within {timeout_seconds:g} s")
                time.sleep(POLL_SECONDS)
        if replayed != wanted:
            raise DataError(
                f"{where(standby)} is at {format_lsn(replayed)}, past the moment at {lsn}",
                hint="Prepare the moment at the standby before it is held at the primary.",
            )
        result = ask(standby)
        if parse_lsn(result["lsn"]) != wanted:
            raise DataError(f"{where(standby)} went on to {result['lsn']} while it was digested at {lsn}")
        if keep_as is not None:
            hold_clone(standby, keep_as, lsn)
        return content_digest(standby, result)
    finally:
        stream_on(standby)


def where(standby: ClusterHost) -> str:
    return f"{standby.host.name}: {standby.cluster.name}"


def replay_position(standby: ClusterHost) -> int:
    return parse_lsn(standby.sql_when_up("select coalesce(pg_last_wal_replay_lsn(), '0/0')"))


def await_received(standby: ClusterHost, wanted: int, deadline: float) -> None:
    statement = "select coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')"
    while parse_lsn(standby.sql_when_up(statement)) < wanted:
        if time.monotonic() > deadline:
            raise ReplicaLagging(f"{where(standby)} has not received {format_lsn(wanted)} in time")
        time.sleep(POLL_SECONDS)


def stop_at(standby: ClusterHost, lsn: str) -> None:
    """Restart the standby so that its replay ends before the first record at or after `lsn`: just after the moment."""
    text = standby.read(AUTO_CONF)
    target = {
        **settings_of(text),
        "recovery_target_lsn": lsn,
        "recovery_target_inclusive": "off",
        # `pause` leaves it a standby; resuming would end recovery, so it is restarted without a target instead.
        "recovery_target_action": "pause",
    }
    standby.write(f"{standby.data}/{AUTO_CONF}", with_settings(text, target))
    standby.restart_standby()


def stream_on(standby: ClusterHost) -> None:
    """Take away the target, if there is one, and let replay go on."""
    if _forget_target(standby) or standby.sql_when_up(_RESUME) == "target":
        standby.restart_standby()


def _forget_target(standby: ClusterHost) -> bool:
    """Whether there was one. It is in force until the next restart."""
    text = standby.read(AUTO_CONF)
    settings = settings_of(text)
    targets = ("recovery_target_lsn", "recovery_target_inclusive", "recovery_target_action")
    if not any(name in settings for name in targets):
        return False
    kept = {name: value for name, value in settings.items() if name not in targets}
    standby.write(f"{standby.data}/{AUTO_CONF}", with_settings(text, kept))
    return True


def differences(one: ClusterHost, other: ClusterHost) -> list[str]:
    """Parts that are not equal, with the hosts; empty when all are."""
    sides = [
        {(database, part): digest for database, part, digest in ask(cluster, parts=True)["parts"]}
        for cluster in (one, other)
    ]
    found = []
    for database, part in sorted(sides[0].keys() | sides[1].keys()):
        left, right = (side.get((database, part)) for side in sides)
        if left == right:
            continue
        name = f"{database}: {part}" if database else part
        if left is None or right is None:
            found.append(f"{name}: only at {(one if right is None else other).host.name}")
        else:
            found.append(f"{name}: content differs")
    return found
