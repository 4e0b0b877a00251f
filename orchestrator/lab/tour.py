"""The tour: the whole story on this machine. One system moves source → DR → cloud, another is rolled back.

Each phase is a command of its own elsewhere; here they follow each other, and a tour that was killed goes on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from orchestrator.contracts.engine import RunStatus
from orchestrator.contracts.observer import Observer
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.places import lab_folder, shipped_folder
from orchestrator.lab import estate_town
from orchestrator.lab.tour_journal import TourJournal
from orchestrator.lab.tour_result import ClientView, EvidenceResult, TourResult, tour_result
from orchestrator.lab.town import Town
from orchestrator.model.facts import Facts
from orchestrator.model.plan import Plan
from orchestrator.operations.audit import verify_ledger
from orchestrator.operations.desk import Desk, open_desk
from orchestrator.operations.plan import find_plan
from orchestrator.operations.survey import newest_facts, survey_estate

OPERATOR = "ben"
APPROVER, APPROVER_ROLE = "ana", "system-owner"
WAVE = "lab-1"
SETTLE_SECONDS = 2.0  # clients go on for a while after the last switch, so that the last gap is seen whole


@dataclass(frozen=True)
class TourSettings:
    """How large the lab's data are, and whether the lab stays up afterwards."""

    filings: int = 2000
    documents: int = 1500
    keep: bool = False
    anew: bool = False  # forget a tour that was broken off
    kind: str = "auto"  # namespaces, loopback, or what this machine allows


class TourGuide(Protocol):
    """What the tour tells while it goes: a phase begins, a table is ready. The command line draws it."""

    def phase(self, name: str, text: str) -> None: ...
    def facts(self, facts: Facts, to_be_made: set[str]) -> None: ...
    def plan(self, plan: Plan) -> None: ...
    def told(self, text: str) -> None: ...


class Tour:
    """One tour in one lab."""

    def __init__(self, settings: TourSettings, guide: TourGuide, observers: Sequence[Observer]) -> None:
        self._settings = settings
        self._guide = guide
        self._observers = observers
        self._clock = SystemClock()
        self._path = lab_folder() / "tour" / "phases.json"
        self._journal = TourJournal(self._path, self._clock)

    def run(self) -> TourResult:
        """Go on where an unfinished tour stopped, else begin anew."""
        if self._journal.finished or (self._settings.anew and self._path.exists()):
            self._begin_anew()
        town = estate_town.open_lab(kind=self._settings.kind)
        # A lab in the middle of a move is left as it is: building it again would touch what the run fenced.
        if not (self._journal.done("lab") and town.is_up()):
            with self._phase("lab", "three sites, real hosts, two systems with data"):
                estate_town.up(town, filings=self._settings.filings, documents=self._settings.documents)
                with open_desk(estate_town.lab_inventory()) as desk:
                    estate_town.claim_source(desk.inventory, desk.authority)
            self._journal.keep("clients_from", None)  # what clients missed while the lab was down is no outage
        with self._phase("traffic", "clients begin to file through the front name"):
            estate_town.traffic_start(town)
            if self._journal.kept("clients_from") is None:
                self._journal.keep("clients_from", self._clock.now().timestamp())
        with open_desk(estate_town.lab_inventory(), observers=self._observers) as desk:
            plan = self._prepare(desk)
            status = self._migrate(desk, plan)
        clients = self._clients(town)
        evidence = self._evidence()
        result = tour_result(plan, status, clients, evidence, self._journal.phases_seconds)
        if not self._settings.keep:
            with self._phase("down", "the lab leaves nothing behind"):
                town.down()
        self._journal.keep("finished", True)
        return result

    def _begin_anew(self) -> None:
        estate_town.purge(estate_town.open_lab(kind=self._settings.kind))
        self._journal = TourJournal(self._path, self._clock)

    @contextmanager
    def _phase(self, name: str, text: str) -> Iterator[None]:
        """Tell, time and note a phase. Every phase looks at the world first, so it may be done again."""
        self._guide.phase(name, text)
        started = self._clock.monotonic_seconds()
        yield
        if not self._journal.done(name):
            self._journal.finish(name, self._clock.monotonic_seconds() - started)

    def _prepare(self, desk: Desk) -> Plan:
        kept = self._journal.kept("plan")
        if kept:
            return find_plan(desk.catalogue, kept)
        with self._phase("survey", "facts from the hosts"):
            facts = survey_estate(desk.inventory, desk.survey, desk.catalogue, on_host=lambda _: None)
            self._guide.facts(facts, set(desk.inventory.machines))
        with self._phase("plan", "runbook + inventory + facts → a frozen plan"):
            plan = desk.make_plan(
                shipped_folder("runbooks") / "migrate.yml",
                wave=WAVE,
                author=OPERATOR,
                facts=newest_facts(desk.inventory, desk.catalogue),
            )
            self._guide.plan(plan)
        with self._phase("approve", f"{APPROVER} signs the plan's digest with an SSH key"):
            key_file = str(estate_town.person_key(APPROVER))
            desk.approve(plan, person=APPROVER, role=APPROVER_ROLE, key_file=key_file)
        self._journal.keep("plan", plan.digest)
        return plan

    def _migrate(self, desk: Desk, plan: Plan) -> RunStatus:
        kept = self._journal.kept("run")
        if kept and (status := desk.runs.status(kept)).state == "finished":
            return status
        story = "replicate, hold a point, seed the cloud from DR, cut over; and one on purpose back"
        with self._phase("run", story):
            return desk.run(plan, operator=OPERATOR, kind="migrate", on_run=lambda run: self._journal.keep("run", run))

    def _clients(self, town: Town) -> dict[str, ClientView]:
        kept = self._journal.kept("clients")
        if kept:
            return {name: ClientView.model_validate(view) for name, view in kept.items()}
        with self._phase("clients", "every acknowledged filing is looked for"):
            self._clock.sleep(SETTLE_SECONDS)
            views = estate_town.traffic_report(town, gaps_from=self._journal.kept("clients_from"))
        self._journal.keep("clients", {name: view.model_dump(mode="json") for name, view in views.items()})
        return views

    def _evidence(self) -> EvidenceResult:
        with self._phase("verify", "the evidence is verified as an auditor would"):
            report = verify_ledger()
        return EvidenceResult(path=report.folder, verified=report.verified, entries=report.size)
