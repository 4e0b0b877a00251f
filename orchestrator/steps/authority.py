"""MoveAuthority, Promote and CarryBack: at any instant at most one side may write.

Rules:
  the old side's services are seen stopped, their ports closed, a fence standing, its databases shut down, before the
  number moves;
  a side is promoted only when it holds the newest number;
  nothing that was written at the side that is left behind is dropped: it is carried across and proved by digest,
  unless a named person's signed word accepts the loss; what trees and volumes hold there is kept as a point then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.contracts.authority import Order
from orchestrator.contracts.databases import Role
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.programs import root_user, run_program
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.errors import AuthorityError, CommandFailed
from orchestrator.model.action import CarryBack, MoveAuthority, Promote
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.model.word import SignedWord
from orchestrator.steps.asked import asked
from orchestrator.steps.damages import refuse_damaged
from orchestrator.steps.orders import order_of
from orchestrator.steps.places import clusters, host_at
from orchestrator.steps.proving import compare_sides
from orchestrator.steps.readiness import in_parallel
from orchestrator.steps.still_data import StillDataMover, keep_given_up, still_data
from orchestrator.steps.words import as_evidence, given_up, word_of
from orchestrator.steps.written_over import confirm_fence, recover_behind_fence, refuse_open

RECEIVE_SECONDS_MAX = 120.0
CATCH_UP_SECONDS_MAX = 300.0

STOPPED_PROGRAM = Path(__file__).parent / "host_programs" / "stopped_services.py"
LOOK_SECONDS_MAX = 60.0


@dataclass(frozen=True)
class OneSide:
    """What is asked about one side of a system, and done to its databases."""

    drivers: Drivers
    deed: Deed
    side: Side

    def services_stopped(self) -> list[dict[str, Any]]:
        """What each service's host says; AuthorityError when one runs, may start by itself, or still accepts."""
        host = host_at(self.deed, self.side)
        system = self.deed.system_plan.system
        asked = [{"name": item.name, "port": item.port, "address": host.address} for item in system.services]
        transport, user = self.drivers.transports(host), root_user(host)
        request = {"services": asked}
        answer = run_program(transport, STOPPED_PROGRAM, request, user=user, timeout_seconds=LOOK_SECONDS_MAX)
        found: list[dict[str, Any]] = answer["services"]
        for service in found:
            if service["active"] in ("active", "activating", "deactivating") or service["port_open"]:
                port = "its port is open" if service["port_open"] else "its port is closed"
                raise AuthorityError(
                    f"{host.name}: {service['name']} still serves: its unit is {service['active']}, {port}",
                    hint="It must be stopped there first. A system whose old side serves needs a cutover, no failover.",
                )
        return found

    def confirm_fence(self, order: Order) -> None:
        """AuthorityError when no fence stands on a host of this side: then it could be started again at any time.

        Where one stands it stands by this deed from now on: no order that was given before lifts it, though it comes
        late. A person may have waived the deed that would have ordered it anew.
        """
        result = confirm_fence(self.drivers, self.deed, self.side, order)
        if result.failures:
            raise AuthorityError(
                f"{'; '.join(result.failures)}; its services could be started again",
                hint=f"Fence {self.side.value} first: authority leaves only a side that cannot serve by itself.",
            )

    def confirm_stopped(self, number: int) -> dict[str, Any]:
        """What was seen: services stopped, a fence standing, and then the databases shut, with the checkpoint of each.

        `number`: under which this side has, or had, the authority that leaves. The looks are independent of each other,
        and clients wait.
        """
        order = Order(system=self.deed.system_plan.system.name, number=number, ticket=self.deed.ticket)
        looks: list[Callable[[], Any]] = [
            self.services_stopped,
            lambda: self.confirm_fence(order),
            self._databases_that_may_write,
        ]
        stopped, _, writable = in_parallel(lambda look: look(), looks)
        return {"services": stopped, "shutdown_checkpoints": self._shut(writable)}

    def _databases_that_may_write(self) -> list[PostgresCluster]:
        """Clusters that are no standbys here, and are somewhere here at all."""
        here = {cluster.name: host_at(self.deed, self.side, cluster.name) for cluster in clusters(self.deed)}
        roles = self.drivers.databases.role
        return [
            cluster
            for cluster in clusters(self.deed)
            if roles(cluster, here[cluster.name]) not in (Role.STANDBY, Role.MISSING)
        ]

    def _shut(self, writable: Sequence[PostgresCluster]) -> dict[str, str]:
        """Shutdown checkpoint by cluster."""
        hosts = [host_at(self.deed, self.side, cluster.name) for cluster in writable]
        pairs = list(zip(writable, hosts, strict=True))
        marks = in_parallel(lambda pair: self.drivers.databases.shut_down(*pair), pairs)
        return {cluster.name: mark for cluster, mark in zip(writable, marks, strict=True)}


@dataclass(frozen=True)
class MoveAuthorityHandler:
    """Confirm, then compare-and-set the fencing number."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # the store knows the key of the move that was made; asking again changes nothing

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, MoveAuthority)
        return move_authority(self.drivers, deed, action.from_side, action.to_side, progress, emit)


def move_authority(
    drivers: Drivers, deed: Deed, from_side: Side, to_side: Side, progress: ProgressSink, emit: Emit
) -> Outcome:
    """Move the number of the deed's system; where it is there already, renew it.

    A renewed number is a newer one at the same side: whoever saw the old one, and was about to move it when this deed
    took over from them, finds it gone. A deed that was cut off after its move confirms and tells it again: whether it
    was told nobody knows.
    """
    system = deed.system_plan.system.name
    present = drivers.authority.read(system)
    moved_by_us = present.side is to_side and present.by == deed.key
    if present.side is to_side and not moved_by_us:
        renewed = drivers.authority.move(
            system, expected_number=present.number, to=to_side, key=f"{deed.key}/renewed", ticket=deed.ticket
        )
        return Outcome.done(f"authority is at {to_side.value}", number=renewed.number, side=to_side.value, moved=False)
    if present.side is not from_side and not moved_by_us:
        raise AuthorityError(f"{system}: authority is at {present.side.value}, not at {from_side.value}")
    if not moved_by_us:
        refuse_damaged(drivers.catalogue, system, to_side)
    expected_number = present.number - 1 if moved_by_us else present.number
    progress(Progress(text=f"confirming that {from_side.value} is stopped"))
    confirmed = OneSide(drivers, deed, from_side).confirm_stopped(expected_number)
    moved = drivers.authority.move(
        system, expected_number=expected_number, to=to_side, key=deed.key, ticket=deed.ticket
    )
    emit(
        "authority.moved",
        {"from": from_side.value, "to": to_side.value, "number": moved.number, "confirmed": confirmed},
    )
    return Outcome.done(
        f"authority number {moved.number} is at {to_side.value}",
        number=moved.number,
        side=to_side.value,
        moved=True,
        **confirmed,
    )


@dataclass(frozen=True)
class PromoteHandler:
    """Make the databases of a side primary, once they hold everything the old side wrote."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # a database that is primary already is left alone

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, Promote)
        system = deed.system_plan.system.name
        authority = self.drivers.authority.read(system)
        if authority.side is not action.side:
            raise AuthorityError(f"{system}: {action.side.value} may not write, authority is at {authority.side.value}")
        order = order_of(authority, deed, action.side)
        marks = promote_databases(self.drivers, deed, action.side, action.old_side, progress, order=order)
        emit("databases.promoted", {"side": action.side.value, "number": authority.number, "marks": marks})
        return Outcome.done(f"{len(marks)} databases are primary at {action.side.value}", marks=marks)


def promote_databases(
    drivers: Drivers, deed: Deed, side: Side, old_side: Side, progress: ProgressSink, *, order: Order
) -> dict[str, str]:
    """LSN of the old side's shutdown checkpoint by cluster, held by the new side before it was promoted.

    `order` carries the number that was seen to be the side's; a host that obeyed a newer one opens nothing. Where the
    run gave up what the old side holds, nothing of it is waited for.
    """
    abandoned = given_up(deed, old_side)
    confirmed = _confirmed_marks(deed, side, order.number)

    def promote(cluster: PostgresCluster) -> str:
        host, old = host_at(deed, side, cluster.name), host_at(deed, old_side, cluster.name)
        role = drivers.databases.role(cluster, host)
        if role is Role.STOPPED:
            role = drivers.databases.start(cluster, host, order=order)
        if role is Role.PRIMARY:
            return "primary already"
        progress(Progress(dataset=cluster.name, text=f"promoting {cluster.name} on {host.name}"))
        mark = "" if abandoned else confirmed.get(cluster.name) or drivers.databases.shut_down(cluster, old)
        drivers.databases.promote(cluster, host, holding=mark, timeout_seconds=RECEIVE_SECONDS_MAX, order=order)
        return mark

    found = list(clusters(deed))
    return {cluster.name: mark for cluster, mark in zip(found, in_parallel(promote, found), strict=True)}


def _confirmed_marks(deed: Deed, side: Side, number: int) -> dict[str, str]:
    """The checkpoints with which the other side was seen shut down before this number was given to `side`.

    Nothing newer can be at a side that was left under just this number: it is fenced, and its databases were shut.
    """
    for observed in deed.earlier.values():
        if (observed.get("number"), observed.get("side"), observed.get("moved")) == (number, side.value, True):
            return dict(observed.get("shutdown_checkpoints", {}))
    return {}


@dataclass(frozen=True)
class CarryBackHandler:
    """Everything that was written at `from_side` is brought to `to_side` and proved by digest.

    The way goes over DR, so that DR stays a current replica throughout. Neither authority nor the right to start moves
    here: the databases of `to_side` end as standbys that hold everything.
    """

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # each of its parts looks first

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, CarryBack)
        from_side, to_side = action.from_side, action.to_side
        system = deed.system_plan.system.name
        authority = self.drivers.authority.read(system)
        if authority.side is to_side:
            # Whatever exists at the other side alone was never allowed to be written.
            done = f"authority is at {to_side.value}, so {from_side.value} holds nothing that {to_side.value} lacks"
            return Outcome.done(done, bytes_wire=0, trees={}, databases=[], digests={})
        if authority.side is not from_side:
            raise AuthorityError(
                f"{system}: nothing may be carried back from {from_side.value}, authority is at {authority.side.value}"
            )
        OneSide(self.drivers, deed, from_side).services_stopped()
        if word := word_of(self.drivers, deed, "loss_accepted", from_side, authority.number):
            return self._leave_behind(deed, from_side, word, emit)
        order = refuse_open(self.drivers, deed, to_side)
        carried = self._carry_still_data(deed, from_side, to_side, order, progress, emit)
        followed = self._follow(deed, from_side, to_side, progress, emit, order_of(authority, deed, from_side))
        comparable = {dataset.name for dataset in still_data(deed)} | followed
        digests = compare_sides(self.drivers, deed, (from_side, to_side), progress, emit, only=comparable)
        observed = {
            "bytes_wire": sum(carried.values()),
            "trees": carried,
            "databases": sorted(followed),
            "digests": digests,
        }
        emit("writes.carried_back", {"from": from_side.value, "to": to_side.value, **observed})
        return Outcome.done(f"{from_side.value}'s writes are at {to_side.value}", **observed)

    def _leave_behind(self, deed: Deed, side: Side, word: SignedWord, emit: Emit) -> Outcome:
        def tell(what: dict[str, Any]) -> None:
            emit("loss.accepted", {"side": side.value, **what, **as_evidence(word)})

        for cluster in clusters(deed):
            host = host_at(deed, side, cluster.name)
            ends = self.drivers.databases.end(cluster, host).lsn
            tell({"dataset": cluster.name, "host": host.name, "log_ends": ends})
        for dataset in still_data(deed):
            keep_given_up(self.drivers, deed, side, dataset, tell)
        done = f"nothing is carried from {side.value}: {word.person} ({word.role}) accepted the loss"
        nothing: dict[str, Any] = {"bytes_wire": 0, "trees": {}, "databases": [], "digests": {}}
        return Outcome.done(done, **nothing, given_up=word.model_dump(mode="json"))

    def _carry_still_data(
        self, deed: Deed, from_side: Side, to_side: Side, order: Order | None, progress: ProgressSink, emit: Emit
    ) -> dict[str, int]:
        carried: dict[str, int] = {}
        for dataset in still_data(deed):
            name = dataset.name
            hops = [(from_side, Side.DR), (Side.DR, to_side)]
            for source, replica in hops:
                report = StillDataMover(self.drivers).copy(
                    dataset,
                    host_at(deed, source, name),
                    host_at(deed, replica, name),
                    order=order if replica is to_side else None,
                    progress=progress,
                )
                hop = f"{source.value}_to_{replica.value}"
                carried[f"{name}.{hop}"] = report.bytes_wire
                emit("transfer.finished", {"hop": hop, **report.model_dump(mode="json")})
        return carried

    def _start_again(
        self, deed: Deed, side: Side, cluster: PostgresCluster, progress: ProgressSink, emit: Emit, order: Order
    ) -> Role:
        """A cluster that stopped by itself, or with its host.

        A fence holds it back, but it may hold what is nowhere else: it is opened behind it, to be carried away from.
        """
        databases, host = self.drivers.databases, host_at(deed, side, cluster.name)
        try:
            return databases.start(cluster, host, order=order)
        except CommandFailed as error:
            refused = error.message
        progress(Progress(dataset=cluster.name, text=f"opening {cluster.name} on {host.name}, behind its fence"))
        try:
            units = recover_behind_fence(self.drivers, deed, side, host, order)
            emit("databases.recovered", {"side": side.value, "number": order.number, "host": host.name, "units": units})
            return databases.start(cluster, host, order=order)
        except CommandFailed as error:
            raise AuthorityError(
                f"{host.name}: {cluster.name} is stopped and does not start ({refused}; {error.message}); it may hold "
                "writes that are nowhere else",
                hint=f"Bring {cluster.name} up on {host.name} by hand, then ask for the roll-back again: retry.",
            ) from error

    def _follow(
        self, deed: Deed, from_side: Side, to_side: Side, progress: ProgressSink, emit: Emit, order: Order
    ) -> set[str]:
        """Old primaries re-join as standbys of the new ones and catch up; the names of the clusters that did."""
        databases = self.drivers.databases
        followed: set[str] = set()
        for cluster in clusters(deed):
            newer, older = host_at(deed, from_side, cluster.name), host_at(deed, to_side, cluster.name)
            role = databases.role(cluster, newer)
            if role is Role.STOPPED:
                role = self._start_again(deed, from_side, cluster, progress, emit, order)
            if role is not Role.PRIMARY:
                continue  # a standby was never promoted: the old primary misses nothing
            progress(Progress(dataset=cluster.name, text=f"{older.name} follows {newer.name}"))
            databases.rejoin(cluster, older, newer)
            databases.await_caught_up(cluster, newer, older, timeout_seconds=CATCH_UP_SECONDS_MAX)
            followed.add(cluster.name)
        return followed
