"""One measured figure, beside what others need for the same."""

import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any


class BenchmarkFailed(Exception):
    """What was to be measured did not work; the message holds its last words."""


def row(
    name: str,
    *,
    ours: float,
    unit: str,
    command: str,
    peer: float | None = None,
    peer_name: str | None = None,
    goal: str = "",
    met: bool | None = None,
) -> dict[str, Any]:
    """A row of results.json.

    `ratio` is ours over peer, in `unit`; `goal` says in words what would be good, `met` whether it is so; both are
    empty where there is only something to know.
    """
    return {
        "name": name,
        "ours": round(ours, 6),
        "peer": None if peer is None else round(peer, 6),
        "peer_name": peer_name,
        "unit": unit,
        "ratio": None if not peer else round(ours / peer, 4),
        "goal": goal,
        "met": met,
        "command": command,
    }


def below(name: str, ours: float, unit: str, limit: float, *, command: str) -> dict[str, Any]:
    """A row whose goal is to stay below a limit."""
    return row(name, ours=ours, unit=unit, goal=f"below {limit:g} {unit}", met=ours < limit, command=command)


def median_seconds(words: Sequence[str], *, rounds: int, environment: Mapping[str, str] | None = None) -> float:
    """The median wall time of a command that must succeed, after one round that warms caches."""
    seconds = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        ended = subprocess.run(list(words), capture_output=True, env=environment, check=False)
        seconds.append(time.perf_counter() - begin)
        if ended.returncode:
            said = ended.stderr.decode(errors="replace").strip().splitlines()[-3:]
            raise BenchmarkFailed(f"{' '.join(words)} ended with {ended.returncode}: {' / '.join(said)}")
    return statistics.median(seconds[1:])
