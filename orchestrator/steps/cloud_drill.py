"""DrillAtCloud: a drill by machines of the cloud that start from the point's image where nothing leads out."""

from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.bubbles import Attempt, Leftovers
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import OrchestratorError, PlanningError
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.steps.bubble_drill import TREND_TOLD
from orchestrator.steps.bubble_looks import Looks, differences
from orchestrator.steps.bubble_result import BubbleDrill
from orchestrator.steps.bubble_system import CheckSeen
from orchestrator.steps.bubbling import bubble_id, outcome_of, tell_measures
from orchestrator.steps.drill_measures import Spent, missed, points_at_dr, trend_of, verdicts_of
from orchestrator.steps.injects import Inject
from orchestrator.steps.testing import EndTestMachineHandler, StartTestMachineHandler, hosts_beside


@dataclass(frozen=True)
class DrillAtCloudHandler:
    """The clock stops when each machine has started, was seen to be closed in, and every check passed."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # what a drill showed before it was cut off is not known; it is done anew

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        machines = [tested.name for _, tested in hosts_beside(deed)]
        point = self._point(deed)
        self._end(deed, progress, emit)  # an earlier try may have been cut off
        system, spent = deed.system_plan.system, Spent(self.drivers.clock)
        drill = BubbleDrill(
            id=bubble_id(deed),
            system=system.name,
            at=Side.CLOUD,
            by=deed.plan.author,
            host=", ".join(machines),
            point=point.id,
            point_at=point.at,
            begun_at=timestamp(self.drivers.clock.now()),
        )
        emit("drill.begun", drill.model_dump(mode="json"))
        looks = Looks(deed.plan.hosts, self.drivers, Inject(None, system))
        with spent.on("looks"):
            before, _ = looks.production([system])
        seen = self._started(deed, drill, spent, progress, emit)
        with spent.on("close"):
            left, why = self._closed(deed, progress, emit)
        after, unseen = looks.production([system])
        changed = tuple(differences(before, after))
        why = (*seen.pop("why_not"), *why, *unseen, *(f"production changed meanwhile: {each}" for each in changed))
        drill = drill.model_copy(
            update={
                **seen,
                "left": left,
                "erased_at": "" if left.any else timestamp(self.drivers.clock.now()),
                "production_changed": changed,
                "seconds": spent.seconds,
                "trend": tuple(trend_of(self.drivers.catalogue, system.name, at=Side.CLOUD, limit=TREND_TOLD)),
                "why_not": why,
            }
        )
        drill.keep(self.drivers.catalogue, emit)
        tell_measures(drill, emit)
        return outcome_of(drill)

    def _point(self, deed: Deed) -> RecoveryPoint:
        """The point of which the images were made that the machines start from."""
        system = deed.system_plan.system.name
        specs = [deed.plan.machines[host.name] for host, _ in hosts_beside(deed)]
        seeded = [self.drivers.catalogue.get("cloud_image", f"{system}/{spec.seeded_from}") for spec in specs]
        points = {str(image["point"]) for image in seeded if image is not None}
        found = [each for each in points_at_dr(self.drivers.catalogue, system) if each.id in points]
        if len(found) != 1:
            raise PlanningError(
                f"{system}: the cloud has no images of one recovery point that machines would start from",
                hint="Seed them first: the step seed_image. Drill other systems in a bubble at DR.",
            )
        return found[0]

    def _started(
        self, deed: Deed, drill: BubbleDrill, spent: Spent, progress: ProgressSink, emit: Emit
    ) -> dict[str, Any]:
        """What the machines showed; what was wrong with them is told in it."""
        try:
            with spent.on("start"):
                machines = StartTestMachineHandler(self.drivers).act(deed, progress, emit).observed["machines"]
        except OrchestratorError as error:
            return {"why_not": (error.message,)}
        lines = [line for each in machines.values() for line in (*each["isolated_before"], *each["isolated_after"])]
        attempts = tuple(
            Attempt(attempt="cloud", target=line, reached=False, outcome="as the cloud says")
            for line in dict.fromkeys(lines)
        )
        told = [each.model_dump(mode="json") for each in attempts]
        emit("bubble.proved", {"drill": drill.id, "isolated": True, "attempts": told})
        now = self.drivers.clock.now()
        checks = tuple(CheckSeen.model_validate(check) for each in machines.values() for check in each["checks"])
        verdicts = verdicts_of(deed.system_plan.system, begun_at=drill.begun_at, point_at=drill.point_at, now=now)
        return {
            "attempts": attempts,
            "isolated": True,
            "operational_at": timestamp(now),
            "checks": checks,
            "verdicts": verdicts,
            "why_not": tuple(missed(verdicts)),
        }

    def _closed(self, deed: Deed, progress: ProgressSink, emit: Emit) -> tuple[Leftovers, tuple[str, ...]]:
        """What is still there once all was ended. A clean-up that fails is told, and fails the drill."""
        try:
            self._end(deed, progress, emit)
            found = [self.drivers.target.find(tested) for _, tested in hosts_beside(deed)]
        except OrchestratorError as error:
            return Leftovers(), (f"the clean-up failed: {error.message}",)
        left = Leftovers(machines=tuple(machine.id for machine in found if machine is not None))
        return left, (f"machines are left: {', '.join(left.machines)}",) if left.any else ()

    def _end(self, deed: Deed, progress: ProgressSink, emit: Emit) -> None:
        progress(Progress(text="ending test machines"))
        EndTestMachineHandler(self.drivers).act(deed, progress, emit)
