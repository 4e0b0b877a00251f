"""What a drill is measured by: which recovery point it takes, and its objectives against what was seen."""

from datetime import datetime

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.trees import Point, PointStore
from orchestrator.foundation.errors import UsageError
from orchestrator.model.frozen import Frozen
from orchestrator.model.names import DatasetName, SystemName
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.steps.damages import damages, refuse_damaged

POINTS_MAX = 1000


class Verdict(Frozen):
    """An objective against what was measured, in seconds."""

    objective: str
    target_seconds: float
    actual_seconds: float
    met: bool


def choose_point(drivers: Drivers, system: System, named: str, *, older_than_seconds: float = 0.0) -> RecoveryPoint:
    """`latest`; `worst`, the oldest that is still within the system's RPO; or a point by the beginning of its id.

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
    elif named != "latest":
        fitting = [point for point in fitting if point.id.startswith(named)]
        if len(fitting) > 1:
            raise UsageError(f"{system.name}: more than one recovery point begins with {named}")
    if not fitting:
        raise UsageError(
            f"{system.name}: no recovery point at DR is {named}"
            + (f" and at least {older_than_seconds:g} s old" if older_than_seconds else ""),
            hint=f"See them with: skerry snapshot list {system.name}",
        )
    refuse_damaged(drivers.catalogue, system.name, Side.DR, fitting[0].id)
    return fitting[0]


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
