"""What clients notice of planned cutovers, out and back, while they go on filing; and the same with 20 times the data.

The cutovers are those of runbooks/cutover.yml: out, then back by the same runbook with the sides changed round, each
the whole way to its commit and to the replication that goes on after it. An outage is the longest time in which no
client was told that its filing is durable. The clients' name has a TTL of 0 in the lab's estate; where names live
longer, clients wait up to so much longer.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.row import BenchmarkFailed, row
from orchestrator.contracts.engine import RunStatus
from orchestrator.foundation.places import shipped_folder
from orchestrator.lab import estate_town
from orchestrator.lab.demo import town_plan
from orchestrator.lab.town import Town
from orchestrator.model.plan import Plan
from orchestrator.operations.desk import Desk, open_desk
from orchestrator.operations.survey import newest_facts, survey_estate
from orchestrator.planning.runbook import Scalar

SYSTEM = "filing"
FILINGS, TIMES = 1000, 20
CUTOVERS, CUTOVERS_LARGE = 20, 10
GOAL_MEDIAN_SECONDS, GOAL_P95_SECONDS, GOAL_RATIO = 1.0, 2.0, 1.2
SETTLE_SECONDS = 2.0  # before and after each, so that a gap has two ends within what is looked at
SECONDS_MAX = 3600.0
AGAIN = "make bench BENCH=outage"
SIDES = ("source", "cloud")


def rows() -> list[dict[str, Any]]:
    """Twenty cutovers of the lab's system, and ten of one with twenty times the filings."""
    small, large = measure(FILINGS, CUTOVERS), measure(FILINGS * TIMES, CUTOVERS_LARGE)
    median, large_median = statistics.median(small["outages"]), statistics.median(large["outages"])
    p95 = percentile(small["outages"], 0.95)
    lost = small["lost"] + large["lost"]
    found = [
        row(
            "outage of a cutover, median",
            ours=median,
            unit="s",
            goal=f"<= {GOAL_MEDIAN_SECONDS:g} s",
            met=median <= GOAL_MEDIAN_SECONDS,
            command=AGAIN,
        ),
        row(
            "outage of a cutover, p95",
            ours=p95,
            unit="s",
            goal=f"<= {GOAL_P95_SECONDS:g} s",
            met=p95 <= GOAL_P95_SECONDS,
            command=AGAIN,
        ),
        row(
            f"outage with {TIMES} times the data, median",
            ours=large_median,
            peer=median,
            peer_name=f"{FILINGS} filings",
            unit="s",
            goal=f"<= {GOAL_RATIO:g} x",
            met=large_median <= GOAL_RATIO * median,
            command=AGAIN,
        ),
        row("filings lost in all cutovers", ours=lost, unit="filings", goal="0", met=lost == 0, command=AGAIN),
    ]
    return found + [
        row(f"outage: {step}, median", ours=statistics.median(seconds), unit="s", command=AGAIN)
        for step, seconds in small["steps"].items()
    ]


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    return sorted(values)[math.ceil(len(values) * share) - 1]


def measure(filings: int, cutovers: int) -> dict[str, Any]:
    """In a process of its own, with a lab of its own that leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as home:
        environment = {**os.environ, "SKERRY_HOME": home}
        words = [sys.executable, "-m", "benchmarks.outage", str(filings), str(cutovers)]
        try:
            ended = subprocess.run(
                words, capture_output=True, text=True, env=environment, timeout=SECONDS_MAX, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BenchmarkFailed(f"{cutovers} cutovers did not end within {SECONDS_MAX:g} s") from error
        finally:
            skerry = str(Path(sys.executable).parent / "skerry")
            subprocess.run([skerry, "lab", "down"], capture_output=True, env=environment, check=False)
    if ended.returncode:
        last_words = " / ".join((ended.stderr or ended.stdout).strip().splitlines()[-3:])
        raise BenchmarkFailed(f"cutovers of {filings} filings ended with {ended.returncode}: {last_words}")
    measured: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return measured


# --- in the process of one measurement


def carry_out(filings: int, cutovers: int) -> dict[str, Any]:
    """Outages in seconds, filings lost, and the seconds of each step that is done while clients wait."""
    town = estate_town.open_lab()
    estate_town.up(town, filings=filings, documents=1)
    outages: list[float] = []
    steps: dict[str, list[float]] = {}
    lost = 0
    with open_desk(estate_town.lab_inventory()) as desk:
        estate_town.claim_source(desk.inventory, desk.authority)
        estate_town.traffic_start(town)
        survey_estate(desk.inventory, desk.survey, desk.catalogue, on_host=lambda _: None)
        seed(desk)
        for number in range(cutovers):
            began = time.time()
            time.sleep(SETTLE_SECONDS)
            old, new = SIDES[number % 2], SIDES[1 - number % 2]
            status = run(desk, wave=f"cutover-{number}", inputs={"from": old, "to": new, "watch": "1s"})
            time.sleep(SETTLE_SECONDS)
            report = seen_by_clients(town, began, time.time())
            outages.append(report["longest_gap_seconds"])
            lost += report["lost"] + report["duplicates_differing"]
            for step, seconds in steps_while_clients_waited(status).items():
                steps.setdefault(step, []).append(seconds)
            print(f"{number}: {outages[-1]:.3f} s", file=sys.stderr, flush=True)
    return {"outages": outages, "lost": lost, "steps": steps}


def seed(desk: Desk) -> None:
    """The first stages of the shipped runbook: the cloud has the data, clients were not touched."""
    plan = approved(desk, "migrate.yml", wave="seed", inputs={})
    for stage in ("replicate", "seed"):
        desk.run(plan, operator="ben", kind="migrate", stage=stage)
    # What is left of that run is given up; each cutover is a run of its own.
    found = next(status for status in desk.runs.list() if status.plan == plan.digest)
    desk.runs.request(found.run, "", "cancel", by="ben", reason="cutovers are measured one by one")
    desk.run(plan, operator="ben", kind="migrate")


def run(desk: Desk, *, wave: str, inputs: dict[str, Scalar]) -> RunStatus:
    status = desk.run(approved(desk, "cutover.yml", wave=wave, inputs=inputs), operator="ben", kind="cutover")
    system = status.systems[0]
    if system.state != "committed":
        raise BenchmarkFailed(f"{wave}: {system.state}: {system.reason}")
    return status


def approved(desk: Desk, runbook: str, *, wave: str, inputs: dict[str, Scalar]) -> Plan:
    facts = newest_facts(desk.inventory, desk.catalogue)
    file = shipped_folder("runbooks") / runbook
    plan = desk.make_plan(file, wave=wave, author="ben", facts=facts, systems=[SYSTEM], inputs=inputs)
    desk.approve(plan, person="ana", role="system-owner", key_file=str(estate_town.person_key("ana")))
    return plan


def steps_while_clients_waited(status: RunStatus) -> dict[str, float]:
    names = [step.step for step in status.systems[0].steps]
    seconds = {step.step: step.seconds for step in status.systems[0].steps}
    return {name: seconds[name] for name in names[names.index("drain") : names.index("switch_front") + 1]}


def seen_by_clients(town: Town, began: float, ended: float) -> dict[str, Any]:
    report: dict[str, Any] = town_plan.traffic_report(town, from_time=began, to_time=ended)[SYSTEM]
    return report


if __name__ == "__main__":
    print(json.dumps(carry_out(int(sys.argv[1]), int(sys.argv[2]))))
