"""Torn databases: a WAL cut off, with flipped bits, or with a tail of zeros, and a database older than its log."""

import json
import random
import shutil
import sqlite3

import pytest

from orchestrator.evidence.ingest import open_database
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import BrokenLog, EvidenceError, RunInProgress
from orchestrator.model.event import RunEvent

ORIGIN = "evidence.example/torn"


def opened(folder):
    return open_recorder(folder, origin=ORIGIN, source="urn:test", clock=SystemClock(), ballast_bytes=4096)


def event(number):
    return RunEvent(type="check.result", run="r", at="t", data={"n": number})


def entries(folder):
    connection = open_database(folder / "ledger.db")
    try:
        return [json.loads(data) for (data,) in connection.execute("SELECT data FROM entries ORDER BY idx")]
    finally:
        connection.close()


@pytest.fixture
def torn(tmp_path):
    """A ledger as a power cut may leave it: unpublished entries only in the WAL."""
    folder = tmp_path / "running"
    recorder = opened(folder)
    for number in range(40):
        recorder.record(event(number))
    recorder.publish()
    for number in range(40, 80):
        recorder.record(event(number))
    shutil.copytree(folder, tmp_path / "torn")
    recorder.close()
    return tmp_path / "torn"


@pytest.mark.parametrize("how", ["cut", "flip", "zeros"])
def test_a_torn_wal_gives_back_whole_events_and_at_least_what_was_published(torn, how, tmp_path):
    wal = (torn / "ledger.db-wal").read_bytes()
    assert len(wal) > 10_000
    chance = random.Random(how)
    for attempt in range(12):
        folder = tmp_path / f"{how}-{attempt}"
        shutil.copytree(torn, folder)
        (folder / "ledger.db-shm").unlink(missing_ok=True)
        at = chance.randrange(32, len(wal))
        changed = bytearray(wal[:at] if how == "cut" else wal)
        if how == "flip":
            changed[at] ^= 1 << chance.randrange(8)
        elif how == "zeros":
            changed[at:] = bytes(len(wal) - at)
        (folder / "ledger.db-wal").write_bytes(changed)
        recorder = opened(folder)
        recorder.record(event(1000))
        recorder.close()
        found = [each["data"]["n"] for each in entries(folder) if each["run"] == "r"]
        assert found == [*range(len(found) - 1), 1000]
        assert len(found) > 40
        report = verify_log(folder, vkeys=own_keys(folder))
        assert report.verified, report.findings.failed


def test_a_database_older_than_the_log_is_filled_from_the_tiles(tmp_path):
    folder = tmp_path / "ledger"
    recorder = opened(folder)
    recorder.record(event(0))
    recorder.close()
    shutil.copy(folder / "ledger.db", tmp_path / "old.db")
    recorder = opened(folder)
    for number in range(1, 600):
        recorder.record(event(number))
    recorder.close()
    shutil.copy(tmp_path / "old.db", folder / "ledger.db")
    recorder = opened(folder)
    recorder.record(event(600))
    recorder.close()
    found = entries(folder)
    assert [each["data"]["n"] for each in found if each["run"] == "r"] == list(range(601))
    (told,) = [each for each in found if each["type"] == "skerry.evidence.recovered.v1"]
    assert told["data"]["entries_restored"] == 599
    assert verify_log(folder, vkeys=own_keys(folder)).verified


def test_a_lost_database_is_rebuilt_from_the_tiles(tmp_path):
    folder = tmp_path / "ledger"
    recorder = opened(folder)
    for number in range(300):
        recorder.record(event(number))
    recorder.close()
    (folder / "ledger.db").unlink()
    recorder = opened(folder)
    recorder.record(event(300))
    recorder.close()
    assert [each["seq"] for each in entries(folder) if each["run"] == "r"] == list(range(301))
    assert verify_log(folder, vkeys=own_keys(folder)).verified


def test_a_database_with_another_history_than_the_log_is_refused(tmp_path):
    for name, first in (("one", 0), ("two", 7)):
        recorder = opened(tmp_path / name)
        recorder.record(event(first))
        recorder.close()
    shutil.copy(tmp_path / "two" / "ledger.db", tmp_path / "one" / "ledger.db")
    with pytest.raises(BrokenLog, match="refusing to go on"):
        opened(tmp_path / "one")


def test_an_edited_database_is_never_signed(tmp_path):
    folder = tmp_path / "ledger"
    recorder = opened(folder)
    for number in range(300):
        recorder.record(event(number))
    recorder.publish()
    connection = sqlite3.connect(folder / "ledger.db")
    connection.executescript("DROP TRIGGER entries_stay; UPDATE entries SET data = x'7B7D' WHERE idx = 299")
    connection.close()
    recorder.record(event(300))
    before = (folder / "log" / "checkpoint").read_bytes()
    with pytest.raises(BrokenLog, match="refusing to fork"):
        recorder.publish()
    assert (folder / "log" / "checkpoint").read_bytes() == before
    with pytest.raises(BrokenLog):
        recorder.close()


def test_two_processes_do_not_write_one_ledger(tmp_path):
    recorder = opened(tmp_path / "ledger")
    with pytest.raises(RunInProgress, match="another process"):
        opened(tmp_path / "ledger")
    recorder.close()
    opened(tmp_path / "ledger").close()


def test_a_ledger_keeps_its_name_and_its_keys(tmp_path):
    folder = tmp_path / "ledger"
    opened(folder).close()
    with pytest.raises(EvidenceError, match="not the key"):
        open_recorder(folder, origin="evidence.example/other", source="urn:test", clock=SystemClock())
    (folder / "private" / "log.ed25519").unlink()
    with pytest.raises(EvidenceError, match="key is gone"):
        opened(folder)
