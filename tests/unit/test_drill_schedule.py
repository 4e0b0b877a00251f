"""When drills are due: calendars, clocks that are set, absences, blackouts."""

import time
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.drill import ScheduledDrill
from orchestrator.model.wave import Freeze, Period
from orchestrator.planning.drill_schedule import (
    MISSED_TOLD_MAX,
    cron_problem,
    due_moments,
    fires_until,
    late,
    next_fires,
    start_of,
)


def drill(cron: str = "30 2 * * sat", zone: str = "Europe/Zurich", **more) -> ScheduledDrill:
    return ScheduledDrill(name="filing-weekly", systems=("filing",), cron=cron, time_zone=zone, operator="ben", **more)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def texts(moments, count):
    return [f"{moment:%Y-%m-%dT%H:%M}" for moment in islice(moments, count)]


def test_local_times_follow_the_zone_over_the_year():
    assert texts(due_moments(drill(), utc("2026-01-01")), 1) == ["2026-01-03T01:30"]
    assert texts(due_moments(drill(), utc("2026-07-01")), 1) == ["2026-07-04T00:30"]


def test_a_time_that_the_zone_skips_is_moved_to_the_moment_the_clocks_are_set():
    # On 2026-03-29 Zurich goes from 02:00 to 03:00, which is 01:00 UTC.
    assert texts(due_moments(drill("30 2 * * *"), utc("2026-03-28T12:00")), 2) == [
        "2026-03-29T01:00",
        "2026-03-30T00:30",
    ]


def test_a_time_that_the_zone_has_twice_counts_once():
    # On 2026-10-25 Zurich has 02:30 twice: 00:30 and 01:30 UTC.
    assert texts(due_moments(drill("30 2 * * *"), utc("2026-10-24T12:00")), 2) == [
        "2026-10-25T00:30",
        "2026-10-26T01:30",
    ]


def test_skipped_times_that_fall_together_are_one():
    moments = texts(due_moments(drill("*/20 2 * * *"), utc("2026-03-28T12:00")), 2)
    assert moments == ["2026-03-29T01:00", "2026-03-30T00:00"]


def test_lord_howe_sets_its_clocks_by_half_an_hour():
    # 2026-10-04 02:00 becomes 02:30 at 15:30 UTC of the day before.
    assert texts(due_moments(drill("15 2 * * *", "Australia/Lord_Howe"), utc("2026-10-03T12:00")), 1) == [
        "2026-10-03T15:30"
    ]


ZONES = ["UTC", "Europe/Zurich", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Africa/Cairo"]


@given(
    zone=st.sampled_from(ZONES),
    cron=st.sampled_from(["*/15 * * * *", "30 2 * * *", "0 0 1 * *", "59 23 * * sun", "0 1-4 * * *"]),
    begin=st.integers(1322697600, 2114380800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    cut=st.integers(0, 12),
)
def test_asking_in_two_goes_gives_the_same_moments_as_asking_once(zone, cron, begin, cut):
    whole = list(islice(due_moments(drill(cron, zone), begin), 24))
    assert all(one < other for one, other in pairwise([begin, *whole]))
    again = whole[: cut + 1] + list(islice(due_moments(drill(cron, zone), whole[cut]), 23 - cut))
    assert again == whole


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("0 3 * *", "five fields"),
        ("0 3 * * * *", "five fields"),
        ("@weekly", "five fields"),
        ("61 3 * * *", "is no line of cron"),
        ("0 3 30 2 *", "never comes"),
        ("x 3 * * *", "is no line of cron"),
    ],
)
def test_lines_that_are_none(line, wrong):
    assert wrong in (cron_problem(line) or "")


def test_a_leap_day_is_a_day_that_comes():
    assert cron_problem("0 3 29 2 *") is None


def test_jitter_is_within_its_bound_and_the_same_for_all_who_ask():
    spread = drill("0 * * * *", jitter_seconds=600)
    dues = list(islice(due_moments(spread, utc("2026-01-01")), 200))
    offsets = [(start_of(spread, due) - due).total_seconds() for due in dues]
    assert offsets == [(start_of(spread, due) - due).total_seconds() for due in dues]
    assert 0 <= min(offsets) < 60
    assert 540 < max(offsets) <= 600


def test_whoever_comes_in_time_finds_one_that_is_due():
    fires = fires_until(
        drill("0 * * * *"), since=utc("2026-01-01T00:30"), now=utc("2026-01-01T01:00:40"), known=(), blackouts=()
    )
    assert [(fire.due, fire.state) for fire in fires] == [("2026-01-01T01:00:00.000Z", "due")]


def test_after_an_absence_the_newest_is_made_up_for_and_the_others_are_missed():
    hourly = drill("0 * * * *")
    fires = fires_until(hourly, since=utc("2026-01-01"), now=utc("2026-01-01T04:30"), known=(), blackouts=())
    assert [fire.state for fire in fires] == ["missed", "missed", "missed", "due"]
    assert "2026-01-01T04:00:00.000Z makes up for it" in fires[0].because


def test_after_a_long_absence_it_is_too_late():
    fires = fires_until(drill(), since=utc("2026-01-01"), now=utc("2026-01-03T12:00"), known=(), blackouts=())
    assert [fire.state for fire in fires] == ["missed"]
    assert "within 21600 s" in fires[0].because


def test_missed_times_may_be_reported_only():
    told = drill("0 * * * *", missed="report")
    fires = fires_until(told, since=utc("2026-01-01"), now=utc("2026-01-01T01:20"), known=(), blackouts=())
    assert [fire.state for fire in fires] == ["missed"]
    fires = fires_until(told, since=utc("2026-01-01"), now=utc("2026-01-01T01:01"), known=(), blackouts=())
    assert [fire.state for fire in fires] == ["due"]


@given(st.lists(st.integers(-1800, 5400), min_size=1, max_size=40))
def test_no_time_comes_up_twice_however_the_clock_jumps(steps):
    hourly = drill("0 * * * *", late_seconds=7200)
    since = now = utc("2026-03-29T00:00")
    known: set[str] = set()
    for step in steps:
        now += timedelta(seconds=step)
        fires = fires_until(hourly, since=since, now=now, known=known, blackouts=())
        ids = [fire.id for fire in fires]
        assert not known & set(ids)
        assert sum(fire.state == "due" for fire in fires) <= 1
        known |= set(ids)
    expected = takewhile(lambda moment: moment <= now, due_moments(hourly, since))
    assert {f"{moment:%H:%M}" for moment in expected} <= {each.split("T")[1][:5] for each in known}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Zurich", "America/St_Johns"])
@pytest.mark.parametrize(("cron", "jitter"), [("*/10 * * * *", 0), ("17 3 * * *", 86400.0)])
def test_who_was_away_for_long_is_told_as_much_and_the_times_before_are_not_counted_through(cron, jitter, zone):
    often, now = drill(cron, zone, jitter_seconds=jitter), utc("2026-10-25T12:05")
    recent = fires_until(often, since=now - timedelta(days=200), now=now, known=(), blackouts=())
    begun = time.process_time()
    assert fires_until(often, since=utc("1990-01-01"), now=now, known=(), blackouts=()) == recent
    assert time.process_time() - begun < 1, "a look must not take the longer the older a drill is"
    assert len(recent) == MISSED_TOLD_MAX + 1


def test_a_newest_that_is_known_makes_no_older_one_due():
    hourly = drill("0 * * * *")
    first = fires_until(hourly, since=utc("2026-01-01"), now=utc("2026-01-01T03:05"), known=(), blackouts=())
    known = {first[-1].id}
    again = fires_until(hourly, since=utc("2026-01-01"), now=utc("2026-01-01T03:10"), known=known, blackouts=())
    assert [fire.state for fire in again] == ["missed", "missed"]


BLACKOUT = Freeze(
    name="year-end",
    period=Period(start="2026-01-03T00:00:00.000Z", end="2026-01-04T00:00:00.000Z"),
    because="filings are due",
)


def test_nothing_is_drilled_in_a_blackout():
    fires = fires_until(drill(), since=utc("2026-01-01"), now=utc("2026-01-03T02:00"), known=(), blackouts=[BLACKOUT])
    assert [(fire.state, fire.because) for fire in fires] == [("blacked_out", "year-end: filings are due")]


def test_a_blackout_of_other_systems_is_none():
    other = BLACKOUT.model_copy(update={"systems": ("archive",)})
    fires = fires_until(drill(), since=utc("2026-01-01"), now=utc("2026-01-03T02:00"), known=(), blackouts=[other])
    assert [fire.state for fire in fires] == ["due"]


def test_what_comes_next_says_what_falls_into_a_blackout():
    fires = next_fires(drill(), utc("2026-01-01"), [BLACKOUT], count=2)
    assert [(fire.due[:10], fire.state) for fire in fires] == [("2026-01-03", "blacked_out"), ("2026-01-10", "coming")]


def test_what_waits_for_something_in_its_way_is_missed_in_the_end():
    coming = next_fires(drill(), utc("2026-01-01"), ())[0]
    fire = coming.model_copy(update={"state": "due", "because": "filing is cut over"})
    assert late(drill(), fire, utc("2026-01-03T07:00")).state == "due"
    assert late(drill(missed="report"), fire, utc("2026-01-03T07:00")).state == "due"
    assert late(drill(), fire, utc("2026-01-03T08:00")).state == "missed"
