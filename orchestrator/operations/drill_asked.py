"""Drills that somebody asks for by a system or a wave, whatever the calendar says: their plan, by the drill runbook."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.contracts.progress import ProgressSink
from orchestrator.engine.worker_store import step_key
from orchestrator.foundation.errors import HostError, UsageError
from orchestrator.model.action import DrillInBubble
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import HostName, Name, SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.site import Side
from orchestrator.operations.desk import open_desk
from orchestrator.operations.estate import inventory_folder
from orchestrator.operations.migrate import unfinished_run
from orchestrator.operations.standing import when_free
from orchestrator.operations.survey import newest_facts
from orchestrator.operations.waves import has_waves, read_waves
from orchestrator.planning.runbook import Scalar
from orchestrator.steps.bubble_drill import rules_of
from orchestrator.steps.bubble_elsewhere import BroughtData
from orchestrator.steps.bubbling import bubble_of


def systems_asked(named: str, folder: Path, inventory: Inventory) -> tuple[SystemName, ...]:
    """The system of that name, or the systems of that wave; none where it is neither."""
    if named in inventory.systems:
        return (named,)
    found = read_waves(folder, inventory).program.wave(named) if has_waves(folder) else None
    return tuple(found.systems) if found is not None else ()


def runbook_asked(inventory: Inventory, systems: Sequence[SystemName], at: str) -> str:
    """The shipped runbook that drills these systems at `dr` or `cloud`; UsageError where no single one does."""
    if at == "dr":
        return "drill"
    from_images = [name for name in systems if _starts_from_image(inventory, name)]
    if from_images and set(from_images) != set(systems):
        raise UsageError(
            f"machines of {', '.join(from_images)} start from images, those of other systems do not",
            hint="At the cloud drill these one by one: skerry drill run SYSTEM --at cloud --as PERSON",
        )
    return "drill-at-cloud" if from_images else "drill-on-machine"


def _starts_from_image(inventory: Inventory, system: SystemName) -> bool:
    names = inventory.systems[system].hosts_of(Side.CLOUD)
    return any(name in inventory.machines and inventory.machines[name].seeded_from for name in names)


def plan_asked(
    named: str, *, author: Name, at: str, runbook_file: Callable[[str], Path], inputs: Mapping[str, Scalar]
) -> Plan | None:
    """Compile and keep the drill of a system or wave; None where `named` is neither. The same plan for the same facts.

    Touches no host. `runbook_file` finds a shipped runbook.
    """
    with open_desk(inventory_folder()) as desk:
        systems = systems_asked(named, inventory_folder(), desk.inventory)
        if not systems:
            return None
        runbook = runbook_asked(desk.inventory, systems, at)
        if runbook == "drill-at-cloud" and inputs:
            raise UsageError("of images a new point is taken and seeded", hint="Leave --point and --older-than out.")
        facts = newest_facts(desk.inventory, desk.catalogue)
        return desk.make_plan(
            runbook_file(runbook), wave=named, author=author, facts=facts, systems=systems, inputs=inputs
        )


def await_turn(plan: Plan, *, operator: Name, wait_seconds: float, show: ProgressSink) -> None:
    """Return once nobody carries runs and no system of the plan is being moved; RunInProgress after `wait_seconds`.

    A plan that may not run, and who may not enter a bubble of its systems, is refused before anything is waited for.
    """
    rules_of([each.system for each in plan.systems], operator)
    with open_desk(inventory_folder()) as desk:
        if unfinished_run(desk.runs, plan.digest) is None:
            desk.ensure_allowed(plan, operator)
        with when_free(desk, wait_seconds, show, unmoved=[each.system.name for each in plan.systems]):
            return


def take_bubbles_away(plan: Plan) -> list[HostName]:
    """End bubbles that the cut-off run of this plan left, and let go of what was brought for them; where none is left.

    A host that cannot be asked is left out: a bubble there ends by itself within a minute.
    """
    clean: list[HostName] = []
    with open_desk(inventory_folder()) as desk:
        run = unfinished_run(desk.runs, plan.digest)
        if run is None:
            return clean
        drills = [
            (planned.system, step.id, step.action.side)
            for planned in plan.systems
            for step in planned.steps
            if isinstance(step.action, DrillInBubble)
        ]
        for system, step_id, side in drills:
            bubble = bubble_of(step_key(run.run, system.name, step_id, "do"))
            for name in system.hosts_of(side):
                with suppress(HostError):
                    host = plan.hosts[name]
                    left = desk.drivers.bubbles.close(host, bubble)
                    if side is not Side.DR:
                        BroughtData(desk.drivers, host).take_away()
                    clean += [] if left.any else [name]
    return clean
