"""drills.yml as people write it: parsed, judged key by key, times of the calendar checked. Bytes in, values out."""

from typing import Literal

from pydantic import Field

from orchestrator.foundation.written_file import Finding, Location, WrittenFile, did_you_mean, written_section
from orchestrator.foundation.written_model import judge
from orchestrator.model.drill import INJECTS, DrillCalendar, InjectName, ScheduledDrill
from orchestrator.model.frozen import Frozen
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import Name, Seconds, SystemName
from orchestrator.model.wave import Freeze
from orchestrator.planning.drill_schedule import cron_problem
from orchestrator.planning.wave_file import WrittenFreeze, freezes_of
from orchestrator.planning.windows import zone

SECTION = "drills"


class WrittenDrill(Frozen):
    drill: Name
    systems: tuple[SystemName, ...] = Field(min_length=1)
    cron: str
    time_zone: str
    operator: Name
    runbook: str = "drill"
    tenant: Name = "estate"
    jitter: Seconds = 0.0
    late_by: Seconds = 6 * 3600.0
    missed: Literal["catch_up", "report"] = "catch_up"
    injects: tuple[InjectName, ...] = Field(default=INJECTS, min_length=1)
    participants: tuple[Name, ...] = ()
    observers: tuple[Name, ...] = ()
    announced: bool | None = None


class WrittenDrills(Frozen):
    """The file, below its key `drills`."""

    blackouts: tuple[WrittenFreeze, ...] = ()
    schedule: tuple[WrittenDrill, ...] = Field(min_length=1)


def parse_drill_file(
    content: bytes, name: str, inventory: Inventory, findings: list[Finding]
) -> DrillCalendar | None:
    """The drills in `content`; None, and findings with file and line, where they cannot be."""
    found = written_section(content, name, SECTION, findings)
    if found is None:
        return None
    written, section = found
    drills = judge(WrittenDrills, section, written, findings, at=(SECTION,))
    if drills is None or findings:
        return None
    blackouts: tuple[Freeze, ...] = freezes_of(drills.blackouts, written, (SECTION, "blackouts"), findings)
    for position, drill in enumerate(drills.schedule):
        _judge_drill(drill, (SECTION, "schedule", position), written, inventory, findings)
    names = [drill.drill for drill in drills.schedule]
    for position, each in enumerate(names):
        if names.index(each) != position:
            findings.append(written.finding((SECTION, "schedule", position), f"drill {each} is there twice"))
    if findings:
        return None
    return DrillCalendar(drills=tuple(_scheduled(each) for each in drills.schedule), blackouts=blackouts)


def _judge_drill(
    drill: WrittenDrill, at: Location, written: WrittenFile, inventory: Inventory, findings: list[Finding]
) -> None:
    if problem := cron_problem(drill.cron):
        findings.append(written.finding((*at, "cron"), problem))
    try:
        zone(drill.time_zone)
    except ValueError as error:
        findings.append(written.finding((*at, "time_zone"), str(error)))
    for position, system in enumerate(drill.systems):
        if system not in inventory.systems:
            near = did_you_mean(system, list(inventory.systems))
            findings.append(written.finding((*at, "systems", position), f"no system is called {system}{near}"))
    named = [("operator", drill.operator)]
    named += [("participants", each) for each in drill.participants] + [("observers", each) for each in drill.observers]
    for key, person in named:
        if person not in inventory.people:
            near = did_you_mean(person, list(inventory.people))
            findings.append(written.finding((*at, key), f"no person is called {person}{near}"))


def _scheduled(drill: WrittenDrill) -> ScheduledDrill:
    return ScheduledDrill(
        name=drill.drill,
        systems=drill.systems,
        cron=drill.cron,
        time_zone=drill.time_zone,
        operator=drill.operator,
        runbook=drill.runbook,
        tenant=drill.tenant,
        jitter_seconds=drill.jitter,
        late_seconds=drill.late_by,
        missed=drill.missed,
        injects=drill.injects,
        participants=drill.participants,
        observers=drill.observers,
        announced=drill.announced,
    )
