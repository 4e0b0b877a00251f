"""Clones: a cluster as it was at one moment, as files beside its data directory; proved by running a copy of them."""

import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.contracts.bubbles import CarriedBack
from orchestrator.contracts.databases import SERVER_USER
from orchestrator.contracts.programs import run_program
from orchestrator.foundation.errors import DataError, DigestMismatch, NoSpace, OrchestratorError
from orchestrator.model.transfer import ClusterCheck
from orchestrator.movers.postgres.cluster_host import STOP_SECONDS_MAX, ClusterHost
from orchestrator.movers.postgres.lsn import parse_lsn

PROGRAM = Path(__file__).parent.parent / "host_programs" / "postgres_clone.py"
CLONE_SECONDS_MAX = 24 * 3600.0
# A write that the point does not have.
TRACE = "create table skerry_drill as select now() as written_at"
SHOWN_SECONDS_MAX = 12 * 3600.0  # how long a clone that was opened waits to be digested


def clone_folder(cluster: ClusterHost, point: str) -> str:
    data = PurePosixPath(cluster.data)
    return str(data.parent / f".skerry-{data.name}-points" / point)


def hold_clone(cluster: ClusterHost, point: str, lsn: str) -> None:
    """Keep the running cluster as it is now; it must stand at `lsn`, paused. Older clones than it keeps are let go."""
    kept = cluster.cluster.clones_kept
    _ask(cluster, "hold", clone=clone_folder(cluster, point), data=cluster.data, lsn=lsn, kept=kept)


def find_clone(cluster: ClusterHost, point: str) -> str | None:
    folder = clone_folder(cluster, point)
    done = cluster.run(["test", "-e", f"{folder}/whole"], check=False)
    return folder if done.exit_code == 0 else None


def prove_clone(
    cluster: ClusterHost, folder: str, *, lsn: str, digest: str, digest_of: Callable[[ClusterHost], str]
) -> ClusterCheck:
    """Open a copy of the clone, replayed to `lsn`, compare its digest, and let PostgreSQL's own checks read all of it.

    Raises DigestMismatch, or DataError with the words of the check that failed. What the host cannot check is said.
    """
    data = PurePosixPath(cluster.data)
    scratch = str(data.parent / f".skerry-{data.name}-proof")
    result, found = _shown(cluster, "prove", digest_of, clone=folder, scratch=scratch, lsn=lsn)
    if found != digest:
        where = f"{cluster.cluster.name} at {lsn}, as {folder} on {cluster.host.name} holds it"
        raise DigestMismatch(f"{where}: {found or 'no digest'}, not {digest}")
    return ClusterCheck(
        dataset=cluster.cluster.name, host=cluster.host.name, lsn=lsn, digest=digest, checks=result["checks"]
    )


def carry_back(cluster: ClusterHost, folder: str, *, digest_of: Callable[[ClusterHost], str]) -> CarriedBack:
    """What the running primary wrote since the moment of the clone in `folder`, carried into that clone by the log.

    Something is written first, so that there is something to carry; the primary is stopped cleanly, as in a failback.
    The clone opens with it, and must give the primary's last digest: DigestMismatch. Clone and primary are changed.
    """
    mark = parse_lsn(cluster.sql("select pg_current_wal_lsn()"))
    cluster.sql(TRACE, database=next(iter(cluster.cluster.databases), "postgres"))
    written = digest_of(cluster)
    words = [cluster.program("pg_ctl"), "-D", cluster.data, "-m", "fast", "-w", "stop"]
    cluster.run(words, timeout_seconds=STOP_SECONDS_MAX)
    end = parse_lsn(cluster.control()["Latest checkpoint location"])
    started = time.monotonic()
    _, found = _shown(cluster, "carry", digest_of, clone=folder, written=cluster.data)
    if found != written:
        raise DigestMismatch(
            f"{cluster.cluster.name}: what was written on {cluster.host.name} is {written}, and {found or 'nothing'} "
            f"once it is carried back"
        )
    seconds = round(time.monotonic() - started, 3)
    return CarriedBack(dataset=cluster.cluster.name, digest=written, bytes_carried=end - mark, seconds=seconds)


def _shown(
    cluster: ClusterHost, do: str, digest_of: Callable[[ClusterHost], str], **more: Any
) -> tuple[dict[str, Any], str]:
    """What came of it, and the digest of the clone while it was open; "" where it never was."""
    found: list[str] = []
    failed: list[OrchestratorError] = []

    def hear(kind: str, value: dict[str, Any]) -> None:
        if kind != "open":
            return
        try:
            found.append(digest_of(cluster.beside(value["data"])))
        except OrchestratorError as error:
            failed.append(error)
        finally:
            cluster.transport.run(["touch", value["release"]], user=SERVER_USER, check=False)

    result = _ask(cluster, do, hear, limit_seconds=SHOWN_SECONDS_MAX, **more)
    if failed:
        raise failed[0]
    return result, "".join(found)


def _ask(
    cluster: ClusterHost, do: str, on_event: Callable[[str, dict[str, Any]], None] | None = None, **more: Any
) -> dict[str, Any]:
    request = {"do": do, "binaries": cluster.binaries, **more}
    result = run_program(
        cluster.transport, PROGRAM, request, user=SERVER_USER, timeout_seconds=CLONE_SECONDS_MAX, on_event=on_event
    )
    if "failed" in result:
        kind = NoSpace if result.get("no_space") or "No space left on device" in result["failed"] else DataError
        raise kind(f"{cluster.host.name}: the clone of {cluster.cluster.name}: {result['failed']}")
    return result
