"""One base backup of a cluster at a host at a time: a second one would write among the files of the first."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from orchestrator.contracts.databases import SERVER_USER
from orchestrator.contracts.joined_program import with_libraries
from orchestrator.contracts.kept_program import KeptProgram
from orchestrator.foundation.errors import CommandFailed, RunInProgress
from orchestrator.movers.postgres.cluster_host import ClusterHost

_PROGRAMS = Path(__file__).parent.parent / "host_programs"
HELD_SECONDS_MAX = 8 * 24 * 3600.0  # longer than any base backup may take


@contextmanager
def alone_at(standby: ClusterHost) -> Iterator[None]:
    """Nobody else, from no machine, makes this standby meanwhile; RunInProgress where somebody does.

    The host gives it back when our connection ends, however that comes.
    """
    data = PurePosixPath(standby.data)
    text = with_libraries(_PROGRAMS / "cluster_lock.py", _PROGRAMS / "answering.py")
    request = {"file": str(data.parent / f".skerry-{data.name}.lock")}
    lock = KeptProgram(standby.transport, text, request, user=SERVER_USER, seconds_max=HELD_SECONDS_MAX)
    try:
        lock.open()
    except CommandFailed as error:
        if not error.message.endswith(": busy"):
            raise
        raise RunInProgress(
            f"{standby.cluster.name} is being copied to {standby.host.name} by another run",
            hint="Wait for it to end, then run the same command again.",
        ) from error
    try:
        yield
    finally:
        if lock.alive:
            lock.ask({"do": "give back"})
        lock.close()
