"""What a tour takes, phase by phase, and what its clients noticed. A lab of its own, in a folder that is removed."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.row import BenchmarkFailed, row

GOAL_SECONDS = 240.0
SECONDS_MAX = 900.0
AGAIN = "make bench BENCH=tour_phases"


def rows() -> list[dict[str, Any]]:
    """One tour as `make tour` runs it, after installation."""
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as home:
        begin = time.perf_counter()
        result = run_tour(Path(home))
        seconds = time.perf_counter() - begin
    whole = row("tour", ours=seconds, unit="s", goal=f"< {GOAL_SECONDS:g} s", met=seconds < GOAL_SECONDS, command=AGAIN)
    phases = [
        row(f"tour: {phase}", ours=took, unit="s", command=AGAIN)
        for phase, took in result.get("phases_seconds", {}).items()
    ]
    systems = [figure for system in result["systems"] for figure in client_rows(system)]
    return [whole, *phases, *systems]


def run_tour(home: Path) -> dict[str, Any]:
    """The last line of `skerry lab tour --json`: the tour's own account of itself."""
    skerry = Path(sys.executable).parent / "skerry"
    environment = {**os.environ, "SKERRY_HOME": str(home)}
    words = [str(skerry), "lab", "tour", "--json"]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchmarkFailed(f"the tour did not end within {SECONDS_MAX:g} s") from error
    finally:
        subprocess.run([str(skerry), "lab", "down"], capture_output=True, env=environment, check=False)
    if ended.returncode:
        last_words = " / ".join((ended.stderr or ended.stdout).strip().splitlines()[-3:])
        raise BenchmarkFailed(f"the tour ended with {ended.returncode}: {last_words}")
    result: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return result


def client_rows(system: dict[str, Any]) -> list[dict[str, Any]]:
    """What clients of one system noticed."""
    name = f"tour: {system['name']} ({system['outcome']})"
    lost = system["lost"]
    objective = system.get("rto_objective_seconds")
    return [
        row(
            f"{name} downtime",
            ours=system["downtime_seconds"],
            peer=objective,
            peer_name="RTO objective" if objective else None,
            unit="s",
            goal=f"<= {objective:g} s" if objective else "",
            met=system["downtime_seconds"] <= objective if objective else None,
            command=AGAIN,
        ),
        row(f"{name} filings lost", ours=lost, unit="filings", goal="0", met=lost == 0, command=AGAIN),
    ]
