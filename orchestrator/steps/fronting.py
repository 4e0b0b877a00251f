"""SwitchFront: the clients' name points at a side, seen as clients see it."""

from dataclasses import dataclass

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import TargetError
from orchestrator.model.action import SwitchFront
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.steps.asked import asked
from orchestrator.steps.places import host_at


@dataclass(frozen=True)
class SwitchFrontHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # the same switch twice is one, and a gate judges what it observes

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, SwitchFront)
        front = deed.system_plan.system.front
        wanted = host_at(deed, action.side).address
        before = self.drivers.front.current(front)
        progress(Progress(text=f"{front.name} → {wanted}"))
        self.drivers.front.switch(front, wanted, key=deed.key)
        after = self.drivers.front.current(front)
        if after is None or after.address != wanted:
            raise TargetError(
                f"{front.name} was switched to {wanted} but answers {after.address if after else 'nothing'}"
            )
        data = {
            "name": front.name,
            "before": before.address if before else "",
            "after": after.address,
            "ttl_seconds": after.ttl_seconds,
            "side": action.side.value,
            "at": timestamp(self.drivers.clock.now()),
        }
        emit("front.switched", data)
        return Outcome.done(f"{front.name} is {wanted}", **data)
