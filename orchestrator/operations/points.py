"""Points: the recovery points of a system: where they are, who needs them, and which may go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.engine import FINAL, Runs, RunStatus
from orchestrator.contracts.replication import ReplicationHistory
from orchestrator.contracts.trees import PointStore
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import GateClosed, SnapshotError, UsageError
from orchestrator.model.damage import Damage
from orchestrator.model.frozen import Frozen
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import PointId, SystemName, is_name
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.model.vault import VaultCopy
from orchestrator.operations.replication import Record, find_system, seconds_since
from orchestrator.planning.retention import DatedPoint, decide_retention
from orchestrator.steps.damages import damages, note_sound
from orchestrator.steps.still_data import StillData, StillDataMover

POINTS_MAX = 100_000
RUNS_LOOKED_AT_MAX = 1000
# Sides whose hosts hold points. At the cloud, trees and volumes are as a point was, but hold none themselves.
SIDES_WITH_POINTS = (Side.SOURCE, Side.DR)
OnHosts = dict[tuple[Side, str], dict[PointId, tuple[str, ...]]]  # (side, dataset) → points with their holds there


class PointNote(Frozen):
    """What persons said of a point: name of the hold → why; and of holds that are locked, until when."""

    holds: dict[str, str] = {}
    locked: dict[str, str] = {}


class PointStatus(Frozen):
    """A recovery point with all that is known of it. `present`: sides at which all trees and volumes have it, where
    hosts were asked; None where they were not. `needed_by`: why it may not go, whatever the policy says. `copies`:
    where else it is, such as `vault:…` or `cloud:IMAGE`; a copy there needs nothing here. `damaged`: sides at which it
    was found to be not what it was.
    """

    point: RecoveryPoint
    digest: str
    age_seconds: float
    holds: dict[str, str] = {}
    locked: dict[str, str] = {}
    needed_by: tuple[str, ...] = ()
    present: tuple[Side, ...] | None = None
    damaged: tuple[Side, ...] = ()
    copies: tuple[str, ...] = ()


class PruneDecision(Frozen):
    """`keep`: point → why it stays. `remove`: oldest first. `left_over`: made by rounds that broke off, in no list."""

    system: str
    keep: dict[PointId, tuple[str, ...]]
    remove: tuple[PointId, ...]
    left_over: tuple[PointId, ...] = ()


@dataclass(frozen=True)
class Points:
    """The recovery points of one estate. What changes anything goes through `record` first."""

    inventory: Inventory
    drivers: Drivers
    runs: Runs
    history: ReplicationHistory
    record: Record

    # -- look

    def known(self, name: SystemName, *, ask_hosts: bool = False) -> list[PointStatus]:
        """Newest first."""
        system = find_system(self.inventory, name)
        there = self._on_hosts(system) if ask_hosts else None
        runs = self.runs.list(limit=RUNS_LOOKED_AT_MAX)
        return [self._status(system, point, runs, there) for point in reversed(self._points(name))]

    def show(self, name: SystemName, named: str) -> PointStatus:
        """The point whose id is, or begins with, `named`. Asks the hosts."""
        point = self._find(name, named)
        return next(each for each in self.known(name, ask_hosts=True) if each.point.id == point.id)

    def _points(self, name: SystemName) -> Sequence[RecoveryPoint]:
        """Oldest first."""
        found = self.drivers.catalogue.list("recovery_point", prefix=f"{name}/", limit=POINTS_MAX)
        points = [RecoveryPoint.model_validate(document) for _, document in found]
        return sorted(points, key=lambda point: (point.at, point.id))

    def named(self, name: SystemName, named: str) -> Sequence[RecoveryPoint]:
        """The point whose id begins with `named`; for `all` every one, oldest first."""
        return self._points(name) if named == "all" else [self._find(name, named)]

    def _find(self, name: SystemName, named: str) -> RecoveryPoint:
        find_system(self.inventory, name)
        found = [point for point in self._points(name) if point.id.startswith(named)]
        if len(found) != 1:
            what = "more than one recovery point begins with" if found else "there is no recovery point"
            raise UsageError(f"{name}: {what} {named}", hint=f"See them with: skerry snapshot list {name}")
        return found[0]

    def _status(
        self,
        system: System,
        point: RecoveryPoint,
        runs: Sequence[RunStatus],
        there: OnHosts | None,
    ) -> PointStatus:
        present = None
        if there is not None:
            sides = dict.fromkeys(side for side, _ in there)
            present = tuple(
                side for side in sides if all(point.id in ids for (at, _), ids in there.items() if at is side)
            )
        now, note = self.drivers.clock.now(), self._note(system.name, point.id)
        return PointStatus(
            point=point,
            digest=point.digest,
            age_seconds=round(seconds_since(point.at, now), 3),
            holds=note.holds,
            locked=note.locked,
            needed_by=tuple(self._needs(system.name, point, runs, there or {}, now)),
            present=present,
            damaged=tuple(dict.fromkeys(each.side for each in self._damages(system.name, point.id))),
            copies=tuple(self._copies(point)),
        )

    def _damages(self, system: SystemName, point: PointId) -> list[Damage]:
        return [each for each in damages(self.drivers.catalogue, system) if each.point == point]

    def _copies(self, point: RecoveryPoint) -> Iterator[str]:
        for image in point.images:
            yield f"cloud:{image.image}"
        for _, document in self.drivers.catalogue.list("vault_copy", prefix=f"{point.system}/{point.id}/"):
            yield VaultCopy.model_validate(document).place

    # -- who needs a point

    def _note(self, system: SystemName, point: PointId) -> PointNote:
        return PointNote.model_validate(self.drivers.catalogue.get("point_note", f"{system}/{point}") or {})

    def _needs(
        self,
        system: SystemName,
        point: RecoveryPoint,
        runs: Sequence[RunStatus],
        there: OnHosts,
        now: datetime,
    ) -> Iterator[str]:
        noted = self._note(system, point.id).holds
        yield from noted
        on_hosts = ((holder, side) for (side, _), ids in there.items() for holder in ids.get(point.id, ()))
        for holder, side in dict.fromkeys(on_hosts):
            if holder not in noted:
                yield f"{holder} at {side.value}"
        known = {run.run: run for run in runs}
        rounds = {each.id for each in self.history.rounds(system, limit=POINTS_MAX)}
        for holder in point.holds:
            if holder in known:
                yield from self._needs_of_run(known[holder], system, now)
            elif holder not in rounds:
                yield holder
        for run in runs:
            if run.created_at <= point.at and run.run not in point.holds and not _over(run, system):
                yield f"run {run.run}, which has not ended"

    def _needs_of_run(self, run: RunStatus, system: SystemName, now: datetime) -> Iterator[str]:
        if not _over(run, system):
            yield f"run {run.run}, which has not ended"
            return
        window = self.inventory.replication.rollback_window
        ended = datetime.fromisoformat(run.finished_at or run.created_at)
        if ended + timedelta(seconds=window) > now:
            yield f"the way back from run {run.run}, until {timestamp(ended + timedelta(seconds=window))}"

    def _on_hosts(self, system: System) -> OnHosts:
        """What hosts have by their word. Raises what they raise: a hold that cannot be read is not taken for none."""
        return {
            (side, dataset.name): {point.id: point.holds for point in self._store(system, dataset, side).list()}
            for side, dataset in self._places(system)
        }

    def _places(self, system: System) -> Iterator[tuple[Side, StillData]]:
        for side in SIDES_WITH_POINTS:
            for dataset in system.datasets:
                if isinstance(dataset, StillData):
                    yield side, dataset

    def _store(self, system: System, dataset: StillData, side: Side) -> PointStore:
        host = self.inventory.hosts[system.host_of(side, dataset.name)]
        return StillDataMover(self.drivers).points(dataset, host)

    # -- holds

    def hold(
        self, name: SystemName, named: str, *, hold: str, by: str, because: str, locked_seconds: float = 0.0
    ) -> RecoveryPoint:
        """No removal takes the point from now on, here or on its hosts. Holding twice by one name is once.

        With `locked_seconds` nobody releases that hold before they are over; held again, it may become longer alone.
        """
        if not is_name(hold):
            raise UsageError(f"{hold!r} cannot name a hold: small letters, digits and single dashes")
        system, point = find_system(self.inventory, name), self._find(name, named)
        note = self._note(name, point.id)
        until = timestamp(self.drivers.clock.now() + timedelta(seconds=locked_seconds)) if locked_seconds else ""
        locked = {**note.locked, hold: max(until, note.locked.get(hold, ""))}
        told = {"locked_until": locked[hold]} if locked[hold] else {}
        self.record(name, "point.held", {"point": point.id, "hold": hold, "by": by, "because": because, **told})
        kept = {"holds": {**note.holds, hold: because}, "locked": {each: at for each, at in locked.items() if at}}
        self._put_note(name, point.id, note.model_copy(update=kept))
        for side, dataset in self._places(system):
            store = self._store(system, dataset, side)
            if store.find(point.id) is not None:
                store.hold(point.id, hold)
        return point

    def release(self, name: SystemName, named: str, *, hold: str, by: str, because: str) -> RecoveryPoint:
        """Let go of one hold; others stay. GateClosed for one that is locked, whoever asks."""
        system, point = find_system(self.inventory, name), self._find(name, named)
        note = self._note(name, point.id)
        if hold not in note.holds:
            raise UsageError(
                f"{name}: {point.id} is not held by {hold}",
                hint=f"It is held by: {', '.join(note.holds) or 'nobody'}",
            )
        if (until := note.locked.get(hold, "")) > timestamp(self.drivers.clock.now()):
            self.record(name, "point.release_refused", {"point": point.id, "hold": hold, "by": by, "until": until})
            raise GateClosed(
                f"{name}: {point.id} is locked by {hold} until {until}: nobody releases it before",
                hint="It stays, and is drilled and restored from like any other point.",
            )
        self.record(name, "point.released", {"point": point.id, "hold": hold, "by": by, "because": because})
        for side, dataset in self._places(system):
            self._store(system, dataset, side).release(point.id, hold)
        left = {other: why for other, why in note.holds.items() if other != hold}
        locked = {other: until for other, until in note.locked.items() if other != hold}
        self._put_note(name, point.id, note.model_copy(update={"holds": left, "locked": locked}))
        return point

    def _put_note(self, system: SystemName, point: PointId, note: PointNote) -> None:
        self.drivers.catalogue.put("point_note", f"{system}/{point}", note.model_dump(mode="json"))

    # -- what may go

    def decide(self, name: SystemName) -> PruneDecision:
        """What a prune would do now. Raises when a host cannot say what is held there."""
        system = find_system(self.inventory, name)
        there = self._on_hosts(system)
        runs = self.runs.list(limit=RUNS_LOOKED_AT_MAX)
        now = self.drivers.clock.now()
        points = self._points(name)
        dated = [
            DatedPoint(
                id=point.id,
                at=datetime.fromisoformat(point.at),
                holds=tuple(dict.fromkeys(self._needs(name, point, runs, there, now))),
            )
            for point in points
        ]
        at_replicas = {
            f"{dataset} at {side.value}": set(ids) for (side, dataset), ids in there.items() if side is not Side.SOURCE
        }
        decision = decide_retention(dated, self.inventory.replication.retention, at_replicas=at_replicas)
        return PruneDecision(
            system=name,
            keep=decision.keep,
            remove=decision.remove,
            left_over=tuple(self._left_over(name, {point.id for point in points}, there)),
        )

    def _left_over(
        self,
        name: SystemName,
        listed: set[PointId],
        there: OnHosts,
    ) -> Iterator[PointId]:
        """Points on hosts that rounds of ours began and did not finish. All others there are somebody else's."""
        rounds = self.history.rounds(name, limit=POINTS_MAX)
        ended_badly = {each.point for each in rounds if each.result in ("failed", "broken_off")}
        on_hosts = {point: holds for ids in there.values() for point, holds in ids.items()}
        for point, holds in sorted(on_hosts.items()):
            if point in ended_badly and point not in listed and not holds:
                yield point

    def prune(self, name: SystemName, *, by: str) -> PruneDecision:
        """Remove what nothing keeps, oldest first, each on record before it goes. Broken off, it is called again."""
        system = find_system(self.inventory, name)
        decision = self.decide(name)
        for point in (*decision.remove, *decision.left_over):
            self._remove(system, point, by=by)
        return decision

    def _remove(self, system: System, point: PointId, *, by: str) -> None:
        document = self.drivers.catalogue.get("recovery_point", f"{system.name}/{point}")
        told: dict[str, Any] = {"point": point, "by": by}
        if document is not None:
            told |= {"at": document["at"], "digest": RecoveryPoint.model_validate(document).digest}
        self.record(system.name, "point.removal_began", told)
        gone: list[str] = []
        for side, dataset in self._places(system):
            try:
                self._store(system, dataset, side).delete(point)
            except SnapshotError as error:
                raise SnapshotError(
                    f"{system.name}: {point} stays at {side.value}: {error.message}",
                    hint="Release it there, then prune again.",
                ) from error
            gone.append(f"{dataset.name} at {side.value}")
        self.drivers.catalogue.drop("recovery_point", f"{system.name}/{point}")
        self.drivers.catalogue.drop("point_note", f"{system.name}/{point}")
        for each in self._damages(system.name, point):
            note_sound(self.drivers.catalogue, system.name, each.dataset, each.side, point)
        self.record(system.name, "point.removed", {**told, "gone": gone})


def _over(run: RunStatus, system: SystemName) -> bool:
    """Whether the run needs nothing of this system any more; a run without the system never did."""
    return all(each.state in FINAL for each in run.systems if each.system == system)
