"""Which points to keep.

Rules: the newest point is always kept; so is the newest that is also at each replica, for without it the next copy
is a full one; a held or pinned point is never removed; a rule keeps the oldest point of each of its newest periods,
for it is the one that grows old enough for the next rule; whatever no rule keeps is removed, oldest first.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import PointId
from orchestrator.model.retention import RetentionPolicy


class DatedPoint(Frozen):
    """A point as retention sees it."""

    id: PointId
    at: datetime
    holds: tuple[str, ...] = ()


class RetentionDecision(Frozen):
    """Every point is in one of the two; `keep` says why."""

    keep: dict[PointId, tuple[str, ...]]
    remove: tuple[PointId, ...]


# The name of a moment's period; moments of one name fall into one period. Weeks are those of ISO 8601.
PERIODS: dict[str, Callable[[datetime], str]] = {
    "hourly": lambda at: at.strftime("%Y-%m-%dT%H"),
    "daily": lambda at: at.strftime("%Y-%m-%d"),
    "weekly": lambda at: at.strftime("%G-W%V"),
    "monthly": lambda at: at.strftime("%Y-%m"),
    "yearly": lambda at: at.strftime("%Y"),
}


def decide_retention(
    points: Sequence[DatedPoint],
    policy: RetentionPolicy,
    *,
    at_replicas: Mapping[str, Collection[PointId]] | None = None,
    pinned: Collection[PointId] = (),
) -> RetentionDecision:
    """`at_replicas`: replica → the ids it holds. Two points of one moment are told apart by their ids."""
    ordered = sorted(points, key=lambda point: (point.at, point.id))
    reasons: dict[PointId, list[str]] = {point.id: [] for point in ordered}
    for point in ordered:
        reasons[point.id] += [f"held by {name}" for name in point.holds]
        if point.id in pinned:
            reasons[point.id].append("pinned")
    for point in ordered[-policy.last :]:
        reasons[point.id].append("last")
    for rule, period_of in PERIODS.items():
        for point in oldest_of_newest_periods(ordered, getattr(policy, rule), period_of):
            reasons[point.id].append(rule)
    for replica, ids in sorted((at_replicas or {}).items()):
        common = [point for point in ordered if point.id in ids]
        if common:
            reasons[common[-1].id].append(f"newest common with {replica}")
    return RetentionDecision(
        keep={id_: tuple(why) for id_, why in reasons.items() if why},
        remove=tuple(id_ for id_, why in reasons.items() if not why),
    )


def oldest_of_newest_periods(
    ordered: Sequence[DatedPoint], count: int, period_of: Callable[[datetime], str]
) -> list[DatedPoint]:
    first: dict[str, DatedPoint] = {}
    for point in ordered:
        first.setdefault(period_of(point.at.astimezone(UTC)), point)
    return list(first.values())[-count:] if count else []
