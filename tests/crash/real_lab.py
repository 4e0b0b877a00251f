"""Cells of the crash matrix on the hosts of a lab: real SSH, real databases, clients that file all the time.

A life is a process (`real_worker`) that kills itself by SIGKILL, or puts a fault of the lab in force, at the boundary
of its cell. Tried are the runbooks that lead from one side to the other and back without the lab being built anew:
no failover, whose source is lost, no seed, which makes machines, and no drill, which waits for a person's decision.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orchestrator.contracts.engine import AT_REST, SystemStatus
from orchestrator.contracts.requests import Operation
from orchestrator.foundation.places import ledger_folder, shipped_folder
from orchestrator.lab import estate_town
from orchestrator.lab.demo import town_plan
from orchestrator.lab.town import Town
from orchestrator.model.plan import Plan
from orchestrator.model.site import Side
from orchestrator.operations.audit import verify_ledger
from orchestrator.operations.desk import Desk, open_desk
from orchestrator.operations.migrate import new_run_id
from orchestrator.operations.survey import newest_facts, survey_estate
from orchestrator.planning.runbook import Scalar
from tests.crash.crash_matrix import (
    CUT_OFF,
    KILLS,
    NO_TROUBLE,
    Case,
    after_commit,
    cases,
    expected_states,
    judge,
    steps_of,
)
from tests.fakes.handlers import SimulatedCrash

SYSTEM = "filing"
HOSTS = {Side.SOURCE: "onprem-filing1", Side.CLOUD: "cloud-filing1"}
SITES = {Side.SOURCE: "onprem", Side.CLOUD: "cloud"}
# Evidence is written before the journal within one call of the product: before evidence is after the deed there.
REAL_KILLS = tuple(kill for kill in KILLS if kill != "kill before evidence")
REAL_TROUBLES = (*REAL_KILLS, "host unreachable for good", CUT_OFF, "host disk full", "timeout, absent")
STARTS_AT = {"migrate": Side.SOURCE, "cutover": Side.SOURCE, "failback": Side.CLOUD, "rollback": Side.CLOUD}
LIFE_SECONDS_MAX = 1200.0
SERVED_SECONDS_MAX = 180.0


def real_cases(runbooks: Iterable[str]) -> list[Case]:
    return [
        case
        for runbook in runbooks
        if runbook in STARTS_AT
        for case in cases(runbook)
        if case.trouble in REAL_TROUBLES
    ]


def try_on_hosts(chosen: Sequence[Case]) -> Iterator[tuple[Case, str]]:
    """Each with what was wrong, empty where it passes. A cell that fails leaves no lab to the next one."""
    todo = list(chosen)
    while todo:
        with lab() as (town, desk):
            while todo:
                case = todo.pop(0)
                problem = try_real_case(case, town, desk)
                yield case, problem
                if problem:
                    break


@contextmanager
def lab() -> Iterator[tuple[Town, Desk]]:
    """A lab of its own, the system replicated to every side, clients at work."""
    with tempfile.TemporaryDirectory(prefix="skm", ignore_cleanup_errors=True) as home, ExitStack() as stack:
        os.environ["SKERRY_HOME"] = home
        town = estate_town.open_lab()
        stack.callback(estate_town.purge, town)
        estate_town.up(town, filings=60, documents=1)
        desk = stack.enter_context(open_desk(estate_town.lab_inventory()))
        estate_town.claim_source(desk.inventory, desk.authority)
        estate_town.traffic_start(town)
        survey_estate(desk.inventory, desk.survey, desk.catalogue, on_host=lambda _: None)
        bring_to(Side.CLOUD, town, desk, runbook="migrate")
        yield town, desk


def try_real_case(case: Case, town: Town, desk: Desk) -> str:
    bring_to(STARTS_AT[case.runbook], town, desk)
    return judge(lambda: case, RealTrial(case, town, desk))


def bring_to(side: Side, town: Town, desk: Desk, runbook: str = "cutover") -> None:
    """A move without trouble, where the system is not there."""
    at = desk.authority.read(SYSTEM).side
    if at is side:
        return
    case = Case(runbook, "", "do", NO_TROUBLE, "go on")
    inputs: dict[str, Scalar] = {} if runbook == "migrate" else {"from": at.value, "to": side.value}
    trial = RealTrial(case, town, desk, inputs)
    ended = trial.live()
    if ended is not None or trial.status().state != "committed":
        raise RuntimeError(f"to {side.value}: {trial.status().state} ({trial.status().reason}) {ended or ''}")


class RealTrial:
    """One run on hosts. Law: contracts as AnyTrial."""

    def __init__(self, case: Case, town: Town, desk: Desk, inputs: dict[str, Scalar] | None = None) -> None:
        self._case = case
        self._town = town
        self._desk = desk
        self._plan = approved(desk, case.runbook, inputs or {})
        self._trouble = True  # still to come
        self.runs = 0
        self.submit()

    def submit(self) -> None:
        self.runs += 1
        self._run = new_run_id()
        self._desk.ensure_allowed(self._plan, "ben")
        self._desk.runs.submit(self._run, self._plan, kind=self._case.runbook, operator="ben")

    def live(self) -> BaseException | None:
        case = self._case if self._trouble else Case(self._case.runbook, "", "do", NO_TROUBLE, "go on")
        words = [sys.executable, "-m", "tests.crash.real_worker", self._run, *told(case)]
        root = Path(__file__).resolve().parents[2]
        ended = subprocess.run(words, capture_output=True, text=True, cwd=root, timeout=LIFE_SECONDS_MAX, check=False)
        self._trouble = False
        if ended.returncode == -signal.SIGKILL:
            return SimulatedCrash("killed")
        return RuntimeError(ended.stderr[-2000:]) if ended.returncode else None

    def status(self) -> SystemStatus:
        return self._desk.runs.status(self._run).systems[0]

    def is_over(self) -> bool:
        return self._desk.runs.status(self._run).state == "finished" and self.status().state in AT_REST

    def ask(self, operation: Operation) -> None:
        self._desk.runs.request(self._run, SYSTEM, operation, by="ana", reason="cells are tried")

    def heal(self, case: Case) -> None:
        self._town.heal()

    def wanted(self, case: Case) -> tuple[str, ...]:
        """A fault that touches nothing of what a step does is no fault to it: it may go either way."""
        steps = steps_of(case.runbook)
        if case.trouble in KILLS:
            return expected_states(case, self.runs, steps)
        step = next(found for found in steps if found.id == case.step)
        return ("committed", "rolled_back", "failed") if after_commit(step, steps) else ("committed", "rolled_back")

    def problems(self) -> list[str]:
        side = self._desk.authority.read(SYSTEM).side
        other = next(found for found in HOSTS if found is not side)
        active = {found: self._is_active(HOSTS[found]) for found in HOSTS}
        found = []
        if not active[side] or active[other]:
            names = [at.value for at in active if active[at]]
            found.append(f"authority is at {side.value}; services are active at {names}")
        found += self._clients_complain_of(side)
        if not verify_ledger(ledger_folder()).verified:
            found.append("the evidence does not verify")
        return found

    def _is_active(self, host: str) -> bool:
        return self._town.run_inside(host, ["systemctl", "is-active", "filing-app"], check=False).text == "active"

    def _clients_complain_of(self, side: Side) -> list[str]:
        began, until = time.time(), time.monotonic() + SERVED_SECONDS_MAX
        while town_plan.traffic_report(self._town, from_time=began)[SYSTEM]["by_site"].get(SITES[side], 0) < 3:
            if time.monotonic() > until:
                return [f"{side.value} serves no client"]
            time.sleep(0.5)
        report = town_plan.traffic_report(self._town)[SYSTEM]
        lost = report["lost"] + report["duplicates_differing"]
        return [f"{lost} acknowledged filings are lost or differ"] if lost else []


def approved(desk: Desk, runbook: str, inputs: dict[str, Scalar]) -> Plan:
    plan = desk.make_plan(
        shipped_folder("runbooks") / f"{runbook}.yml",
        wave=f"cell-{new_run_id()[-12:]}",
        author="ben",
        facts=newest_facts(desk.inventory, desk.catalogue),
        systems=[SYSTEM],
        inputs=inputs | ({} if runbook == "rollback" else {"watch": "1s"}),
    )
    desk.approve(plan, person="ana", role="system-owner", key_file=str(estate_town.person_key("ana")))
    return plan


def told(case: Case) -> list[str]:
    return [json.dumps([case.runbook, case.step, case.mode, case.trouble, case.way])]
