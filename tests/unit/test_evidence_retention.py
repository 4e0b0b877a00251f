"""How long evidence is kept: promised in the log, never shortened for what ended before, never due while held."""

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.evidence.anchoring import EnrolledBucket, Enrolment, anchor, read_enrolment, write_enrolment
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.export import collect
from orchestrator.evidence.keeping import lift_hold, place_hold, retention_of, set_retention
from orchestrator.evidence.retention import kept_runs, read_retention, years_later
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import TargetError, TargetForbidden, UsageError
from tests.fakes.object_lock import FakeObjectLock
from tests.fakes.staged_run import StagedRun, make_keys, trust_policy

FAR = "2199-01-01T00:00:00.000Z"


def at(year, kind, run="log", **data):
    return LoggedEvent(0, run, 0, kind, f"{year}-06-01T00:00:00.000Z", "", data)


def due(events, ended, year, run="r"):
    (found,) = kept_runs(read_retention(events), [(run, ended)], datetime(year, 1, 1, tzinfo=UTC))
    return found.due


ENDED = "2026-11-22T00:00:00.000Z"


@pytest.mark.parametrize(
    ("events", "kept", "over"),
    [
        ([], 2036, 2037),
        ([at(2027, "retention.set", years=20)], 2046, 2047),
        ([at(2020, "retention.set", years=3)], 2029, 2030),
        ([at(2027, "retention.set", years=3)], 2036, 2037),  # a shorter time binds later runs alone
        ([at(2020, "retention.set", years=20), at(2025, "retention.set", years=7)], 2033, 2034),
    ],
)
def test_a_run_keeps_the_longest_time_promised_since_its_end(events, kept, over):
    assert not due(events, ENDED, kept)
    assert due(events, ENDED, over)


def test_nothing_is_due_while_it_is_held_or_unfinished():
    placed = at(2027, "hold.placed", run="r", hold="h", by="carla", because="court")
    assert not due([placed], ENDED, 2099)
    assert due([placed], ENDED, 2099, run="other")
    assert due([placed, at(2028, "hold.lifted", run="r", hold="h")], ENDED, 2099)
    assert not due([at(2027, "hold.placed", hold="all")], ENDED, 2099, run="any")
    assert not due([placed, at(2028, "hold.lifted", hold="another")], ENDED, 2099)
    assert not due([], "", 2199)


def test_a_leap_day_ends_in_march():
    assert years_later(datetime(2028, 2, 29, tzinfo=UTC), 1) == datetime(2029, 3, 1, tzinfo=UTC)


@pytest.fixture
def office(tmp_path):
    """(ledger, run, keys, lock) with one locked copy of the head."""
    (tmp_path / "keys").mkdir()
    keys = make_keys(tmp_path / "keys")
    ledger = tmp_path / "ledger"
    run = StagedRun(ledger, keys).go().run
    lock = FakeObjectLock()
    enrolment = Enrolment(buckets=(EnrolledBucket("worm", "eu-central-1", years=1),))
    write_enrolment(ledger, enrolment)
    anchor(ledger, enrolment, SystemClock(), locks={"worm": lock})
    return ledger, run, keys, lock


def test_holds_reach_the_log_the_bundle_and_the_locked_copies(office):
    ledger, run, keys, lock = office
    how: dict[str, Any] = {"by": "carla", "clock": SystemClock(), "open_lock": lambda bucket: lock}
    one = place_hold(ledger, run, because="case 7", **how)
    two = place_hold(ledger, "", because="inquiry", **how)
    (copy,) = lock.list("")
    with pytest.raises(TargetForbidden, match="held"):
        lock.remove(copy.key, copy.version, now=FAR)
    report = verify_log(ledger, vkeys=own_keys(ledger))
    told = [found.text for found in report.findings.found if found.group == "KEEPING"]
    assert report.verified
    assert told[0] == "kept for 10 years after a run's end (the default)"
    assert ("case 7" in told[1], "the whole log" in told[2]) == (True, True)
    policy = trust_policy(ledger, keys)
    bundle = BundleReport("staged")
    judge_bundle(collect(ledger, run, policy=policy), parse_trust_policy(policy, "p"), bundle)
    assert any("legal hold" in found.text and "case 7" in found.text for found in bundle.findings.found)

    assert lift_hold(ledger, one.hold, because="settled", **how).copies == 0
    with pytest.raises(TargetForbidden, match="held"):
        lock.remove(copy.key, copy.version, now=FAR)
    assert lift_hold(ledger, two.hold, because="over", **how).copies == 1
    assert retention_of(ledger).holds == []
    lock.remove(copy.key, copy.version, now=FAR)
    with pytest.raises(UsageError, match="no open hold"):
        lift_hold(ledger, two.hold, because="again", **how)


def test_a_longer_retention_lengthens_locks_and_a_shorter_one_does_not(office):
    ledger, _, _, lock = office
    how: dict[str, Any] = {
        "by": "carla",
        "because": "the tax code",
        "clock": SystemClock(),
        "open_lock": lambda bucket: lock,
    }
    set_retention(ledger, 12, **how)
    (copy,) = lock.list("")
    assert copy.locked_until > "2037"
    set_retention(ledger, 2, **how)
    assert lock.list("")[0].locked_until == copy.locked_until
    assert (retention_of(ledger).years, read_enrolment(ledger).buckets[0].years) == (2, 2)


def test_what_a_bucket_refuses_is_told_and_stays_on_record(office):
    ledger, run, _, _ = office

    def refuse(bucket):
        raise TargetError("no")

    how: dict[str, Any] = {"by": "carla", "clock": SystemClock(), "open_lock": refuse}
    change = place_hold(ledger, run, because="case 7", **how)
    assert change.failed == ["bucket worm: no"]
    assert [hold.id for hold in retention_of(ledger).holds] == [change.hold]
    for years in (0, 101):
        with pytest.raises(UsageError, match="1 to 100"):
            set_retention(ledger, years, because="x", **how)
    with pytest.raises(UsageError, match="say why"):
        place_hold(ledger, run, because=" ", **how)
    with pytest.raises(UsageError, match="no run"):
        place_hold(ledger, "0193-none", because="x", **how)
