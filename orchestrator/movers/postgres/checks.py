"""What PostgreSQL's own checks say of a cluster that runs, primary or standby: every page, and indexes by amcheck."""

from orchestrator.contracts.databases import Role
from orchestrator.contracts.transport import CommandResult
from orchestrator.foundation.errors import CommandFailed, DataError
from orchestrator.movers.postgres.cluster_host import ClusterHost

CHECK_SECONDS_MAX = 24 * 3600.0
CORRUPTION_FOUND = 2  # exit code of pg_amcheck
# Where the server listens is asked of itself.
_PROGRAM = (
    'pid="$1/postmaster.pid" program="$2/$3"; shift 3; [ -x "$program" ] || exit 127;'
    ' export PGHOST="$(sed -n 5p "$pid" | cut -d, -f1)" PGPORT="$(sed -n 4p "$pid")" PGUSER=postgres;'
    ' exec "$program" "$@"'
)


def check_running(cluster: ClusterHost) -> dict[str, str]:
    """By check, `passed: …` or `not shown: why`. DataError, in the check's own words, where one finds something."""
    if cluster.role() not in (Role.PRIMARY, Role.STANDBY):
        raise CommandFailed(f"{cluster.host.name}: {cluster.cluster.name} does not run")
    return {"pages": _pages(cluster), "amcheck": _indexes(cluster)}


def _pages(cluster: ClusterHost) -> str:
    """pg_checksums wants a stopped server. One that runs reads every page, with its checksum, for a base backup; this
    one is thrown away by the server itself.
    """
    if cluster.sql("show data_checksums") != "on":
        return "not shown: the cluster has no data checksums"
    done = _run(
        cluster, "pg_basebackup", "--target=blackhole", "--wal-method=none", "--checkpoint=fast", "--no-password"
    )
    said = done.stderr.decode(errors="replace")
    if done.exit_code == 0:
        return "passed: every page"
    if "checksum" in said:
        raise DataError(f"{cluster.host.name}: {cluster.cluster.name}: {_first(said, 'checksum')}")
    if "--target" in said:
        return "not shown: a PostgreSQL before 15 reads pages for nobody while it runs"
    raise CommandFailed(f"{cluster.host.name}: pages of {cluster.cluster.name}: {_first(said, 'error')}")


def _indexes(cluster: ClusterHost) -> str:
    names = cluster.sql("select datname from pg_database where datallowconn and datname <> 'template0'").splitlines()
    question = "select 1 from pg_extension where extname = 'amcheck'"
    ready = [name for name in names if cluster.sql(question, database=name)]
    for name in ready:
        done = _run(cluster, "pg_amcheck", "--no-password", "--heapallindexed", "--database", name)
        said = (done.stdout + done.stderr).decode(errors="replace")
        if done.exit_code == CORRUPTION_FOUND:
            raise DataError(f"{cluster.host.name}: {cluster.cluster.name}: {_first(said, name)}")
        if done.exit_code:
            raise CommandFailed(f"{cluster.host.name}: pg_amcheck of {name}: {_first(said, 'error')}")
    if not ready:
        return "not shown: no database has the extension amcheck"
    return f"passed: every index of {', '.join(ready)} holds what its table holds"


def _run(cluster: ClusterHost, program: str, *words: str) -> CommandResult:
    asked = ["sh", "-c", _PROGRAM, "check", cluster.data, cluster.binaries, program, *words]
    return cluster.run(asked, timeout_seconds=CHECK_SECONDS_MAX, check=False)


def _first(said: str, word: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if word in line), lines[-1] if lines else "it ended without a word")
