"""Rewinding an old primary: what it wrote after the histories parted is taken back, so that it can follow."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.foundation.errors import DataError
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.standby import Upstream

REWIND_SECONDS_MAX = 3600.0
_READING = (
    "pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)", "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)  # fmt: skip


def rewind(link: Upstream, lost_bytes: int, *, allowed: bool) -> None:
    """Bring the stopped cluster of `link.standby` back to where the upstream's history left its own.

    Writes are lost, so it must be asked for. Raises DataError where it is not, and where it cannot be done.
    """
    old, name = link.standby, link.standby.cluster.name
    if not allowed:
        raise DataError(
            f"{old.host.name}: {name} holds {lost_bytes} bytes of log that {link.upstream.host.name} never received",
            hint="These writes exist nowhere else. Save them, or have their loss accepted, before it is rewound.",
        )
    control = old.control()
    if control["Data page checksum version"] == "0" and control["wal_log_hints setting"] != "on":
        raise DataError(
            f"{old.host.name}: {name} cannot be rewound: it has neither data checksums nor wal_log_hints",
            hint="Make a new standby of it; before the next switch, turn wal_log_hints on.",
        )
    link.put_password()
    source = link.conninfo(dbname="postgres")
    words = [old.program("pg_rewind"), "-D", old.data, "--source-server", source, "--no-ensure-shutdown"]
    with _may_read_files(link.upstream):
        link.upstream.sql("checkpoint")
        done = old.run(words, timeout_seconds=REWIND_SECONDS_MAX, check=False)
    if done.exit_code:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise DataError(
            f"{old.host.name}: {name} cannot be rewound: {' '.join(said)}", hint="Make a new standby of it."
        )


@contextmanager
def _may_read_files(upstream: ClusterHost) -> Iterator[None]:
    """Let the replication user read the server's files meanwhile; what it was allowed before, it keeps."""
    user = upstream.cluster.replication_user
    lacking = [
        each
        for each in _READING
        if upstream.sql(f"select has_function_privilege('{user}', 'pg_catalog.{each}', 'execute')") == "f"
    ]
    upstream.sql("".join(f'grant execute on function pg_catalog.{each} to "{user}";' for each in lacking))
    try:
        yield
    finally:
        upstream.sql("".join(f'revoke execute on function pg_catalog.{each} from "{user}";' for each in lacking))
