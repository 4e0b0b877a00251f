"""Logging in to a cluster as a standby would: by its replication user's password, over the network."""

from collections.abc import Callable

from orchestrator.foundation.errors import DataError
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.configuration import password_line

# The password comes by stdin and lies in a file of the server's user while it is needed.
_LOGIN = (
    'umask 077; file=$(mktemp) && cat >"$file" && PGPASSFILE="$file" "$1/psql" -XAtqw'
    ' "host=$2 port=$3 user=$4 dbname=postgres connect_timeout=10" -c "select 1" >/dev/null;'
    ' code=$?; rm -f "$file"; exit "$code"'
)


def log_in(at: ClusterHost, secrets: Callable[[str], str]) -> None:
    """DataError with the server's words where it lets nobody in. Does nothing where the estate names no password."""
    cluster = at.cluster
    if cluster.replication_password is None:
        return
    line = password_line(cluster.replication_user, secrets(cluster.replication_password))
    words = ["sh", "-c", _LOGIN, "login", at.binaries, at.host.address, str(cluster.port), cluster.replication_user]
    done = at.run(words, stdin=line.encode(), check=False)
    if done.exit_code:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else f"psql ended with {done.exit_code}"
        raise DataError(f"{cluster.name}: {cluster.replication_user} cannot log in: {why}")
