"""What people ask of the drill calendar: the estate is opened, looked at, and told as data."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.contracts.progress import ProgressSink
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import (
    EngineUnavailable,
    GateClosed,
    HostError,
    InventoryError,
    OrchestratorError,
    PlanningError,
    UsageError,
)
from orchestrator.model.drill import InjectName, ScheduledDrill
from orchestrator.operations.desk import open_desk
from orchestrator.operations.drill_injects import inject_rows, injecting
from orchestrator.operations.drills import (
    KEPT_MAX,
    DrillBook,
    drill_named,
    fires_as_data,
    kept_fires,
    plan_of,
    read_drills,
)
from orchestrator.operations.estate import inventory_folder
from orchestrator.operations.migrate import new_run_id
from orchestrator.operations.replication import find_system, recording
from orchestrator.operations.standing import once_possible, when_free
from orchestrator.operations.starts import guarded_systems, see_to_once
from orchestrator.operations.status import run_list
from orchestrator.operations.way_back import take_up_what_waits
from orchestrator.planning.drill_schedule import next_fires
from orchestrator.steps.bubble_drill import HEALTHY_SECONDS_MAX, BubbleDriller
from orchestrator.steps.bubble_result import BubbleDrill
from orchestrator.steps.drill_measures import Measured, trend_of


def scheduled_drills() -> list[dict[str, Any]]:
    """Every drill of the calendar, with its next time, its plan, what keeps that from running, and its last time."""
    with open_desk(inventory_folder()) as desk:
        calendar = read_drills(inventory_folder(), desk.inventory)
        now = desk.clock.now()
        return [
            {
                **drill.model_dump(mode="json"),
                "drill": drill.name,
                "next": next(iter(fires_as_data(next_fires(drill, now, calendar.blackouts))), None),
                "last": next(iter(fires_as_data(kept_fires(desk.catalogue, drill.name, limit=1))), None),
                **_readiness(DrillBook(desk, calendar, injecting(desk)), drill),
            }
            for drill in calendar.drills
        ]


def _readiness(book: DrillBook, drill: ScheduledDrill) -> dict[str, Any]:
    """The plan's digest, and why it may not run now."""
    plan = plan_of(book.desk.catalogue, drill)
    in_the_way = ""
    try:
        book.allowed_plan(drill)
    except (PlanningError, GateClosed) as error:
        in_the_way = error.message
    return {"plan": plan.digest if plan is not None else "", "in_the_way": in_the_way}


def last_run_of(named: str) -> str:
    """The newest run of a drill: of drills.yml, or as somebody drilled a system or a wave. UsageError for none."""
    for status in run_list(limit=KEPT_MAX):
        if status.wave == named and status.kind == "drill":
            return status.run
    raise UsageError(
        f"nobody has drilled {named} by a runbook",
        hint="See what there is: skerry drill history, skerry runs list. A drill in a bubble alone is no run.",
    )


def coming_fires(named: str | None, *, count: int) -> list[dict[str, Any]]:
    with open_desk(inventory_folder()) as desk:
        calendar = read_drills(inventory_folder(), desk.inventory)
        drills = [drill_named(calendar, named)] if named else list(calendar.drills)
        now = desk.clock.now()
        fires = [fire for drill in drills for fire in next_fires(drill, now, calendar.blackouts, count=count)]
    return fires_as_data(sorted(fires, key=lambda fire: fire.start))


def past_fires(named: str | None, *, limit: int) -> list[dict[str, Any]]:
    """Newest first; of a drill that the calendar no longer has, too."""
    with open_desk(inventory_folder()) as desk:
        DrillBook(desk, read_drills(inventory_folder(), desk.inventory), injecting(desk)).settle()
        return fires_as_data(kept_fires(desk.catalogue, named or "", limit=limit))


def injects_of(system: str) -> list[dict[str, Any]]:
    with open_desk(inventory_folder()) as desk:
        return inject_rows(desk, system)


def trends(named: str | None) -> dict[str, list[Measured]]:
    """By system what its drills in bubbles measured; of those of one drill, or of every system that has any."""
    with open_desk(inventory_folder()) as desk:
        systems: Iterable[str] = desk.inventory.systems
        if named:
            systems = drill_named(read_drills(inventory_folder(), desk.inventory), named).systems
        return {system: trend for system in systems if (trend := trend_of(desk.catalogue, system))}


def look_once() -> list[dict[str, Any]]:
    """Begin what is due and carry it on; each time that changed, as it is in the end."""
    with open_desk(inventory_folder()) as desk:
        book = DrillBook(desk, read_drills(inventory_folder(), desk.inventory), injecting(desk))
        changed = {fire.id: fire for fire in [*book.look(), *book.carry()]}
        return fires_as_data(changed.values())


def see_to_starts() -> dict[str, str]:
    """Tell hosts that have booted whether they may serve; what went wrong, by system."""
    with open_desk(inventory_folder()) as desk:
        try:
            return see_to_once(desk) if guarded_systems(desk) else {}
        except OrchestratorError as error:  # drills begin all the same, and there is a next look
            return dict.fromkeys(guarded_systems(desk), error.message)


def run_drill(named: str, *, wait_seconds: float, show: ProgressSink) -> dict[str, Any]:
    """Begin it now, or once nothing is in its way, and carry it on."""
    with open_desk(inventory_folder()) as desk:
        book = DrillBook(desk, read_drills(inventory_folder(), desk.inventory), injecting(desk))
        drill = drill_named(book.calendar, named)
        begun = once_possible(lambda: book.begin_now(drill), desk.clock, wait_seconds, show)
        book.carry()
        ended = [fire for fire in kept_fires(desk.catalogue, begun.drill) if fire.id == begun.id]
        return fires_as_data(ended)[0]


def serve_drills(*, every_seconds: float, troubled: Callable[[str], None]) -> Iterator[list[dict[str, Any]]]:
    """Look for ever; what changed, look by look. What is wrong with the estate is told once, and looked at again.

    A run that waits at its new side and that nobody carries is taken up, too.
    """
    last_trouble, caretaker = "", 0
    clock = SystemClock()
    while True:
        try:
            yield look_once()
            for system, trouble in see_to_starts().items():
                troubled(f"{system}: nobody sees to its starts: {trouble}")
            # One that begins takes some seconds until it is seen to carry anything.
            if not Path(f"/proc/{caretaker}/stat").exists() and (caretaker := take_up_what_waits()):
                troubled(f"process {caretaker} carries what waits for its commit: nobody did any more")
            last_trouble = ""
        except (InventoryError, EngineUnavailable, HostError) as error:
            if error.message != last_trouble:
                troubled(f"{error.message}\n{error.hint}")
            last_trouble = error.message
        clock.sleep(every_seconds)


def drill_in_bubble(
    system: str,
    *,
    by: str,
    point: str,
    older_than_seconds: float,
    inject: InjectName | None = None,
    pass_seconds: float = HEALTHY_SECONDS_MAX,
    wait_seconds: float,
    show: ProgressSink,
) -> BubbleDrill:
    """A drill in a bubble, between runs, on record. A run that is under way, or moves the system, is waited for."""
    with open_desk(inventory_folder()) as desk:
        find_system(desk.inventory, system)
        with when_free(desk, wait_seconds, show, unmoved=[system]) as recorder:
            driller = BubbleDriller(
                desk.inventory.systems,
                desk.inventory.hosts,
                desk.drivers,
                recording(desk, recorder),
                pass_seconds,
                progress=show,
            )
            return driller.drill(
                system, bubble=new_run_id(), by=by, point=point, older_than_seconds=older_than_seconds, inject=inject
            )
