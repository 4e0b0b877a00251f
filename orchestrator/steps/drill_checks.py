"""What every drill asks within its bubble beside its data: whether clock, disks and credentials are fit to recover."""

import json
from collections.abc import Iterator
from datetime import timedelta

from orchestrator.contracts.bubbles import ClustersWithin
from orchestrator.contracts.databases import SERVER_USER
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.amounts import size_text
from orchestrator.foundation.clock import Clock
from orchestrator.foundation.errors import DataError
from orchestrator.foundation.limits import MIB
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.names import Name
from orchestrator.model.system import System

CLOCK_SECONDS_MAX = 5.0
READ_SECONDS_MAX = 0.2  # the middle one of some reads; a disk that spins takes a twentieth of it
ROOM_BYTES_MIN = 16 * MIB  # for what is written: a segment of a database's log
LOOK_SECONDS_MAX = 120.0
VERIFY_SECONDS_MAX = 12 * 3600.0

# Reads the beginnings of some files of each folder as from the disk, and tells the middle of the times it took; and how
# much may still be written there.
LOOK = """
import json, os, statistics, sys, time
now, reads, room = time.time(), {}, {}
for top in sys.argv[1:]:
    took, disk = [], os.statvfs(top)
    room[top] = disk.f_bavail * disk.f_frsize
    for place, _, names in os.walk(top):
        for path in (os.path.join(place, name) for name in sorted(names)):
            if len(took) < 8 and os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb", buffering=0) as stream:
                    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    begun = time.monotonic()
                    stream.read(8192)
                    took.append(time.monotonic() - begun)
        if len(took) == 8:
            break
    if took:
        reads[top] = statistics.median(took)
print(json.dumps({"now": now, "reads": reads, "room": room}))
"""


def look_within(inside: Transport, system: System, host: Host, clock: Clock) -> None:
    """DataError where the host's clock is not ours, or where a dataset's disk is too slow or too full to recover on."""
    places = dict(_places(system, host))
    asked = clock.now()
    said = inside.run(["python3", "-c", LOOK, *places], timeout_seconds=LOOK_SECONDS_MAX)
    found = json.loads(said.stdout)
    tolerated = timedelta(seconds=CLOCK_SECONDS_MAX)
    early, late = (asked - tolerated).timestamp(), (clock.now() + tolerated).timestamp()
    if not early <= found["now"] <= late:
        off = found["now"] - asked.timestamp()
        raise DataError(
            f"the clock of {host.name} and the one here differ by {abs(off):.0f} s, so no time of this drill is good",
            hint="Find out which of both is wrong; both should follow the same time servers.",
        )
    full = {places[at]: left for at, left in found["room"].items() if left < ROOM_BYTES_MIN}
    if full:
        told = ", ".join(f"{name}: {size_text(left)} are left" for name, left in full.items())
        raise DataError(f"the disk of {host.name} has no room to recover on: {told}")
    slow = {places[at]: took for at, took in found["reads"].items() if took > READ_SECONDS_MAX}
    if slow:
        told = ", ".join(f"{name}: a read takes {took:.2f} s" for name, took in slow.items())
        raise DataError(f"the disk of {host.name} is too slow to recover on: {told}")


def verify_files(cluster: PostgresCluster, host: Host, inside: Transport) -> None:
    """Every file of the cluster against the manifest that its backup came with, before recovery changes any."""
    words = [f"{cluster.binaries}/pg_verifybackup", "--exit-on-error", "--no-parse-wal"]
    done = inside.run(
        [*words, "--ignore=postgresql.auto.conf", host.path(cluster.data_directory)],
        user=SERVER_USER,
        timeout_seconds=VERIFY_SECONDS_MAX,
        check=False,
    )
    if done.exit_code:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(f"{cluster.name}: {said[-1] if said else 'pg_verifybackup failed'}")


def ask_credential(clusters: ClustersWithin, cluster: PostgresCluster, inside: Transport) -> None:
    """DataError where the credential by which replicas follow the cluster would not do once it is the primary."""
    try:
        clusters.log_in(cluster, inside)
    except DataError as error:
        asked = f"rolname = '{cluster.replication_user}' and rolvaliduntil < now()"
        expired = clusters.sql(cluster, inside, f"select rolvaliduntil from pg_authid where {asked}")  # noqa: S608 a name of the estate
        if not expired:
            raise
        why = f"the password of {cluster.replication_user} expired at {expired}"
        raise DataError(f"{cluster.name}: nothing could follow it from here: {why}") from error


def _places(system: System, host: Host) -> Iterator[tuple[str, Name]]:
    for dataset in system.datasets:
        if isinstance(dataset, FileTree):
            yield host.path(dataset.path), dataset.name
        if isinstance(dataset, PostgresCluster):
            yield host.path(dataset.data_directory), dataset.name
