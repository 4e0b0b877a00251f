"""Laws of contracts.observer.Recorder: inherit, give a `recorder` fixture, and every law runs against it."""

import hashlib

import pytest

from orchestrator.foundation.errors import EvidenceError
from orchestrator.model.event import RunEvent


def event(kind="step.started", *, run="run-1", **data):
    return RunEvent(
        type=kind, run=run, system="filing", step="drain", attempt=1, at="2026-11-21T22:18:00.000Z", data=data
    )


class RecorderLaws:
    def entries(self, recorder):
        """The recorded events of a recorder, as dicts in the order of the log, those about the log itself left out."""
        raise AssertionError("the test class gives this")

    def test_record_returns_rising_indices(self, recorder):
        indices = [recorder.record(event(n=number)) for number in range(5)]
        assert indices == sorted(set(indices))

    def test_what_is_recorded_can_be_read_back(self, recorder):
        recorder.record(event(playbook="drain.yml", hosts=["a", "b"]))
        (entry,) = self.entries(recorder)
        assert entry["type"] == "skerry.step.started.v1"
        assert entry["subject"] == "filing/drain/1"
        assert entry["data"] == {"playbook": "drain.yml", "hosts": ["a", "b"]}
        assert entry["time"] == "2026-11-21T22:18:00.000Z"

    def test_each_run_is_numbered_from_zero_without_gap(self, recorder):
        for run in ("one", "two", "one", "one", "two"):
            recorder.record(event(run=run))
        assert [entry["id"] for entry in self.entries(recorder)] == ["one/0", "two/0", "one/1", "one/2", "two/1"]

    def test_a_refused_event_leaves_no_gap(self, recorder):
        recorder.record(event())
        with pytest.raises(EvidenceError):
            recorder.record(event(value=float("nan")))
        with pytest.raises(EvidenceError):
            recorder.record(event(value=object()))
        with pytest.raises(EvidenceError):
            recorder.record(event("Not A Kind"))
        recorder.record(event())
        assert [entry["seq"] for entry in self.entries(recorder)] == [0, 1]

    def test_an_event_larger_than_an_entry_is_kept_whole(self, recorder):
        recorder.record(event(output="x" * 200_000))
        (entry,) = self.entries(recorder)
        assert entry["data"]["kept"]["size"] > 200_000

    def test_keeping_twice_is_keeping_once(self, recorder):
        first = recorder.keep(b"output of a playbook", "text/plain")
        assert recorder.keep(b"output of a playbook", "text/plain") == first
        assert first == {
            "digest": "sha256:" + hashlib.sha256(b"output of a playbook").hexdigest(),
            "size": 20,
            "mediaType": "text/plain",
        }

    def test_publishing_is_allowed_at_any_time(self, recorder):
        recorder.publish()
        recorder.record(event())
        recorder.publish()
        recorder.publish()

    def test_a_registered_secret_is_never_recorded(self, recorder):
        recorder.register_secret("correct horse battery")
        recorder.record(
            event(message="login with 'correct horse battery' failed", nested=[{"a": "correct horse battery"}])
        )
        reference = recorder.keep(b"psql: correct horse battery", "text/plain")
        (entry,) = self.entries(recorder)
        assert "correct horse" not in str(entry)
        assert reference["digest"] != "sha256:" + hashlib.sha256(b"psql: correct horse battery").hexdigest()
