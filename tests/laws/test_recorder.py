"""The ledger's recorder and the fake one obey the same laws."""

import json

import pytest

from orchestrator.evidence.ingest import open_database
from orchestrator.evidence.recorder import open_recorder
from orchestrator.foundation.clock import SystemClock
from tests.fakes.recorder import FakeRecorder
from tests.laws.recorder_laws import RecorderLaws


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
