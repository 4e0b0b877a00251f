"""Retention by table, and what must hold for any points and any policy."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.retention import RetentionPolicy
from orchestrator.planning.retention import DatedPoint, decide_retention

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def points(*texts, holds=None):
    return [DatedPoint(id=f"p{n}", at=at(text), holds=(holds or {}).get(f"p{n}", ())) for n, text in enumerate(texts)]


def only(**rules):
    return RetentionPolicy(**{"last": 1, "hourly": 0, "daily": 0, "weekly": 0, "monthly": 0, "yearly": 0, **rules})


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({"last": 1}, "p5"),
        ({"last": 3}, "p3 p4 p5"),
        ({"hourly": 2}, "p2 p4 p5"),
        ({"daily": 2}, "p2 p4 p5"),
        ({"daily": 9}, "p0 p1 p2 p4 p5"),
        ({"weekly": 1}, "p4 p5"),
        ({"monthly": 2}, "p0 p1 p5"),
        ({"yearly": 1}, "p1 p5"),
    ],
)
def test_rules_by_table(rules, kept):
    made = points(
        "2025-12-31T23:00",
        "2026-02-01T05:00",
        "2026-02-22T01:00",
        "2026-02-22T01:30",
        "2026-02-23T04:10",
        "2026-02-23T04:50",
    )
    assert sorted(decide_retention(made, only(**rules)).keep) == kept.split()


def test_held_and_pinned_points_stay_with_the_reason():
    made = points("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04", holds={"p0": ("drill-7",)})
    decision = decide_retention(made, only(), pinned=["p2"])
    assert decision.keep == {"p0": ("held by drill-7",), "p2": ("pinned",), "p3": ("last",)}
    assert decision.remove == ("p1",)


def test_the_newest_common_point_of_every_replica_stays():
    made = points("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04")
    decision = decide_retention(made, only(), at_replicas={"dr": ["p0", "p1"], "cloud": ["p0"], "new": []})
    assert decision.keep == {
        "p0": ("newest common with cloud",),
        "p1": ("newest common with dr",),
        "p3": ("last",),
    }


def test_nothing_is_decided_of_nothing():
    decision = decide_retention([], RetentionPolicy())
    assert (decision.keep, decision.remove) == ({}, ())


POLICIES = st.builds(
    RetentionPolicy,
    last=st.integers(1, 5),
    hourly=st.integers(0, 5),
    daily=st.integers(0, 5),
    weekly=st.integers(0, 5),
    monthly=st.integers(0, 5),
    yearly=st.integers(0, 3),
)
HOURS = st.lists(st.integers(0, 24 * 800), max_size=40, unique=True)


@given(HOURS, POLICIES, st.data())
def test_what_must_stay_stays_and_every_point_is_judged_once(hours, policy, data):
    held = data.draw(st.sets(st.sampled_from(hours))) if hours else set()
    made = [
        DatedPoint(id=f"p{hour}", at=BEGIN + timedelta(hours=hour), holds=("x",) if hour in held else ())
        for hour in hours
    ]
    decision = decide_retention(made, policy)
    assert sorted([*decision.keep, *decision.remove]) == sorted(point.id for point in made)
    assert not {f"p{hour}" for hour in held} & set(decision.remove)
    if made:
        assert f"p{max(hours)}" in decision.keep


@given(HOURS, POLICIES)
def test_deciding_again_over_what_was_kept_removes_nothing(hours, policy):
    made = [DatedPoint(id=f"p{hour}", at=BEGIN + timedelta(hours=hour)) for hour in hours]
    kept = decide_retention(made, policy).keep
    again = decide_retention([point for point in made if point.id in kept], policy)
    assert again.remove == ()
