"""SeizeAuthority and PromoteAlone: the side that had authority is lost.

Rules:
  a side that answers is confirmed stopped, or the number does not move: then a cutover is what is wanted
  for a side that does not answer a named person's signed word stands in, given for just this fencing number
  what a lost side left nobody knows; the run says how far the survivor's data reach, and claims no more
"""

from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.databases import Role
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.errors import AuthorityError, DigestMismatch, HostUnreachable
from orchestrator.model.action import PromoteAlone, SeizeAuthority
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.steps.asked import asked
from orchestrator.steps.authority import OneSide
from orchestrator.steps.damages import refuse_damaged
from orchestrator.steps.orders import order_of
from orchestrator.steps.places import clusters, host_at
from orchestrator.steps.starts import is_guarded, said_of_lost_side
from orchestrator.steps.words import as_evidence, mark_lost, word_of


@dataclass(frozen=True)
class SeizeAuthorityHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # the store knows the key of the move that was made; asking again changes nothing

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, SeizeAuthority)
        system = deed.system_plan.system.name
        present = self.drivers.authority.read(system)
        moved_by_us = present.side is action.to_side and present.by == deed.key
        if present.side is action.to_side and not moved_by_us:
            # A newer number at the same side: whoever saw the old one, and was about to move it, finds it gone.
            key = f"{deed.key}/renewed"
            renewed = self.drivers.authority.move(
                system, expected_number=present.number, to=action.to_side, key=key, ticket=deed.ticket
            )
            done = f"authority is at {action.to_side.value}"
            return Outcome.done(done, number=renewed.number, side=action.to_side.value, moved=False)
        if present.side is not action.from_side and not moved_by_us:
            raise AuthorityError(f"{system}: authority is at {present.side.value}, not at {action.from_side.value}")
        number = present.number - 1 if moved_by_us else present.number
        if not moved_by_us:
            self._refuse_damaged(deed, action.to_side, number, emit)
        progress(Progress(text=f"looking whether {action.from_side.value} is stopped"))
        confirmed = self._confirmed(deed, action.from_side, number)
        if "word" in confirmed:
            mark_lost(self.drivers, system, action.from_side, number)
        moved = self.drivers.authority.move(
            system, expected_number=number, to=action.to_side, key=deed.key, ticket=deed.ticket
        )
        told = {"from": action.from_side.value, "to": action.to_side.value, "number": moved.number}
        emit("authority.moved", {**told, "confirmed": confirmed})
        return Outcome.done(
            f"authority number {moved.number} is at {action.to_side.value}"
            + (f", on the word of {confirmed['word']['person']}" if "word" in confirmed else ""),
            number=moved.number,
            side=action.to_side.value,
            moved=True,
            confirmed=confirmed,
        )

    def _refuse_damaged(self, deed: Deed, side: Side, number: int, emit: Emit) -> None:
        """What is known to be damaged takes over on a person's word alone: there may be nothing better left."""
        system = deed.system_plan.system.name
        try:
            refuse_damaged(self.drivers.catalogue, system, side)
        except DigestMismatch as error:
            word = word_of(self.drivers, deed, "loss_accepted", side, number)
            if word is None:
                raise DigestMismatch(
                    error.message,
                    hint=f"Where there is nothing better, a named person accepts what is lost: skerry word {system} "
                    f"--accept-loss {side.value} --as PERSON --key KEYFILE --because WHY",
                ) from error
            emit("loss.accepted", {"side": side.value, "damaged": error.message, **as_evidence(word)})

    def _confirmed(self, deed: Deed, side: Side, number: int) -> dict[str, Any]:
        """What was seen of the side or, where nothing can be seen, who vouches for it."""
        try:
            return OneSide(self.drivers, deed, side).confirm_stopped(number)
        except HostUnreachable as error:
            word = word_of(self.drivers, deed, "side_is_down", side, number)
            if word is None:
                system = deed.system_plan.system.name
                raise AuthorityError(
                    f"{system}: {error.message}, so nobody has seen that {side.value} is stopped",
                    hint=f"Make sure that it is, and stays, off ({said_of_lost_side(self.drivers, system, side)}). "
                    "Then a named person says so with their key: "
                    f"skerry word {system} --down {side.value} --as PERSON --key KEYFILE --because WHY",
                ) from error
            guarded = is_guarded(self.drivers, deed.system_plan.system.name, side)
            return {**as_evidence(word), "starts_guarded": guarded}


@dataclass(frozen=True)
class PromoteAloneHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # a database that is primary already is left alone

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, PromoteAlone)
        system = deed.system_plan.system.name
        authority = self.drivers.authority.read(system)
        if authority.side is not action.side:
            raise AuthorityError(f"{system}: {action.side.value} may not write, authority is at {authority.side.value}")
        order = order_of(authority, deed, action.side)
        marks: dict[str, str] = {}
        for cluster in clusters(deed):
            host = host_at(deed, action.side, cluster.name)
            if self.drivers.databases.role(cluster, host) is Role.STOPPED:
                self.drivers.databases.start(cluster, host, order=order)
            marks[cluster.name] = self.drivers.databases.end(cluster, host).lsn
            progress(Progress(dataset=cluster.name, text=f"promoting {cluster.name} on {host.name}"))
            self.drivers.databases.promote(cluster, host, order=order)
        told = {"side": action.side.value, "number": authority.number, "marks": marks, "alone": True}
        emit("databases.promoted", told)
        return Outcome.done(f"{len(marks)} databases are primary at {action.side.value}", marks=marks)
