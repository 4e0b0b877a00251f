"""PrepareFront and SwitchFront: the clients' name, seen as clients see it.

On a way back clients are sent home first, to a closed door, and what was written meanwhile is carried home behind them.
So whatever that needs is looked at before they lose the side that serves them.
"""

from dataclasses import dataclass
from datetime import timedelta

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import TargetError
from orchestrator.model.action import PrepareFront, SwitchFront
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.system import Route53Front
from orchestrator.steps.asked import asked
from orchestrator.steps.homecoming import refuse_unfit_home
from orchestrator.steps.places import host_at


@dataclass(frozen=True)
class PrepareFrontHandler:
    """It does not wait: what was given to clients before is kept by them until `clients_follow_at`."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # a time to live that is low already is left, and observed

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, PrepareFront)
        front = deed.system_plan.system.front
        # A record that was made by others may live longer than the estate wants it to.
        least = front.ttl_seconds if isinstance(front, Route53Front) else action.ttl_seconds
        wanted = min(action.ttl_seconds, least)
        before = self.drivers.front.lower_ttl(front, wanted, key=deed.key)
        if before is None:
            raise TargetError(f"{front.name} has no record yet", hint="Clients cannot be moved from nowhere.")
        after = self.drivers.front.current(front)
        if after is None or after.ttl_seconds > wanted or after.address != before.address:
            raise TargetError(f"{front.name} was to be kept {wanted} s, but now it says {after}")
        data = {
            "name": front.name,
            "address": after.address,
            "ttl_before_seconds": before.ttl_seconds,
            "ttl_seconds": after.ttl_seconds,
            "clients_follow_at": timestamp(self.drivers.clock.now() + timedelta(seconds=before.ttl_seconds)),
        }
        emit("front.prepared", data)
        return Outcome.done(f"{front.name} is kept {after.ttl_seconds} s by clients", **data)


@dataclass(frozen=True)
class SwitchFrontHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # the same switch twice is one, and a gate judges what it observes

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, SwitchFront)
        front = deed.system_plan.system.front
        wanted = host_at(deed, action.side).address
        if deed.mode == "undo":
            refuse_unfit_home(self.drivers, deed, action.side)
        progress(Progress(text=f"{front.name} → {wanted}"))
        before = self.drivers.front.switch(front, wanted, key=deed.key)
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
