"""Planning waves of 10 000 systems with dependencies: proposing them, judging the file, compiling every wave's plan.

Measured in a process of its own: `python -m benchmarks.planning` prints the figures as JSON.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.row import BenchmarkFailed, row
from orchestrator.foundation.written_file import Finding
from orchestrator.planning.bound_groups import bonds_of
from orchestrator.planning.compile import compile_plan
from orchestrator.planning.runbook import parse_runbook
from orchestrator.planning.wave_file import parse_wave_file
from orchestrator.planning.wave_proposal import propose_waves
from orchestrator.planning.waves import judge_waves
from tests.fakes.large_estate import an_estate
from tests.fakes.surveys import healthy

SYSTEMS = 10_000
SYSTEMS_PER_WAVE = 100
GOAL_SECONDS = 10.0
RUNBOOK = Path(__file__).resolve().parents[1] / "runbooks" / "migrate.yml"


def measure() -> dict[str, float]:
    """Seconds of each part. Reading the estate's own files is no part of it."""
    estate = an_estate(SYSTEMS)
    facts = healthy(estate)
    runbook = parse_runbook(RUNBOOK.read_bytes(), RUNBOOK.name)
    began = time.perf_counter()
    bonds = bonds_of(estate)
    proposed = propose_waves(estate, bonds, systems_max=SYSTEMS_PER_WAVE)
    at_proposed = time.perf_counter()
    text = "waves:\n  order:\n" + "".join(
        f"    - {{wave: w-{number}, systems: [{', '.join(names)}]}}\n" for number, names in enumerate(proposed)
    )
    findings: list[Finding] = []
    file = parse_wave_file(text.encode(), "waves.yml", findings)
    program = judge_waves(file, estate, findings) if file is not None else None
    if program is None or program.warnings:
        raise BenchmarkFailed(f"the proposal was refused: {findings[:1]}")
    at_judged = time.perf_counter()
    digests = set()
    for wave in program.waves:
        plan = compile_plan(
            runbook,
            estate,
            facts,
            systems=wave.systems,
            wave=wave.name,
            author="ben",
            closure={"runbooks/migrate.yml": runbook.digest},
            terms=wave.terms,
        )
        digests.add(plan.digest)
    ended = time.perf_counter()
    if len(digests) != len(proposed):
        raise BenchmarkFailed(f"{len(proposed)} waves gave {len(digests)} plans")
    return {
        "proposed": at_proposed - began,
        "judged": at_judged - at_proposed,
        "compiled": ended - at_judged,
        "whole": ended - began,
    }


def rows() -> list[dict[str, Any]]:
    words = [sys.executable, "-m", "benchmarks.planning"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise BenchmarkFailed(str(ended.stderr.strip().splitlines()[-1:]))
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    again = "make bench BENCH=planning"
    name = f"planning {SYSTEMS} systems into waves of {SYSTEMS_PER_WAVE}"
    parts = {"proposed": "waves proposed", "judged": "file judged", "compiled": "plans compiled, digests made"}
    return [
        row(
            f"{name}, with dependencies",
            ours=figures["whole"],
            unit="s",
            goal=f"under {GOAL_SECONDS:g}",
            met=figures["whole"] < GOAL_SECONDS,
            command=again,
        ),
        *(row(f"{name}: {words}", ours=figures[key], unit="s", command=again) for key, words in parts.items()),
    ]


if __name__ == "__main__":
    print(json.dumps(measure()))
