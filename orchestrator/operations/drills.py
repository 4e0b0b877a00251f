"""Drills on a schedule: read drills.yml, see what is due, begin it, and keep what became of each time."""

import fcntl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.engine import RunStatus
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import (
    GateClosed,
    InventoryError,
    PlanningError,
    RunInProgress,
    UsageError,
)
from orchestrator.foundation.places import skerry_home
from orchestrator.foundation.written_file import Finding, did_you_mean
from orchestrator.inventory.load import OWN_FOLDER
from orchestrator.model.drill import DrillCalendar, Fire, Injected, ScheduledDrill
from orchestrator.model.facts import Facts
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import Name, SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.scope import Participant, Scope
from orchestrator.model.site import Side
from orchestrator.operations.desk import Desk
from orchestrator.operations.estate import content_of
from orchestrator.operations.migrate import new_run_id
from orchestrator.operations.plan import find_plan, read_runbook
from orchestrator.planning.drill_file import parse_drill_file
from orchestrator.planning.drill_schedule import fires_until, late

DRILLS_FILE = f"{OWN_FOLDER}/drills.yml"
# Puts the next of the drill's injects into a drill of the system, and says what came of it.
InjectNext = Callable[[SystemName, ScheduledDrill], Injected]
KEPT_MAX = 10_000  # times that are looked at, newest first
CARRY_POLL_SECONDS = 0.5
FOR_PERSONS = frozenset({"approval", "manual", "decision"})


def read_drills(folder: Path, inventory: Inventory) -> DrillCalendar:
    """The drills of the estate in `folder`. InventoryError with every problem, each with file and line."""
    path = folder / DRILLS_FILE
    hint = "Write the drills there, as in inventories/lab; then: skerry drill schedule"
    content = content_of(path, missing_hint=hint)
    findings: list[Finding] = []
    calendar = parse_drill_file(content, str(path), inventory, findings)
    if calendar is None:
        hint = "Nothing was begun. Mend the named line, then: skerry drill schedule"
        raise InventoryError("\n".join(str(finding) for finding in sorted(set(findings))), hint=hint)
    return calendar


def drill_named(calendar: DrillCalendar, named: str) -> ScheduledDrill:
    found = calendar.drill(named)
    if found is None:
        names = [each.name for each in calendar.drills]
        if named in {system for each in calendar.drills for system in each.systems}:
            raise UsageError(
                f"{named} is a system, and no drill of {DRILLS_FILE}",
                hint=f"Drill it now: skerry drill run {named} --as PERSON",
            )
        raise UsageError(
            f"no drill is called {named}{did_you_mean(named, names)} (there are: {', '.join(names)})",
            hint=f"Drills are written in {DRILLS_FILE} of the estate.",
        )
    return found


def plan_drill(desk: Desk, drill: ScheduledDrill, *, runbook_file: Path, author: Name, facts: Facts) -> Plan:
    """Compile and keep the plan that the drill runs by from now on, once people approved it. Touches no host."""
    scope = scope_of(drill, read_runbook(runbook_file).scope, desk.inventory)
    plan = desk.make_plan(runbook_file, wave=drill.name, author=author, facts=facts, systems=drill.systems, scope=scope)
    desk.catalogue.put("drill_plan", drill.name, {"plan": plan.digest})
    return plan


def scope_of(drill: ScheduledDrill, written: Scope | None, inventory: Inventory) -> Scope | None:
    """What the runbook says of its purpose, with those who take part in this drill and whether they are told before."""
    people = {name: inventory.people[name] for name in (*drill.participants, *drill.observers)}
    said: dict[str, Any] = {}
    if drill.participants:
        taking_part = [people[name] for name in drill.participants]
        said["participants"] = tuple(
            Participant(role=next(iter(each.roles), "participant"), who=each.name or each.id) for each in taking_part
        )
    if drill.observers:
        said["observers"] = tuple(people[name].name or name for name in drill.observers)
    if drill.announced is not None:
        said["announced"] = drill.announced
    return (written or Scope()).model_copy(update=said) if said else written


def plan_of(catalogue: Catalogue, drill: ScheduledDrill) -> Plan | None:
    document = catalogue.get("drill_plan", drill.name)
    return find_plan(catalogue, document["plan"]) if document else None


def kept_fires(catalogue: Catalogue, drill: str = "", *, limit: int = KEPT_MAX) -> list[Fire]:
    """The times that came up, newest first."""
    prefix = f"{drill}@" if drill else ""
    found = [Fire.model_validate(each) for _, each in catalogue.list("drill_fire", prefix=prefix, limit=limit)]
    return sorted(found, key=lambda fire: (fire.due, fire.drill), reverse=True)


@dataclass(frozen=True)
class DrillBook:
    """What is done about drills at this desk. `inject` puts the next inject into a drill of one system."""

    desk: Desk
    calendar: DrillCalendar
    inject: InjectNext

    def look(self) -> list[Fire]:
        """Find the times that came up, and begin what is due; every fire that changed. Does not wait for runs.

        One process looks at a time, so a time has one run, whoever else looks: a service, a timer, a person.
        """
        with one_at_a_time():
            return self._look(self.desk.clock.now())

    def _look(self, now: datetime) -> list[Fire]:
        known = {fire.id: fire for fire in kept_fires(self.desk.catalogue)}
        changed: dict[str, Fire] = {}
        for drill in self.calendar.drills:
            since = self._since(drill, now)
            fresh = fires_until(drill, since=since, now=now, known=known, blackouts=self.calendar.blackouts)
            changed |= {fire.id: self._keep(fire) for fire in fresh}
        known |= changed
        for fire in sorted(known.values(), key=lambda each: each.start):
            if fire.state == "due" and (found := self._begin(fire, now, known.values())) != fire:
                known[fire.id] = changed[fire.id] = self._keep(found)
        changed |= {fire.id: fire for fire in self.settle()}
        return list(changed.values())

    def begin_now(self, drill: ScheduledDrill) -> Fire:
        """A drill that somebody asked for, whatever its calendar says. Raises what is in its way."""
        now = timestamp(self.desk.clock.now())
        fire = Fire(drill=drill.name, due=now, start=now, state="due", because="asked for")
        with one_at_a_time():
            begun = self._begin(fire, self.desk.clock.now(), kept_fires(self.desk.catalogue))
            if begun.state != "running":
                self.desk.catalogue.drop("drill_fire", fire.id)  # nobody waits for it to become possible
                error = RunInProgress if begun.state == "due" else GateClosed
                raise error(f"drill {drill.name}: {begun.because}")
            return begun

    def carry(self) -> list[Fire]:
        """Carry the runs of drills on, in this process, until each has ended or waits for a person.

        Where another process carries runs already, it does that, and nothing is done here.
        """
        try:
            self._carry_runs()
        except RunInProgress:
            return []
        return self.settle(inject=True)

    def _carry_runs(self) -> None:
        if self._under_way():
            with self.desk.worker() as worker:
                worker.start()
                try:
                    while under_way := self._under_way():
                        worker.await_finished(under_way[0].run, timeout_seconds=CARRY_POLL_SECONDS)
                finally:
                    worker.stop()

    def settle(self, *, inject: bool = False) -> list[Fire]:
        """Keep what the runs that have ended came to. A run that passed wants its injects: where `inject`, they are put
        in now, and the drill has passed when each was found and named.
        """
        running = [fire for fire in kept_fires(self.desk.catalogue) if fire.state == "running"]
        return [self._keep(ended) for fire in running if (ended := self._ended(fire, inject=inject)) is not None]

    def _ended(self, fire: Fire, *, inject: bool) -> Fire | None:
        try:
            status = self.desk.runs.status(fire.run)
        except UsageError:  # we ended between keeping the id and asking for the run
            return fire.model_copy(update={"state": "due", "run": ""})
        if status.state != "finished":
            return None
        wrong = [f"{each.system} {each.state}: {each.reason}" for each in status.systems if each.state != "committed"]
        injected: list[Injected] = []
        if not wrong:
            drill = self.calendar.drill(fire.drill)
            if not inject:
                return None
            try:
                injected += [self.inject(system, drill) for system in drill.systems] if drill is not None else []
            except RunInProgress:  # something else has the ledger: at the next look
                return None
            wrong = [] if drill is not None else ["the calendar no longer has it, so nothing was put into it"]
            wrong += [f"{each.system}: {each.why_not}" for each in injected if not each.found or each.why_not]
        update = {
            "state": "failed" if wrong else "passed",
            "because": "; ".join(wrong),
            "finished_at": timestamp(self.desk.clock.now()) if injected else status.finished_at,
            "injected": tuple(injected),
        }
        return fire.model_copy(update=update)

    def _under_way(self) -> list[RunStatus]:
        """Runs of drills that can go on without anybody's word."""
        found = []
        for fire in kept_fires(self.desk.catalogue):
            if fire.state == "running":
                status = self.desk.runs.status(fire.run)
                if status.state != "finished" and not waits_for_person(status, self.desk.runs.plan(fire.run)):
                    found.append(status)
        return found

    def _begin(self, fire: Fire, now: datetime, known: Iterable[Fire]) -> Fire:
        drill = self.calendar.drill(fire.drill)
        if drill is None:
            return fire.model_copy(update={"state": "missed", "because": "it is no longer in the calendar"})
        judged = late(drill, fire, now)
        if judged.state != "due":
            return judged
        if in_the_way := self._in_the_way(drill, known):
            return fire.model_copy(update={"because": in_the_way})
        try:
            plan = self.allowed_plan(drill)
        except (PlanningError, GateClosed) as error:
            return fire.model_copy(update={"state": "refused", "because": error.message})
        begun = self._keep(
            fire.model_copy(update={"state": "running", "because": "", "run": new_run_id(), "plan": plan.digest})
        )
        try:
            self.desk.runs.submit(begun.run, plan, kind="drill", operator=drill.operator)
        except RunInProgress as error:
            return self._keep(fire.model_copy(update={"because": error.message}))
        return begun

    def allowed_plan(self, drill: ScheduledDrill) -> Plan:
        """The plan it would run by. PlanningError or GateClosed where there is none, or it may not run."""
        plan = plan_of(self.desk.catalogue, drill)
        if plan is None:
            raise PlanningError(f"nobody planned it: skerry drill plan {drill.name} --as PERSON")
        if {each.system.name for each in plan.systems} != set(drill.systems):
            raise PlanningError(f"plan {plan.digest} is of other systems than the calendar names now")
        if plan.scope != scope_of(drill, plan.scope, self.desk.inventory):
            raise PlanningError(f"plan {plan.digest} tells of other people than the calendar names now")
        self.desk.ensure_allowed(plan, drill.operator)
        return plan

    def _in_the_way(self, drill: ScheduledDrill, known: Iterable[Fire]) -> str:
        """Why it cannot begin now: a run has one of its systems, its replica is drilled, its tenant drills."""
        for status in self.desk.runs.list(limit=KEPT_MAX):
            held = sorted({each.system for each in status.systems} & set(drill.systems))
            if status.state == "running" and held:
                return f"{held[0]} is held by run {status.run} ({status.kind})"
        replicas = self._replicas(drill.systems)
        for fire in known:
            other = self.calendar.drill(fire.drill) if fire.state == "running" else None
            if other is None or other.name == drill.name:
                continue
            if shared := sorted(self._replicas(other.systems) & replicas):
                return f"drill {other.name} is under way on {shared[0]}"
            if other.tenant == drill.tenant:
                return f"drill {other.name} of {drill.tenant} is under way"
        return ""

    def _replicas(self, systems: Sequence[str]) -> set[str]:
        known = self.desk.inventory.systems
        return {
            known[name].host_of(Side.DR, dataset)
            for name in systems
            if name in known
            for dataset in (None, *(each.name for each in known[name].datasets))
        }

    def _since(self, drill: ScheduledDrill, now: datetime) -> datetime:
        """From when on times of this calendar count: since it was first seen, so that a new one brings no old times."""
        of = digest_of({"cron": drill.cron, "time_zone": drill.time_zone})
        kept = self.desk.catalogue.get("drill_since", drill.name)
        if kept is None or kept["of"] != of:
            kept = {"of": of, "since": timestamp(now)}
            self.desk.catalogue.put("drill_since", drill.name, kept)
        return datetime.fromisoformat(kept["since"])

    def _keep(self, fire: Fire) -> Fire:
        self.desk.catalogue.put("drill_fire", fire.id, fire.model_dump(mode="json"))
        return fire


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """While inside no other process of this home looks at the calendar."""
    skerry_home().mkdir(parents=True, exist_ok=True, mode=0o700)
    with (skerry_home() / "drills.lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def waits_for_person(status: RunStatus, plan: Plan) -> bool:
    """Whether nothing of the run can go on before somebody says something."""
    if status.requests_open:
        return False
    verbs = {step.id: step.action.verb for planned in plan.systems for step in planned.steps}
    rows = [row for system in status.systems for row in system.steps]
    if any(row.state == "started" for row in rows):
        return False
    waiting = [row for row in rows if row.state == "waiting"]
    return bool(waiting) and all(verbs.get(row.step) in FOR_PERSONS for row in waiting)


def fires_as_data(fires: Iterable[Fire]) -> list[dict[str, Any]]:
    """What `--json` prints; docs/cli_json.md is its contract."""
    return [fire.model_dump(mode="json") for fire in fires]
