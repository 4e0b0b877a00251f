"""Injects of scheduled drills: the next one is put into a drill of its system, in a bubble; and the catalogue."""

from typing import Any

from orchestrator.foundation.errors import OrchestratorError, RunInProgress, UsageError
from orchestrator.model.drill import INJECTS, Injected, InjectName, ScheduledDrill
from orchestrator.model.names import SystemName
from orchestrator.operations.desk import Desk
from orchestrator.operations.drills import InjectNext
from orchestrator.operations.migrate import new_run_id
from orchestrator.operations.replication import find_system, recording
from orchestrator.operations.standing import when_free
from orchestrator.steps.bubble_drill import BubbleDriller
from orchestrator.steps.bubble_result import complain
from orchestrator.steps.inject_turns import in_turn, why_not_into


def injecting(desk: Desk) -> InjectNext:
    """The next inject that fits, in a bubble, between runs, on record. RunInProgress while others have the ledger."""

    def put(name: SystemName, drill: ScheduledDrill) -> Injected:
        system, why_not = find_system(desk.inventory, name), ""
        last = {inject: kept["at"] for inject, kept in kept_injects(desk, name).items()}
        with when_free(desk, 0.0, unmoved=[name]) as recorder:
            driller = BubbleDriller(
                desk.inventory.systems, desk.inventory.hosts, desk.drivers, recording(desk, recorder)
            )
            for inject in in_turn(system, last, drill.injects):
                try:
                    found = driller.drill(name, bubble=new_run_id(), by=drill.operator, inject=inject)
                except UsageError as error:  # it does not fit what there is now: the next one
                    why_not = error.message
                    continue
                except RunInProgress:
                    raise
                except OrchestratorError as error:
                    return Injected(system=name, inject=inject, why_not=error.message)
                if found.cut_off:  # its turn comes again
                    complain(found)
                told = "; ".join(found.why_not)
                return Injected(system=name, inject=inject, drill=found.id, found=found.found, why_not=told)
        return Injected(system=name, why_not=why_not or f"none of {', '.join(drill.injects)} fits")

    return put


def kept_injects(desk: Desk, system: SystemName) -> dict[InjectName, dict[str, Any]]:
    """What came of each inject when it was last put into a drill of the system."""
    found = desk.catalogue.list("drill_inject", prefix=f"{system}/")
    return {document["inject"]: document for _, document in found}


def inject_rows(desk: Desk, name: SystemName) -> list[dict[str, Any]]:
    """The catalogue for one system, the next one first; then those that do not fit it, and why."""
    system, kept = find_system(desk.inventory, name), kept_injects(desk, name)
    turns = in_turn(system, {inject: found["at"] for inject, found in kept.items()})
    left = [inject for inject in INJECTS if inject not in turns]
    nothing = {"at": "", "drill": "", "found": "", "proved_by": ""}
    return [
        {**nothing, **kept.get(inject, {}), "inject": inject, "why_not": why_not_into(inject, system)}
        for inject in (*turns, *left)
    ]
