"""TakeRecoveryPoint: all datasets of a system at one moment, held at several sides, with one digest over all."""

import hashlib
from dataclasses import dataclass
from functools import partial

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink, out_of
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import DigestMismatch, MomentNotHeld, PlanningError
from orchestrator.model.action import TakeRecoveryPoint
from orchestrator.model.damage import Damage
from orchestrator.model.names import SystemName
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.recovery_point import HeldDataset, RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.steps.asked import asked
from orchestrator.steps.damages import note_damage, note_sound, refuse_damaged
from orchestrator.steps.places import clusters, host_at
from orchestrator.steps.quiescing import quiesced
from orchestrator.steps.still_data import StillDataMover, digest_while_copying, still_data

REPLAY_SECONDS_MAX = 120.0


def point_id(deed: Deed) -> str:
    """The same deed names the same point, however often it is tried."""
    return "rp-" + hashlib.sha256(deed.key.encode()).hexdigest()[:16]


def newest_point(catalogue: Catalogue, system: SystemName) -> RecoveryPoint | None:
    found = catalogue.list("recovery_point", prefix=f"{system}/", limit=1)
    return RecoveryPoint.model_validate(found[0][1]) if found else None


def last_point(catalogue: Catalogue, deed: Deed, side: Side) -> RecoveryPoint:
    """The newest recovery point of the deed's system; DigestMismatch where it is damaged at `side`."""
    system = deed.system_plan.system.name
    found = newest_point(catalogue, system)
    if found is None:
        raise PlanningError(f"{system} has no recovery point", hint="Take one first: the runbook step recovery_point.")
    refuse_damaged(catalogue, system, side, found.id)
    return found


@dataclass(frozen=True)
class TakeRecoveryPointHandler:
    """Quiesce, name the moment in every database, hold every tree and volume, release; then prove DR holds the same."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # a point that the catalogue has is told again, not taken again

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, TakeRecoveryPoint)
        point = point_id(deed)
        if found := self.drivers.catalogue.get("recovery_point", f"{deed.system_plan.system.name}/{point}"):
            return _told(RecoveryPoint.model_validate(found), emit)
        self._forget_broken_try(deed, point)
        for cluster in clusters(deed):
            self.drivers.database_digests.prepare_moment(cluster, host_at(deed, Side.DR, cluster.name))
        # Everything written until now will be in it; to copy and prove it takes longer than to hold it.
        moment_at = timestamp(self.drivers.clock.now())
        moments, held_seconds = self._hold(deed, point, progress)
        held = [
            *self._prove_clusters(deed, point, moments, progress, emit),
            *self._prove_still_data(deed, point, progress),
        ]
        recovery_point = RecoveryPoint(
            id=point,
            system=deed.system_plan.system.name,
            at=moment_at,
            consistency="group_app" if deed.system_plan.system.quiesce else "group_crash",
            datasets=tuple(sorted(held, key=lambda item: item.dataset)),
            sides=action.sides,
            holds=(deed.run,),
        )
        self.drivers.catalogue.put(
            "recovery_point", f"{recovery_point.system}/{point}", recovery_point.model_dump(mode="json")
        )
        for each in recovery_point.datasets:
            note_sound(self.drivers.catalogue, recovery_point.system, each.dataset, Side.DR)
        return _told(recovery_point, emit, writers_held_seconds=round(held_seconds, 3))

    def _forget_broken_try(self, deed: Deed, point: str) -> None:
        """What an earlier try held belongs to another moment than the one about to be named."""
        for dataset in still_data(deed):
            for side in (Side.SOURCE, Side.DR):
                points = StillDataMover(self.drivers).points(dataset, host_at(deed, side, dataset.name))
                left = points.find(point)
                # The point is this deed's alone, so whatever holds it is what the broken-off try left.
                for holder in left.holds if left else ():
                    points.release(point, holder)
                points.delete(point)

    def _hold(self, deed: Deed, point: str, progress: ProgressSink) -> tuple[dict[str, tuple[str, str]], float]:
        """Hold the moment at the source; (LSN, digest) by cluster, and how long writers waited."""
        quiesce = deed.system_plan.system.quiesce
        seconds_max = quiesce.seconds_max if quiesce else 10.0
        moments: dict[str, tuple[str, str]] = {}
        held_seconds = 0.0
        remaining = list(clusters(deed))
        progress(Progress(text="holding one moment over all datasets"))

        # From before the application was asked: if the limit has not passed since then, it was still held at the end.
        started = self.drivers.clock.monotonic_seconds()
        with quiesced(self.drivers, deed, quiesce) as release:

            def hold_the_rest(_: str = "") -> None:
                # Clusters nest: each names its moment while the ones before it still hold their writers.
                nonlocal held_seconds
                if remaining:
                    cluster = remaining.pop(0)
                    source = host_at(deed, Side.SOURCE, cluster.name)
                    moments[cluster.name] = self.drivers.database_digests.hold_moment(
                        cluster, source, point, seconds_max=seconds_max, named=hold_the_rest
                    )
                    return
                for dataset in still_data(deed):
                    source = host_at(deed, Side.SOURCE, dataset.name)
                    StillDataMover(self.drivers).points(dataset, source).take(point)
                held_seconds = self.drivers.clock.monotonic_seconds() - started
                in_time = release()
                if held_seconds > seconds_max or not in_time:
                    raise MomentNotHeld(
                        f"{deed.system_plan.system.name}: the moment took {held_seconds:.1f}s to hold, the limit is "
                        f"{seconds_max:g}s, and the application may have gone on by itself"
                    )

            hold_the_rest()
        return moments, held_seconds

    def _prove_clusters(
        self, deed: Deed, point: str, moments: dict[str, tuple[str, str]], progress: ProgressSink, emit: Emit
    ) -> list[HeldDataset]:
        held = []
        for cluster in clusters(deed):
            lsn, digest = moments[cluster.name]
            replica = host_at(deed, Side.DR, cluster.name)
            progress(Progress(dataset=cluster.name, text=f"replaying to {lsn} on {replica.name}"))
            digests = self.drivers.database_digests
            keep_as = point if cluster.points == "clone" or asked(deed, TakeRecoveryPoint).clones else None
            there = digests.digest_at(cluster, replica, lsn, timeout_seconds=REPLAY_SECONDS_MAX, keep_as=keep_as)
            if there.digest != digest:
                why = f"at {lsn}: source {digest}, {replica.name} {there.digest}"
                self._note_damage(deed, cluster.name, why)
                raise DigestMismatch(f"{cluster.name} {why}")
            if folder := keep_as and digests.find_clone(cluster, replica, keep_as):
                progress(Progress(dataset=cluster.name, text=f"opening a copy of the clone on {replica.name}"))
                check = digests.prove_clone(cluster, replica, folder, lsn=lsn, digest=digest)
                emit("cluster.checked", check.model_dump(mode="json"))
            held.append(HeldDataset(dataset=cluster.name, digest=digest, mark=lsn, bytes_total=there.bytes_read))
        return held

    def _prove_still_data(self, deed: Deed, point: str, progress: ProgressSink) -> list[HeldDataset]:
        held = []
        mover = StillDataMover(self.drivers)
        for dataset in still_data(deed):
            name = dataset.name
            source, replica = host_at(deed, Side.SOURCE, name), host_at(deed, Side.DR, name)
            _, here = digest_while_copying(
                partial(mover.digest, dataset, source, point=point, progress=progress),
                partial(mover.copy, dataset, source, replica, from_point=point, order=None, progress=progress),
            )
            mover.points(dataset, replica).take(point)
            there = mover.digest(dataset, replica, point=point, progress=out_of(here.bytes_read, progress))
            if here.digest != there.digest:
                # They are named, and the next copy reads everything and mends what no size and no time told of.
                places = "; ".join(mover.differences(dataset, source, replica))
                self._note_damage(deed, name, places or "it differed from the source's point")
                told = f"{source.name} {here.digest}, {replica.name} {there.digest}"
                raise DigestMismatch(f"{name} at point {point}: {told}: {places}")
            held.append(HeldDataset(dataset=name, digest=here.digest, mark=point, bytes_total=here.bytes_read))
        return held

    def _note_damage(self, deed: Deed, dataset: str, why: str) -> None:
        """What DR has was brought and is not equal: nothing uses it until a round has proved it."""
        at = timestamp(self.drivers.clock.now())
        system = deed.system_plan.system.name
        damage = Damage(system=system, dataset=dataset, side=Side.DR, why=why, found_at=at)
        note_damage(self.drivers.catalogue, damage)


def _told(point: RecoveryPoint, emit: Emit, **measured: float) -> Outcome:
    """The outcome of a point that is held and in the catalogue; `measured` is missing after an attempt was cut off."""
    emit("recovery_point.held", {**point.model_dump(mode="json"), "digest": point.digest, **measured})
    return Outcome.done(
        f"{point.id} holds {len(point.datasets)} datasets at {', '.join(point.sides)}",
        point=point.id,
        digest=point.digest,
        datasets={item.dataset: item.digest for item in point.datasets},
        **measured,
    )
