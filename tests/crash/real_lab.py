"""Cells of the crash matrix on the hosts of a lab: real SSH, real databases, clients that file all the time.

A life is a process (`real_worker`) that kills itself by SIGKILL, or puts a fault of the lab in force, at the boundary
of its cell. Where the state is on PostgreSQL, a worker of another machine stands by and takes over.
"""

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.contracts.engine import SystemStatus
from orchestrator.contracts.requests import Operation
from orchestrator.foundation.errors import EngineUnavailable, LabError, LedgerFull, OrchestratorError
from orchestrator.lab import estate_town
from orchestrator.lab.demo import town_plan
from orchestrator.lab.town import Town
from orchestrator.model.plan import Plan
from orchestrator.model.site import Side
from orchestrator.operations.audit import verify_ledger
from orchestrator.operations.migrate import new_run_id
from orchestrator.operations.survey import newest_facts
from orchestrator.planning.runbook import Scalar
from tests.crash.crash_matrix import expected_states, is_committed, judge
from tests.crash.matrix_cells import FULL_DISKS, KILLS, NO_TROUBLE, ON_POSTGRESQL, Case, after_commit, steps_of
from tests.crash.real_estate import ARCHIVE, FILING, MACHINE, ROOT, SOURCE_HOST, Ground, lab
from tests.crash.real_worker import SITE_OF, carry
from tests.fakes.engine_lives import is_over
from tests.fakes.handlers import SimulatedCrash
from tests.fakes.ready_processes import ReadyProcess

HOSTS = {Side.SOURCE: SOURCE_HOST, Side.CLOUD: "cloud-filing1"}
ARCHIVE_AT_CLOUD = "cloud-archive1"
# Filing's machine at the cloud is there and fenced: what makes one for a drill is tried with a system that never moves.
SYSTEM_OF = {"seed": MACHINE, "drill-at-cloud": MACHINE, "drill-on-machine": ARCHIVE}
# Where a cell finds the system: by default at the source. None: wherever it is, for it goes either way.
STARTS_AT: dict[str, Side | None] = {
    "failback": Side.CLOUD,
    "rollback": Side.CLOUD,
    "cutover": None,
    "seed": None,
    "drill-at-cloud": None,
    "drill-on-machine": None,
}
INPUTS: dict[str, dict[str, Scalar]] = {
    "rollback": {},
    "seed": {},
    "drill": {"settle": "1s"},
    "drill-at-cloud": {"settle": "1s"},
    "drill-on-machine": {"settle": "1s"},
}
# Each trouble in each way once, on two labs; and a new lab is quicker: what clients filed is compared in every cell.
CELLS_AT_A_TIME = 20
LIFE_SECONDS_MAX = 1200.0
BEGUN_SECONDS_MAX = 120.0
SERVED_SECONDS_MAX = 180.0

HALTED: dict[int, type[OrchestratorError]] = {found.exit_code: found for found in (LedgerFull, EngineUnavailable)}
Life = tuple[ReadyProcess, Path]  # with what it says on stderr


def try_on_hosts(chosen: Sequence[Case], *, until: float = float("inf")) -> Iterator[tuple[Case, str, float]]:
    """Each with what was wrong, empty where it passes, and its seconds; none begins after `until` (monotonic).

    Those that come first are tried first, so many at a time that a lab of each kind is worth its while.
    A cell that fails leaves no lab to the next one.
    """
    for first in range(0, len(chosen), CELLS_AT_A_TIME):
        for on_postgresql in (False, True):
            some = chosen[first : first + CELLS_AT_A_TIME]
            todo = [case for case in some if case.on_postgresql == on_postgresql]
            while todo and time.monotonic() < until:
                with lab(on_postgresql=on_postgresql) as ground:
                    yield from try_in_lab(todo, ground, until)


def try_in_lab(todo: list[Case], ground: Ground, until: float) -> Iterator[tuple[Case, str, float]]:
    """Until one fails; those that were tried are taken off."""
    problem = ""
    while todo and not problem and time.monotonic() < until:
        began, case = time.monotonic(), nearest(todo, ground)
        todo.remove(case)
        problem = try_real_case(case, ground)
        yield case, problem, time.monotonic() - began


def nearest(todo: Sequence[Case], ground: Ground) -> Case:
    """One that starts where the last one left the system, if there is one: no move is made between the two."""
    at = ground.desk.authority.read(FILING).side if ground.is_prepared else Side.CLOUD

    def moves(case: Case) -> int:
        if ground.source_is_lost and case.runbook != "failback":
            return 2
        wanted = STARTS_AT.get(case.runbook, Side.SOURCE)
        return 1 if wanted is None else 0 if wanted is at else 2

    return min(todo, key=moves)


def prepare(ground: Ground) -> None:
    """The system is replicated to every side; where a database is shared, there is a second machine."""
    if ground.is_prepared:
        return
    move(ground, "migrate", Side.CLOUD)
    if ground.on_postgresql:
        ground.add_machine(Path(tempfile.mkdtemp(prefix="two", dir=ground.home)))
    ground.is_prepared = True


def try_real_case(case: Case, ground: Ground) -> str:
    try:
        prepare(ground)
        inputs = bring_where_it_starts(case, ground)
        trial = RealTrial(case, ground, inputs)
        try:
            return judge(lambda: case, trial)
        finally:
            trial.end()
    except (OrchestratorError, RuntimeError, subprocess.TimeoutExpired) as error:
        return f"broke: {error!r}"


def bring_where_it_starts(case: Case, ground: Ground) -> dict[str, Scalar]:
    """Moves without trouble, where the system is not there; the inputs of the cell's own runbook.

    A source that was lost is taken up by a failback: before all other cells that is done for itself.
    """
    was_lost = ground.source_is_lost
    ground.find_source()
    at = ground.desk.authority.read(FILING).side
    if was_lost and at is Side.CLOUD and case.runbook != "failback":
        at = move(ground, "failback", Side.SOURCE)
    if STARTS_AT.get(case.runbook, Side.SOURCE) not in (None, at):
        at = move(ground, "cutover", other_side(at), directions(at))
    return directions(at) if case.runbook == "cutover" else {}


def other_side(side: Side) -> Side:
    return Side.SOURCE if side is Side.CLOUD else Side.CLOUD


def directions(at: Side) -> dict[str, Scalar]:
    return {"from": at.value, "to": other_side(at).value}


def move(ground: Ground, runbook: str, to: Side, inputs: dict[str, Scalar] | None = None) -> Side:
    trial = RealTrial(Case(runbook, "", "do", NO_TROUBLE, "go on"), ground, inputs)
    ended = trial.live()
    if ended is not None or trial.status().state != "committed":
        raise RuntimeError(f"to {to.value}: {trial.status().state} ({trial.status().reason}) {ended or ''}")
    return to


class RealTrial:
    """One run on hosts. Law: contracts as AnyTrial."""

    def __init__(self, case: Case, ground: Ground, inputs: dict[str, Scalar] | None = None) -> None:
        self._case = case
        self._ground = ground
        self._system = SYSTEM_OF.get(case.runbook, FILING)
        self._plan = approved(ground, case.runbook, self._system, inputs or {})
        self._came = Path(tempfile.mkdtemp(dir=ground.home)) / "came"  # a file once the trouble was there
        self._standing_by: Life | None = None
        self.runs = 0
        if case.runbook == "failover":
            ground.lose_source()
        self.submit()

    def submit(self) -> None:
        self.runs += 1
        self._run = new_run_id()
        self._ground.desk.ensure_allowed(self._plan, "ben")
        self._ground.desk.runs.submit(self._run, self._plan, kind=self._case.runbook, operator="ben")

    def live(self) -> BaseException | None:
        """A worker's life; of two that share a database, that of the one which was killed before the other one's."""
        if self._standing_by is not None:
            life, self._standing_by = self._standing_by, None
            return end_of(life, halts=False)
        quiet = Case(self._case.runbook, "", "do", NO_TROUBLE, "go on")
        is_to_come = self._case.trouble != NO_TROUBLE and not self._came.exists()
        life = self._begin(self._case if is_to_come else quiet, self._ground.home)
        if is_to_come and self._case.on_postgresql and self._ground.second is not None:
            self._await_begun(life)
            self._standing_by = self._begin(quiet, self._ground.second)
        ended = end_of(life, halts=is_to_come and self._case.trouble in FULL_DISKS)
        if self._standing_by is not None and ended is None:  # its trouble never came
            return self.live()
        return ended

    def end(self) -> None:
        """Whoever still stands by is ended."""
        if self._standing_by is not None:
            self._standing_by[0].kill()
            end_of(self._standing_by, halts=False)

    def _begin(self, case: Case, home: Path) -> Life:
        stderr = Path(tempfile.mkstemp(dir=self._ground.home)[1])
        life = ReadyProcess(
            carry,
            self._ground.estate,
            self._run,
            case,
            self._came,
            environment=self._ground.environment(home),
            folder=ROOT,
            stderr=stderr,
        )
        return life, stderr

    def _await_begun(self, life: Life) -> None:
        """Until the worker carries the run, so that it is clear which one is killed. A run that waits for a person is
        taken up by whoever looks first: then until that one is gone.
        """
        until = time.monotonic() + BEGUN_SECONDS_MAX
        while (self._case.waits or not self.status().steps) and life[0].poll() is None and time.monotonic() < until:
            time.sleep(0.1)

    def status(self) -> SystemStatus:
        return self._ground.desk.runs.status(self._run).systems[0]

    def is_over(self) -> bool:
        return is_over(self._ground.store, self._run)

    def ask(self, operation: Operation) -> None:
        by = "carla" if operation == "confirm" else "ana"
        self._ground.desk.runs.request(self._run, self._system, operation, by=by, reason="cells are tried")

    def heal(self, case: Case) -> None:
        self._ground.town.heal()

    def was_struck(self, case: Case) -> bool:
        return self._came.exists()

    def wanted(self, case: Case) -> tuple[str, ...]:
        """A fault that touches nothing of what a step does is no fault to it: it may go either way."""
        steps = steps_of(case.runbook)
        if case.trouble in (*KILLS, *ON_POSTGRESQL, *FULL_DISKS, "timeout, unknown"):
            return expected_states(case, self.runs, steps)
        step = next(found for found in steps if found.id == case.step)
        lives_there = after_commit(step, steps) or is_committed(self.status(), steps)
        return ("committed", "rolled_back", *(("failed",) if lives_there else ()))

    def problems(self) -> list[str]:
        side = self._ground.desk.authority.read(FILING).side
        if side is Side.SOURCE or not self._ground.source_is_lost:
            self._ground.find_source()
        estate_town.traffic_start(self._ground.town)
        active = [found for found in HOSTS if self._is_active(HOSTS[found])]
        found = []
        if active != [side]:
            found.append(f"authority is at {side.value}; services are active at {[at.value for at in active]}")
        found += self._clients_complain_of(side) + self._left_behind()
        for home in (self._ground.home, self._ground.second):
            if home is not None and not verify_ledger(home / "ledger").verified:
                found.append(f"the evidence in {home} does not verify")
        return found

    def _is_active(self, host: str) -> bool:
        if host == SOURCE_HOST and self._ground.source_is_lost:
            return False
        told = self._ground.town.run_inside(host, ["systemctl", "is-active", "filing-app"], check=False)
        return told.text == "active"

    def _clients_complain_of(self, side: Side) -> list[str]:
        town, began, until = self._ground.town, time.time(), time.monotonic() + SERVED_SECONDS_MAX
        while (answered := served_by(town, side, began)) != "":
            if time.monotonic() > until:
                return [f"{side.value} serves no client: {answered}"]
            time.sleep(0.5)
        report = town_plan.traffic_report(town)[FILING]
        lost = report["lost"] + report["duplicates_differing"]
        return [f"{lost} acknowledged filings are lost or differ"] if lost else []

    def _left_behind(self) -> list[str]:
        """What a drill or a test machine must take away, whatever comes of it."""
        desk = self._ground.desk
        dr = desk.inventory.hosts["dr-filing1"]
        bubbles = desk.drivers.bubbles.listed(dr) if self._case.runbook == "drill" else ()
        made = [ARCHIVE_AT_CLOUD] if self._case.runbook == "drill-on-machine" else []  # a move keeps it
        machines = [name for name in self._ground.town.hosts() if name.endswith("-drill") or name in made]
        return [f"left behind: {name}" for name in (*bubbles, *machines)]


def served_by(town: Town, side: Side, since: float) -> str:
    """Empty once the side has answered some clients; else what they met."""
    try:
        by_site = town_plan.traffic_report(town, from_time=since)[FILING]["by_site"]
    except LabError as error:
        return error.message
    return "" if by_site.get(SITE_OF[side.value], 0) >= 3 else f"{by_site} were answered"


def end_of(life: Life, *, halts: bool) -> BaseException | None:
    """What ended it; None where nothing more was to be done. `halts`: it may find no room to write down what it did."""
    process, stderr = life
    try:
        code = process.wait(LIFE_SECONDS_MAX)
    finally:
        process.kill()
    if code == -signal.SIGKILL:
        return SimulatedCrash("killed")
    if halts and code in HALTED:
        return HALTED[code]("no room")
    return RuntimeError(stderr.read_text(errors="replace")[-2000:]) if code else None


def approved(ground: Ground, runbook: str, system: str, inputs: dict[str, Scalar]) -> Plan:
    desk = ground.desk
    plan = desk.make_plan(
        ground.runbooks / f"{runbook}.yml",
        wave=f"cell-{new_run_id()[-12:]}",
        author="ben",
        facts=newest_facts(desk.inventory, desk.catalogue),
        systems=[system],
        inputs=INPUTS.get(runbook, {"watch": "1s"}) | inputs,
    )
    desk.approve(plan, person="ana", role="system-owner", key_file=str(estate_town.person_key("ana")))
    return plan
