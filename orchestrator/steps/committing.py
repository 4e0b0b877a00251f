"""Commit: the system lives at its new side; what was achieved is measured against what was asked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import ProgressSink
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import AuthorityError, TargetError
from orchestrator.model.action import Commit
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.steps.asked import asked
from orchestrator.steps.places import host_at


def seconds_between(start: str, end: str) -> float:
    """Between two RFC 3339 times."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def achieved(earlier: dict[str, dict[str, Any]], started_by: str, restored_by: str) -> dict[str, float | None]:
    """Recovery time and point, measured from what steps observed.

    RTA: from the start of `started_by` (the service is taken away) to the end of `restored_by` (it is verified again).
    RPA: 0 when the digests taken after the last write are equal at every side, for then the newest recovered data is
    the newest there is; None when that was not shown, such as when a side is lost and nobody knows what it held.
    """
    start = earlier.get(started_by, {}).get("started_at")
    end = earlier.get(restored_by, {}).get("finished_at")
    every_side = {side.value for side in Side}
    equal = any(
        observed.get("equal") is True and every_side <= set(observed.get("digests", every_side))
        for observed in earlier.values()
    )
    return {
        "rto_seconds": round(seconds_between(start, end), 3) if start and end else None,
        "rpo_seconds": 0.0 if equal else None,
    }


@dataclass(frozen=True)
class CommitHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # it measures and says; saying it again is the same word

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, Commit)
        system = deed.system_plan.system
        authority = self.drivers.authority.read(system.name)
        if authority.side is not action.side:
            raise AuthorityError(
                f"{system.name}: cannot commit to {action.side.value}, authority is at {authority.side.value}"
            )
        self._refuse_elsewhere(deed, action.side)
        measured = achieved(deed.earlier, "drain", "check_front")
        for name, target in (("rto", system.objectives.rto), ("rpo", system.objectives.rpo)):
            value = measured[f"{name}_seconds"]
            emit(
                "objective.measured",
                {
                    "objective": name,
                    "target_seconds": target,
                    "achieved_seconds": value,
                    "met": value is not None and value <= target,
                },
            )
        self._settle_front(deed, emit)
        data = {"side": action.side.value, "number": authority.number, "at": timestamp(self.drivers.clock.now())}
        emit("system.committed", {**data, **measured})
        return Outcome.done(f"{system.name} lives at {action.side.value}", **data, **measured)

    def _refuse_elsewhere(self, deed: Deed, side: Side) -> None:
        """AuthorityError where clients are sent to another address: this orchestrator may have been left behind, with
        its own record of the authority. A front that does not answer says nothing.
        """
        front, wanted = deed.system_plan.system.front, host_at(deed, side).address
        try:
            present = self.drivers.front.current(front)
        except TargetError:
            return
        if present is not None and present.address != wanted:
            raise AuthorityError(
                f"{front.name} sends clients to {present.address}, and not to {wanted} at {side.value}: nothing is "
                "committed there",
                hint="Another orchestrator, or a person, has gone on meanwhile: find out who, and which side serves.",
            )

    def _settle_front(self, deed: Deed, emit: Emit) -> None:
        """Nobody goes back by this run: answers may be kept as long as usual. It is no reason not to commit."""
        front = deed.system_plan.system.front
        try:
            self.drivers.front.settle(front, key=deed.key)
        except TargetError as error:
            emit("front.not_settled", {"name": front.name, "why": error.message})
