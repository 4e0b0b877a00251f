"""Base backups: pulled by the standby beside its data directory, verified against the manifest, then put in place."""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from orchestrator.contracts.bandwidth import Bandwidth
from orchestrator.contracts.progress import Progress, ProgressSink, Rated
from orchestrator.foundation.errors import DataError, HostUnreachable, NoSpace
from orchestrator.movers.limits import may_be_limited
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.limited_line import PORT_PLACE, run_limited
from orchestrator.movers.postgres.standby import Upstream
from orchestrator.movers.postgres.tablespaces import MovedTablespace

BACKUP_SECONDS_MAX = 7 * 24 * 3600.0
_PROGRESS = re.compile(r"^\s*(\d+)/(\d+) kB \(")


def incoming_folder(standby: ClusterHost) -> str:
    data = PurePosixPath(standby.data)
    return str(data.parent / f".skerry-{data.name}-incoming")


def pull_base_backup(
    link: Upstream,
    *,
    bandwidth: Bandwidth,
    spaces: Sequence[MovedTablespace] = (),
    progress: ProgressSink | None,
) -> tuple[str, int]:
    """(folder, bytes) of a base backup that pg_verifybackup has read whole, tablespaces beside their places.

    The slot must exist: the log that the copy needs must not be removed meanwhile. A broken backup is begun anew, for
    PostgreSQL cannot resume one; the data directory is not touched. It keeps to `bandwidth`, also where that changes
    meanwhile.
    """
    standby = link.standby
    folder = incoming_folder(standby)
    for empty in (folder, *(each.incoming for each in spaces)):
        make_empty(standby, empty)
    copied, show = 0, Rated(progress)

    def hear(line: str) -> None:
        nonlocal copied
        found = _PROGRESS.match(line)
        if found:
            copied = int(found[1]) * 1024
            text = f"base backup to {standby.host.name}"
            total = int(found[2]) * 1024
            show(Progress(dataset=standby.cluster.name, text=text, bytes_done=copied, bytes_total=total))

    limited = may_be_limited(bandwidth)
    way = {"hostaddr": "127.0.0.1", "port": PORT_PLACE} if limited else {}
    words = [
        standby.program("pg_basebackup"), "--dbname", link.conninfo(**way), "--no-password", "--pgdata", folder,
        "--wal-method=stream", "--slot", link.slot, "--checkpoint=fast",
        "--manifest-checksums=SHA256", "--progress", "--verbose",
        *(each.mapping for each in spaces),
    ]  # fmt: skip
    if limited:
        there = (link.upstream.host.address, link.upstream.cluster.port)
        done = run_limited(standby, words, there, bandwidth, timeout_seconds=BACKUP_SECONDS_MAX, on_line=hear)
    else:
        done = standby.run(words, timeout_seconds=BACKUP_SECONDS_MAX, check=False, on_line=hear)
    if done.exit_code:
        raise backup_error(standby, done.stderr.decode(errors="replace"))
    verified = standby.run(
        [standby.program("pg_verifybackup"), "--exit-on-error", folder], timeout_seconds=BACKUP_SECONDS_MAX, check=False
    )
    if verified.exit_code:
        said = verified.stderr.decode(errors="replace").strip()
        raise DataError(f"{standby.host.name}: the base backup of {standby.cluster.name} does not verify: {said}")
    return folder, copied


def make_empty(standby: ClusterHost, folder: str) -> None:
    """An empty folder of the server's user; whatever an earlier try left there is removed."""
    # Where a host knows one user id alone, the owner cannot be named and need not be: the server's user owns all.
    script = (
        'mkdir -p "${1%/*}" && rm -rf "$1" &&'
        ' { install -d -m 700 ${2:+-o "$2" -g "$2"} "$1" 2>/dev/null || install -d -m 700 "$1"; }'
    )
    owner = "postgres" if standby.host.become else ""
    standby.transport.run(["sh", "-c", script, "make", folder, owner], user="root")


def backup_error(standby: ClusterHost, said: str) -> DataError | HostUnreachable:
    lines = [line for line in said.splitlines() if "error:" in line] or said.splitlines()[-1:] or ["no word"]
    message = f"base backup of {standby.cluster.name} to {standby.host.name}: {lines[0]}"
    if "No space left on device" in said:
        return NoSpace(message)
    unreachable = ("could not connect to server", "Connection refused", "timeout expired", "server closed",
                   "could not receive data", "No route to host", "connection to server at")  # fmt: skip
    denied = ("no pg_hba.conf entry", "authentication failed", "no password supplied", "does not support SSL",
              "channel binding required", "certificate verify failed")  # fmt: skip
    if any(sign in said for sign in unreachable) and not any(sign in said for sign in denied):
        return HostUnreachable(message)
    return DataError(message)


# The data directory goes first and comes last: a host that stops in between has none, and the copy is begun anew.
_PLACE = """\
set -e
new=$1 data=$2 old=$3; shift 3
if [ -d "$data" ] && [ -z "$(ls -A "$data")" ]; then rmdir "$data"; fi
if [ -e "$data" ]; then rm -rf "$old"; mv "$data" "$old"; fi
while [ $# -gt 0 ]; do
  if [ -d "$3" ] && [ -z "$(ls -A "$3")" ]; then rmdir "$3"; fi
  if [ -e "$3" ]; then rm -rf "$4"; mv "$3" "$4"; fi
  mv "$2" "$3"
  ln -sfn "$3" "$new/pg_tblspc/$1"
  shift 4
done
mv "$new" "$data"
sync -f "$data"
"""


def put_in_place(
    standby: ClusterHost, folder: str, prepare: Callable[[str], None], *, spaces: Sequence[MovedTablespace] = ()
) -> None:
    """Make the verified backup the data directory. What stood there is kept once, beside it, not deleted."""
    prepare(folder)
    data = PurePosixPath(standby.data)
    replaced = str(data.parent / f".skerry-{data.name}-replaced")
    moves = [word for each in spaces for word in (each.oid, each.incoming, each.place, each.replaced)]
    standby.transport.run(
        ["sh", "-c", _PLACE, "place", folder, standby.data, replaced, *moves], user="root", timeout_seconds=600
    )
