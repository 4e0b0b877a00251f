"""Anchoring by itself: with what is enrolled, without ever failing a run; without enrolment nothing changes."""

import json
import time

import pytest

from orchestrator.evidence.anchoring import (
    EnrolledBucket,
    EnrolledWitness,
    Enrolment,
    anchor,
    read_enrolment,
    write_enrolment,
)
from orchestrator.evidence.export import verified_events
from orchestrator.evidence.receipts import receipt_digest
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.standing_anchors import StandingAnchors
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import TargetError
from orchestrator.foundation.places import shipped_folder
from orchestrator.inventory.load import load_inventory
from orchestrator.model.event import RunEvent
from orchestrator.wiring.workshop import Workshop
from tests.fakes.object_lock import FakeObjectLock
from tests.fakes.staged_run import ORIGIN

BUCKET = EnrolledBucket("worm", "eu-central-1")
WITNESS = EnrolledWitness("audit", "http://127.0.0.1:9", "witness.example+0a1b2c3d+AA==")


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "ledger"


class Writing:
    """A ledger that is open, and anchored by itself."""

    def __init__(self, ledger, lock, **how):
        self.recorder = open_recorder(ledger, origin=ORIGIN, source="urn:t", clock=SystemClock(), ballast_bytes=4096)
        self.warnings: list[RunEvent] = []
        self.anchors = StandingAnchors(
            ledger, self.recorder, SystemClock(), open_lock=lock, warn=self.warnings.append, **how
        )

    def grow(self, count=1):
        for _ in range(count):
            self.recorder.record(RunEvent(type="check.result", run="r", at="2026-01-01T00:00:00Z"))

    def close(self):
        self.anchors.close()
        self.recorder.close()


def refuse(bucket):
    raise TargetError(f"{bucket.bucket} says no")


def kinds(ledger):
    return [event.type for event in verified_events(ledger)[0]]


def test_without_enrolment_nothing_changes(ledger):
    writing = Writing(ledger, refuse)
    writing.grow(3)
    writing.close()
    assert kinds(ledger) == ["log.genesis"] + ["check.result"] * 3
    assert not (ledger / "anchors").exists()


def test_the_last_head_is_locked_when_the_ledger_is_closed(ledger):
    lock = FakeObjectLock()
    write_enrolment(ledger, Enrolment(buckets=(BUCKET,)))
    writing = Writing(ledger, lambda bucket: lock)
    writing.grow(3)
    writing.close()
    assert [copy.key.rsplit("/", 1)[1][:12] for copy in lock.list("")] == ["000000000004"]
    assert json.loads((ledger / "anchors/000000000004.worm.json").read_bytes())["bucket"] == "worm"
    assert (kinds(ledger).count("anchor.failed"), writing.warnings) == (0, [])


def test_a_long_run_is_anchored_while_it_goes(ledger):
    lock = FakeObjectLock()
    write_enrolment(ledger, Enrolment(buckets=(BUCKET,)))
    writing = Writing(ledger, lambda bucket: lock, every_seconds=0.02)
    for size in (1, 2, 3):
        writing.grow()
        until = time.monotonic() + 20
        while len(lock.list("")) < size and time.monotonic() < until:
            time.sleep(0.01)
    writing.close()
    assert len(lock.list("")) >= 3


def test_a_place_that_fails_is_a_warning_once_and_the_others_get_their_turn(ledger):
    lock = FakeObjectLock()
    other = EnrolledBucket("shut", "eu-central-1")
    write_enrolment(ledger, Enrolment(witnesses=(WITNESS,), buckets=(other, BUCKET)))
    writing = Writing(ledger, lambda bucket: refuse(bucket) if bucket is other or bucket == other else lock)
    writing.grow()
    writing.anchors.show()
    writing.anchors.show()
    writing.close()
    assert len(lock.list("")) >= 1
    assert kinds(ledger).count("anchor.failed") == 1
    (warning,) = writing.warnings
    assert [text.split(":")[0] for text in warning.data["failed"]] == ["witness audit", "bucket shut"]


def test_an_enrolment_that_cannot_be_read_fails_no_run(ledger):
    (ledger / "anchors").mkdir(parents=True)
    (ledger / "anchors/enrolled.json").write_text("{")
    writing = Writing(ledger, refuse)
    writing.grow()
    writing.close()
    assert "not an enrolment" in writing.warnings[0].data["failed"][0]


def test_a_worker_anchors_at_its_end(tmp_path, monkeypatch):
    """Through the real wiring; the bucket's profile does not exist, and the worker ends well all the same."""
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path))
    ledger = tmp_path / "ledger"
    write_enrolment(ledger, Enrolment(buckets=(EnrolledBucket("worm", "eu-central-1", profile="nobody-has-it"),)))
    workshop = Workshop(load_inventory(shipped_folder("inventories") / "lab", home=tmp_path))
    with workshop.worker():
        pass
    workshop.close()
    assert kinds(ledger) == ["log.genesis", "anchor.failed"]


def test_what_a_place_answered_is_on_record_before_the_next_head_is_shown_and_nothing_follows_the_last(ledger):
    lock = FakeObjectLock()
    write_enrolment(ledger, Enrolment(buckets=(BUCKET,)))
    writing = Writing(ledger, lambda bucket: lock)
    writing.grow(3)
    writing.anchors.show()
    writing.anchors.show()
    assert kinds(ledger) == ["log.genesis"] + ["check.result"] * 3
    writing.grow()
    writing.close()
    assert kinds(ledger) == ["log.genesis"] + ["check.result"] * 4 + ["anchor.recorded"]
    assert [copy.key.rsplit("/", 1)[1][:12] for copy in lock.list("")] == ["000000000004", "000000000006"]
    event = verified_events(ledger)[0][-1]
    content = (ledger / "anchors/000000000004.worm.json").read_bytes()
    (receipt,) = event.data["receipts"]
    assert (event.data["size"], receipt["digest"]) == (4, receipt_digest(content))


def test_what_another_command_showed_is_put_on_record_by_the_next_writer_and_once(ledger):
    lock = FakeObjectLock()
    write_enrolment(ledger, Enrolment(buckets=(BUCKET,)))
    Writing(ledger, lambda bucket: lock).recorder.close()
    anchor(ledger, read_enrolment(ledger), SystemClock(), locks={"worm": lock})
    for _ in range(2):
        writing = Writing(ledger, lambda bucket: lock)
        writing.grow()
        writing.close()
    told = [event.data["size"] for event in verified_events(ledger)[0] if event.type == "anchor.recorded"]
    assert told == [1, 3]
