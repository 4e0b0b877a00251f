"""The two deeds of a switch while clients wait: a clean end of the old primary, and the promotion of its standby.

Each is one command on the host; asked step by step from here they would cost a connection's turn for every question.
"""

import time
from pathlib import Path

from orchestrator.contracts.authority import Order
from orchestrator.contracts.databases import Role
from orchestrator.contracts.programs import run_program
from orchestrator.foundation.errors import DataError, ReplicaLagging
from orchestrator.movers.postgres.cluster_host import STOP_SECONDS_MAX, ClusterHost
from orchestrator.movers.postgres.lsn import format_lsn, parse_lsn
from orchestrator.movers.postgres.standby import HELD

STOP_PROGRAM = Path(__file__).parent.parent / "host_programs" / "postgres_stop.py"
PROMOTE_SECONDS_MAX = 60.0
_CLEAN = ("shut down", "shut down in recovery")
# One command for all of it. Strictly beyond the mark: a record begins at its position, so having received up to there
# is not having it. The look for it is short, or its snapshot would be held against the replay. The server is asked
# every few milliseconds by itself; its own waiting for the end of a promotion takes tenths.
_PROMOTE = """\
do $wait$
begin
  for try in 1..100 loop
    exit when {ready};
    perform pg_sleep(0.002);
  end loop;
end
$wait$;
select {ready} as ready \\gset
\\if :ready
select pg_promote(wait => false) where pg_is_in_recovery();
do $wait$
begin
  for try in 1..{tries} loop
    exit when not pg_is_in_recovery();
    perform pg_sleep(0.003);
  end loop;
end
$wait$;
begin read write; select pg_current_xact_id(); commit;
select case when pg_is_in_recovery() then 'standby' else 'primary' end;
\\else
select 'lagging';
\\endif
"""


def shut_down(cluster: ClusterHost) -> str:
    """Stop cleanly, server and unit; the LSN of the shutdown checkpoint. Of a stopped cluster the same LSN."""
    name, host = cluster.cluster.name, cluster.host.name
    request = {
        "data": cluster.data,
        "binaries": cluster.binaries,
        "service": cluster.cluster.service,
        "seconds": STOP_SECONDS_MAX,
    }
    seconds = 2 * STOP_SECONDS_MAX + 10
    answer = run_program(cluster.transport, STOP_PROGRAM, request, user="root", timeout_seconds=seconds)
    if answer.get("missing"):
        raise DataError(f"{host}: {name} has no data directory at {cluster.data}")
    if answer.get("running"):
        raise DataError(f"{host}: {name} did not stop within {STOP_SECONDS_MAX:g} s")
    if answer["state"] not in _CLEAN:
        raise DataError(
            f"{host}: {name} was not stopped cleanly (its state is: {answer['state']})",
            hint="Start it and stop it again, or make a new standby of it.",
        )
    return str(answer["checkpoint"])


def promote(cluster: ClusterHost, holding: str, timeout_seconds: float, *, order: Order | None = None) -> None:
    """Returns when the cluster takes writes; on a primary it changes nothing.

    A standby that does not hold the record at `holding` within the time stays one: ReplicaLagging. So does one whose
    host obeyed a newer order than `order`: AuthorityError.
    """
    held = f"coalesce({HELD} > '{format_lsn(parse_lsn(holding))}', false)" if holding else "true"
    ready = f"(not pg_is_in_recovery() or {held})"
    statement = _PROMOTE.format(ready=ready, tries=int(PROMOTE_SECONDS_MAX / 0.003))
    deadline = time.monotonic() + timeout_seconds
    try:
        while cluster.sql(statement, timeout_seconds=PROMOTE_SECONDS_MAX + 5, order=order).endswith("lagging"):
            if time.monotonic() > deadline:
                raise ReplicaLagging(
                    f"{cluster.host.name}: {cluster.cluster.name} has not received the record at {holding} within "
                    f"{timeout_seconds:g} s"
                )
    except ReplicaLagging:
        raise
    except DataError as error:
        role = cluster.role()
        if role in (Role.STANDBY, Role.PRIMARY):
            raise
        raise DataError(
            f"{cluster.host.name}: {cluster.cluster.name} is {role.value} and cannot be promoted"
        ) from error
