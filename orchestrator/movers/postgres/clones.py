"""Clones: a cluster as it was at one moment, as files beside its data directory; proved by running a copy of them."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.contracts.programs import run_program
from orchestrator.foundation.errors import DataError, DigestMismatch, NoSpace, OrchestratorError
from orchestrator.model.transfer import ClusterCheck
from orchestrator.movers.postgres.cluster_host import SERVER_USER, ClusterHost

PROGRAM = Path(__file__).parent.parent / "host_programs" / "postgres_clone.py"
CLONE_SECONDS_MAX = 24 * 3600.0
SHOWN_SECONDS_MAX = 12 * 3600.0  # how long a clone that was opened waits to be digested


def clone_folder(cluster: ClusterHost, point: str) -> str:
    data = PurePosixPath(cluster.data)
    return str(data.parent / f".skerry-{data.name}-points" / point)


def hold_clone(cluster: ClusterHost, point: str, lsn: str) -> None:
    """Keep the running cluster as it is now; it must stand at `lsn`, paused. Clones of earlier points are let go."""
    _ask(cluster, "hold", clone=clone_folder(cluster, point), data=cluster.data, lsn=lsn)


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

    data = PurePosixPath(cluster.data)
    scratch = str(data.parent / f".skerry-{data.name}-proof")
    result = _ask(cluster, "prove", hear, clone=folder, scratch=scratch, lsn=lsn, limit_seconds=SHOWN_SECONDS_MAX)
    if failed:
        raise failed[0]
    where = f"{cluster.cluster.name} at {lsn}, as {folder} on {cluster.host.name} holds it"
    if found != [digest]:
        raise DigestMismatch(f"{where}: {', '.join(found) or 'no digest'}, not {digest}")
    return ClusterCheck(
        dataset=cluster.cluster.name, host=cluster.host.name, lsn=lsn, digest=digest, checks=result["checks"]
    )


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
