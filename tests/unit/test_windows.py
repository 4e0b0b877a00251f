"""Windows: local times are moments, clocks that change included, and gates know what is left."""

from datetime import UTC, date, datetime, time, timedelta

import pytest

from orchestrator.foundation.clock import timestamp
from orchestrator.model.wave import Freeze, Period, WaveTerms
from orchestrator.planning.gates import judge_gate
from orchestrator.planning.windows import (
    facts_of_terms,
    length_seconds,
    overlap,
    period,
    recurring_period,
    window_facts,
    within_window,
)
from tests.fakes.plans import shipped_steps

START = datetime(2026, 11, 28, 21, 0, tzinfo=UTC)
WINDOW = Period(start=timestamp(START), end=timestamp(START + timedelta(hours=6)))
TERMS = WaveTerms(position=0, window=WINDOW, rollback_seconds=1800, reserve_seconds=900)
local = datetime.fromisoformat


def test_a_window_over_the_night_in_which_clocks_are_set_back_is_an_hour_longer():
    usual = recurring_period(date(2026, 10, 17), ("sat",), time(22), time(4), "Europe/Zurich")
    longer = recurring_period(date(2026, 10, 24), ("sat",), time(22), time(4), "Europe/Zurich")
    assert (length_seconds(usual), length_seconds(longer)) == (6 * 3600, 7 * 3600)


def test_a_time_that_is_there_twice_is_taken_so_that_the_window_is_shorter():
    found = period(local("2026-10-25T02:30"), local("2026-10-25T04:00"), "Europe/Zurich")
    assert found.start == "2026-10-25T01:30:00.000Z"  # the second half past two
    ended = period(local("2026-10-24T22:00"), local("2026-10-25T02:30"), "Europe/Zurich")
    assert ended.end == "2026-10-25T00:30:00.000Z"  # the first


def test_a_time_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="2026-03-29 02:30 does not exist"):
        period(local("2026-03-29T02:30"), local("2026-03-29T06:00"), "Europe/Zurich")


def test_periods_that_touch_do_not_overlap():
    later = Period(start=WINDOW.end, end=timestamp(START + timedelta(hours=8)))
    assert not overlap(WINDOW, later)
    assert overlap(WINDOW, Period(start=timestamp(START + timedelta(hours=5, minutes=59)), end=later.end))


@pytest.mark.parametrize(
    ("minutes", "is_open", "spare_minutes"),
    [(-1, False, -45), (0, True, 315), (315, True, 0), (316, True, -1), (360, False, -45)],
)
def test_what_is_left_of_a_window(minutes, is_open, spare_minutes):
    facts = window_facts(TERMS, START + timedelta(minutes=minutes))
    assert (facts["open"], facts["spare_seconds"]) == (is_open, spare_minutes * 60)


def test_a_freeze_closes_the_window():
    freeze = Freeze(name="audit", period=Period(start=WINDOW.start, end=WINDOW.end), because="the auditors are here")
    facts = window_facts(TERMS.model_copy(update={"freezes": (freeze,)}), START + timedelta(hours=1))
    assert (facts["open"], facts["freeze"]) == (False, "audit")


@pytest.mark.parametrize(("minutes", "passes"), [(-10, False), (10, True), (315, True), (316, False), (400, False)])
def test_the_gate_before_service_is_interrupted_follows_the_window(minutes, passes):
    drain = next(step for step in within_window(shipped_steps()) if step.id == "drain")
    assert drain.gate is not None
    at = (START + timedelta(minutes=minutes)).timestamp()
    verdict = judge_gate(drain.gate, facts_of_terms(TERMS)(at))
    assert verdict.passed is passes
    assert [criterion.missing for criterion in verdict.criteria] == [False, False]


def test_a_plan_bound_to_a_window_never_passes_where_nothing_is_known_of_it():
    drain = next(step for step in within_window(shipped_steps()) if step.id == "drain")
    assert drain.gate is not None
    assert not judge_gate(drain.gate, facts_of_terms(None)(START.timestamp())).passed
