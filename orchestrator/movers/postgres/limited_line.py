"""Base backups under windows of bandwidth: run through a program of the standby's host whose limit we change."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from orchestrator.contracts.bandwidth import Bandwidth
from orchestrator.contracts.databases import SERVER_USER
from orchestrator.contracts.programs import PYTHON_WORDS, program_text
from orchestrator.contracts.transport import CommandResult
from orchestrator.movers.limits import limit_kept_at
from orchestrator.movers.postgres.cluster_host import ClusterHost

PROGRAM = Path(__file__).parent.parent / "host_programs" / "postgres_line.py"
PORT_PLACE = "{port}"  # in the words: the port of loopback through which the limited program reaches its upstream


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
    request = {"words": list(words), "upstream": list(upstream), "limit_file": file}
    with limit_kept_at(standby.transport, file, bandwidth, user=SERVER_USER):
        return standby.run(
            [*PYTHON_WORDS, json.dumps(request)],
            stdin=program_text(PROGRAM),
            timeout_seconds=timeout_seconds,
            check=False,
            on_line=on_line,
        )
