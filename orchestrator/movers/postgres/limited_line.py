"""Base backups under windows of bandwidth: run through a program of the standby's host whose limit we change."""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from orchestrator.contracts.bandwidth import Bandwidth
from orchestrator.contracts.programs import PYTHON_WORDS, program_text
from orchestrator.contracts.transport import CommandResult
from orchestrator.foundation.errors import HostError
from orchestrator.movers.postgres.cluster_host import ClusterHost

PROGRAM = Path(__file__).parent.parent / "host_programs" / "postgres_line.py"
LOOK_SECONDS_MAX = 5.0
PORT_PLACE = "{port}"  # in the words: the port of loopback through which the limited program reaches its upstream


def may_be_limited(bandwidth: Bandwidth) -> bool:
    """Whether a limit holds now, or may hold before a long copy has ended."""
    now = bandwidth()
    return now.bytes_per_second is not None or now.seconds_left is not None


def run_limited(
    standby: ClusterHost,
    words: Sequence[str],
    upstream: tuple[str, int],
    bandwidth: Bandwidth,
    *,
    timeout_seconds: float,
    on_line: Callable[[str], None],
) -> CommandResult:
    """Run `words` there; what it receives from `upstream` keeps, at every moment, to what the hour allows."""
    data = PurePosixPath(standby.data)
    file = str(data.parent / f".skerry-{data.name}-limit")
    present = _put(standby, file, bandwidth)
    ended = threading.Event()

    def follow() -> None:
        known = present
        while not ended.wait(min(LOOK_SECONDS_MAX, bandwidth().seconds_left or LOOK_SECONDS_MAX)):
            if (bandwidth().bytes_per_second or 0) != known:
                try:
                    known = _put(standby, file, bandwidth)
                except HostError:
                    continue  # tried again at the next look; a host that stays away ends the command itself

    follower = threading.Thread(target=follow, name=f"limit-{standby.host.name}", daemon=True)
    follower.start()
    request = {"words": list(words), "upstream": list(upstream), "limit_file": file}
    try:
        return standby.run(
            [*PYTHON_WORDS, json.dumps(request)],
            stdin=program_text(PROGRAM),
            timeout_seconds=timeout_seconds,
            check=False,
            on_line=on_line,
        )
    finally:
        ended.set()
        follower.join()
        standby.run(["rm", "-f", "--", file], check=False)


def _put(standby: ClusterHost, file: str, bandwidth: Bandwidth) -> int:
    limit = bandwidth().bytes_per_second or 0
    standby.write(file, str(limit))
    return limit
