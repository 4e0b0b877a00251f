"""The ledger's recorder and the fake one obey the same laws."""

import json

import pytest

from orchestrator.evidence.ingest import open_database
from orchestrator.evidence.recorder import open_recorder
from orchestrator.foundation.clock import SystemClock
from tests.fakes.recorder import FakeRecorder
from tests.laws.recorder_laws import RecorderLaws, event


class TestFakeRecorder(RecorderLaws):
    @pytest.fixture
    def recorder(self):
        return FakeRecorder()

    def entries(self, recorder):
        return recorder.entries


class TestLedgerRecorder(RecorderLaws):
    @pytest.fixture
    def recorder(self, tmp_path):
        self.folder = tmp_path / "ledger"
        recorder = open_recorder(self.folder, origin="evidence.example/test", source="urn:test", clock=SystemClock())
        yield recorder
        recorder.close()

    def entries(self, recorder):
        connection = open_database(self.folder / "ledger.db")
        try:
            rows = connection.execute("SELECT data FROM entries ORDER BY idx").fetchall()
        finally:
            connection.close()
        return [entry for (data,) in rows if (entry := json.loads(data))["run"] != "log"]


class LaterEachTime:
    """A clock on which every look is a minute later."""

    def __init__(self):
        self._minutes = 0

    def now(self):
        return SystemClock().now()

    def monotonic_seconds(self):
        self._minutes += 1
        return self._minutes * 60.0

    def sleep(self, seconds):
        self._minutes += seconds / 60


def test_a_long_run_is_published_while_it_goes(tmp_path):
    folder = tmp_path / "ledger"
    recorder = open_recorder(folder, origin="evidence.example/test", source="urn:test", clock=LaterEachTime())
    for number in range(30):
        recorder.record(event(n=number))
    sizes = sorted(int(path.name) for path in (folder / "log" / "checkpoints").iterdir())
    assert len(sizes) >= 3
    assert sizes[-1] >= 20
    recorder.close()


def test_opening_and_closing_again_costs_milliseconds_and_leaves_no_event(tmp_path):
    folder = tmp_path / "ledger"
    for _ in range(3):
        open_recorder(folder, origin="evidence.example/test", source="urn:test", clock=SystemClock()).close()
    assert (folder / "log" / "checkpoint").read_text().split("\n")[1] == "1"
