"""What a drill in a bubble showed: kept on record, told to people, and judged."""

from collections.abc import Callable
from typing import Any, Literal

from orchestrator.contracts.bubbles import Attempt, BubbleClone, CarriedBack, Leftovers, StartedUnit
from orchestrator.contracts.catalogue import Catalogue
from orchestrator.foundation.errors import Interrupted, RunFailed
from orchestrator.model.drill import InjectName
from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Name, SystemName
from orchestrator.model.site import Side
from orchestrator.steps.bubble_replication import StreamSeen
from orchestrator.steps.bubble_system import CheckSeen
from orchestrator.steps.drill_measures import Measured, Verdict
from orchestrator.steps.machine_shown import MachineShown


class DrilledSystem(Frozen):
    """A system that was started because the drilled one depends on it."""

    system: SystemName
    point: str
    point_at: str
    operational_at: str = ""
    checks: tuple[CheckSeen, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


class BubbleDrill(Frozen):
    """What a drill in a bubble showed. The clock starts when the drill begins and stops when every check has passed."""

    id: str
    system: SystemName
    at: Literal[Side.DR, Side.CLOUD] = Side.DR
    by: Name
    host: str
    point: str
    point_at: str
    point_named: bool = False  # somebody asked for a point of the past: its age is told, and fails no drill
    begun_at: str
    erased_by: str = ""  # at the latest, whatever becomes of the drill
    may_enter: tuple[Name, ...] = ()
    with_systems: tuple[DrilledSystem, ...] = ()
    without_systems: tuple[SystemName, ...] = ()  # it depends on them, and their replicas lie on other hosts
    operational_at: str = ""
    erased_at: str = ""
    # What they went into: looks, bring, clone, isolation, data, start, checks, back, close.
    seconds: dict[str, float] = {}
    clones: tuple[BubbleClone, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    isolated: bool = False
    machines: tuple[MachineShown, ...] = ()
    started: tuple[StartedUnit, ...] = ()
    checks: tuple[CheckSeen, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    service: tuple[Verdict, ...] = ()  # of it and `with_systems` together; alone, its own are those of the service
    trend: tuple[Measured, ...] = ()  # what its drills before measured, oldest first
    carried_back: tuple[CarriedBack, ...] = ()
    replication: tuple[StreamSeen, ...] = ()
    production_changed: tuple[str, ...] = ()
    left: Leftovers = Leftovers()
    inject: InjectName | None = None
    found: str = ""  # what named the inject
    why_not: tuple[str, ...] = ()
    cut_off: bool = False  # by whoever drilled

    @property
    def passed(self) -> bool:
        return not self.why_not

    def keep(self, catalogue: Catalogue, tell: Callable[[str, dict[str, Any]], None]) -> None:
        """On record, and where the next drills find it."""
        result = {**self.model_dump(mode="json"), "attempts": len(self.attempts), "passed": self.passed}
        tell("drill.finished", result)
        catalogue.put("drill_result", f"{self.system}/{self.id}", {**result, "trend": []})


def complain(drill: BubbleDrill) -> None:
    """RunFailed with every reason, where it did not pass; Interrupted where it was cut off."""
    if drill.cut_off:
        gone = ("nothing of it is left",) if drill.erased_at and not drill.left.any else ()
        raise Interrupted(f"{drill.system}: {'; '.join([*drill.why_not, *gone])}", hint="The same command drills anew.")
    if not drill.passed:
        raise RunFailed(f"{drill.system}: {'; '.join(drill.why_not)}", hint="Nothing of production was touched by us.")
