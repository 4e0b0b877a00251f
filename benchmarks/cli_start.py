"""How long `skerry --help` takes, beside Python itself and beside the command line that operators know best."""

import sys
from pathlib import Path
from typing import Any

from benchmarks.row import median_seconds, row

ROUNDS = 20
GOAL_SECONDS = 0.3


def rows() -> list[dict[str, Any]]:
    """Wall time, median of twenty."""
    commands = Path(sys.executable).parent
    ours = median_seconds([str(commands / "skerry"), "--help"], rounds=ROUNDS)
    bare = median_seconds([sys.executable, "-c", "pass"], rounds=ROUNDS)
    ansible = median_seconds([str(commands / "ansible"), "--version"], rounds=5)
    again = "make bench BENCH=cli_start"
    return [
        row(
            "skerry --help",
            ours=ours,
            peer=ansible,
            peer_name="ansible --version",
            unit="s",
            goal=f"< {GOAL_SECONDS} s",
            met=ours < GOAL_SECONDS,
            command=again,
        ),
        row("skerry --help, bare Python", ours=ours, peer=bare, peer_name="python -c pass", unit="s", command=again),
    ]
