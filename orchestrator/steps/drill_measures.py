"""What a drill is measured by: which recovery point it takes, and its objectives against what was seen."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.trees import Point, PointStore
from orchestrator.foundation.amounts import seconds_text
from orchestrator.foundation.clock import Clock
from orchestrator.foundation.errors import UsageError
from orchestrator.model.frozen import Frozen
from orchestrator.model.names import DatasetName, SystemName
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.steps.damages import damages, refuse_damaged

POINTS_MAX = 1000
DRILLS_MAX = 1000


class Verdict(Frozen):
    """An objective against what was measured, in seconds."""

    objective: str
    target_seconds: float
    actual_seconds: float
    met: bool


@dataclass(frozen=True)
class Spent:
    """Where the time of a drill went: seconds by what they were for."""

    clock: Clock
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        begun = self.clock.monotonic_seconds()
        try:
            yield
        finally:
            took = self.clock.monotonic_seconds() - begun
            self.seconds[what] = round(self.seconds.get(what, 0.0) + took, 3)


class Measured(Frozen):
    """One drill, without an inject: what it measured against the objectives of that time."""

    drill: str
    at: str
    passed: bool
    verdicts: tuple[Verdict, ...]

    def of(self, objective: str) -> Verdict | None:
        return next((each for each in self.verdicts if each.objective == objective), None)


CHOSEN = ("latest", "latest_app_consistent", "latest_common", "worst")


def choose_point(drivers: Drivers, system: System, named: str, *, older_than_seconds: float = 0.0) -> RecoveryPoint:
    """`latest`; `latest_app_consistent`, the newest for which the application was held still; `worst`, the oldest that
    is still within the system's RPO; or a point by the beginning of its id.

    Only points held at DR count, and none that is known to be damaged there. `older_than_seconds` leaves out younger
    ones.
    """
    now = drivers.clock.now()
    at_dr = points_at_dr(drivers.catalogue, system.name)
    damaged = {each.point for each in damages(drivers.catalogue, system.name) if each.side is Side.DR}
    if named in ("latest", "worst"):
        at_dr = [point for point in at_dr if point.id not in damaged]
    fitting = [point for point in at_dr if _age_seconds(point, now) >= older_than_seconds]
    if named == "worst":
        fitting = [point for point in fitting if _age_seconds(point, now) <= system.objectives.rpo][-1:]
    elif named == "latest_app_consistent":
        fitting = [point for point in fitting if point.consistency.endswith("app")]
    elif named != "latest":
        fitting = [point for point in fitting if point.id.startswith(named)]
        if len(fitting) > 1:
            raise UsageError(f"{system.name}: more than one recovery point begins with {named}")
    if not fitting:
        wanted = {
            "latest": "sound",
            "latest_app_consistent": "of a moment for which the application was held still",
            "worst": f"within the RPO of {seconds_text(system.objectives.rpo)}",
        }
        raise UsageError(
            f"{system.name}: no recovery point at DR is {wanted.get(named, named)}"
            + (f" and at least {seconds_text(older_than_seconds)} old" if older_than_seconds else ""),
            hint=f"See them with: skerry snapshot list {system.name}",
        )
    refuse_damaged(drivers.catalogue, system.name, Side.DR, fitting[0].id)
    return fitting[0]


def choose_points(
    drivers: Drivers,
    main: System,
    needed: Sequence[System],
    named: str,
    *,
    older_than_seconds: float = 0.0,
) -> dict[SystemName, RecoveryPoint]:
    """One point of each system, chosen for `main` as by `choose_point`.

    `latest_common`: the newest moment that one run held of all of them. Else what `main` needs is taken as it was at
    its moment: the newest point that is not younger. What is named by an id, is a point of `main`.
    """
    if named == "latest_common" and needed:
        return _latest_common(drivers, [*needed, main], older_than_seconds)
    alone = "latest" if named == "latest_common" else named
    chosen = choose_point(drivers, main, alone, older_than_seconds=older_than_seconds)
    found = {main.name: chosen}
    for system in needed:
        before = [each for each in points_at_dr(drivers.catalogue, system.name) if each.at <= chosen.at]
        if not before:
            raise UsageError(f"{system.name}, which {main.name} needs, has no point at DR of {chosen.at} or before")
        found[system.name] = before[0]
    return found


def _latest_common(
    drivers: Drivers, systems: Sequence[System], older_than_seconds: float
) -> dict[SystemName, RecoveryPoint]:
    now = drivers.clock.now()
    by_run: list[dict[str, RecoveryPoint]] = [
        {run: point for point in reversed(points_at_dr(drivers.catalogue, system.name)) for run in point.holds}
        for system in systems
    ]
    for run, point in sorted(by_run[-1].items(), key=lambda each: each[1].at, reverse=True):
        if all(run in each for each in by_run) and _age_seconds(point, now) >= older_than_seconds:
            return {system.name: each[run] for system, each in zip(systems, by_run, strict=True)}
    raise UsageError(
        f"no run has held a point of each of {', '.join(system.name for system in systems)}",
        hint="Hold them together: skerry plan wave, with these systems.",
    )


def points_at_dr(catalogue: Catalogue, system: SystemName) -> list[RecoveryPoint]:
    """Newest first."""
    found = catalogue.list("recovery_point", prefix=f"{system}/", limit=POINTS_MAX)
    points = [RecoveryPoint.model_validate(document) for _, document in found]
    return sorted((point for point in points if Side.DR in point.sides), key=lambda each: each.at, reverse=True)


def held_before(
    drivers: Drivers, store: PointStore, system: System, point: RecoveryPoint, tree: DatasetName
) -> Point:
    """What is held of the newest point before `point` in which the tree was another. UsageError where there is none."""
    for older in points_at_dr(drivers.catalogue, system.name):
        held = store.find(older.id) if older.at < point.at and older.digests[tree] != point.digests[tree] else None
        if held is not None:
            return held
    raise UsageError(
        f"{system.name}: no point before {point.id} is held in which {tree} was another, so it cannot be behind",
        hint=f"Let it change, then take another: skerry replicate run {system.name} --as PERSON",
    )


def _age_seconds(point: RecoveryPoint, now: datetime) -> float:
    return max(0.0, (now - datetime.fromisoformat(point.at)).total_seconds())


def verdicts_of(system: System, *, begun_at: str, point_at: str, now: datetime) -> tuple[Verdict, ...]:
    """RTA against RTO, RPA against RPO, RTA and the work recovery time against MTPD (NIST SP 800-34, ISO 22301)."""
    begun = datetime.fromisoformat(begun_at)
    recovery = (now - begun).total_seconds()
    loss = max(0.0, (begun - datetime.fromisoformat(point_at)).total_seconds())
    wanted = system.objectives
    rows = (
        ("RTO", wanted.rto, recovery),
        ("RPO", wanted.rpo, loss),
        ("MTPD", wanted.mtpd, recovery + wanted.wrt),
    )
    return tuple(
        Verdict(objective=name, target_seconds=target, actual_seconds=round(actual, 3), met=actual <= target)
        for name, target, actual in rows
    )


def verdicts_of_service(
    main: System, held: Sequence[tuple[System, RecoveryPoint]], *, begun_at: str, now: datetime
) -> tuple[Verdict, ...]:
    """All systems that started, as the one service that `main` gives, against what is asked of `main`.

    It is back when the last of them is, has lost as much as the one with the oldest point, and work is caught up with
    when the slowest is.
    """
    slowest = max(system.objectives.wrt for system, _ in held)
    service = main.model_copy(update={"objectives": main.objectives.model_copy(update={"wrt": slowest})})
    return verdicts_of(service, begun_at=begun_at, point_at=min(point.at for _, point in held), now=now)


def is_named(point: str, older_than_seconds: float) -> bool:
    """Whether somebody names a point of the past, by id or age: how old it is, is then no finding."""
    return older_than_seconds > 0 or point not in CHOSEN


def missed(verdicts: Sequence[Verdict], of: str = "", *, but: str = "") -> list[str]:
    """In words, what was not met; `but` one objective."""
    return [
        f"{of}{each.objective} missed: {each.actual_seconds:.1f} s of {each.target_seconds:g} s"
        for each in verdicts
        if not each.met and each.objective != but
    ]


def trend_of(
    catalogue: Catalogue, system: SystemName, *, at: Side = Side.DR, limit: int = DRILLS_MAX
) -> list[Measured]:
    """Of drills at that side, oldest first.

    Drills with an inject are left out: what is broken on purpose says nothing of how long it takes.
    """
    kept = [document for _, document in catalogue.list("drill_result", prefix=f"{system}/", limit=DRILLS_MAX)]
    found = [
        Measured(drill=each["id"], at=each["begun_at"], passed=each["passed"], verdicts=each["verdicts"])
        for each in kept
        if each["inject"] is None and each["verdicts"] and each.get("at", Side.DR) == at
    ]
    return sorted(found, key=lambda each: each.at)[-limit:]
