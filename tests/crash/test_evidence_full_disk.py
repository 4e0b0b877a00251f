"""A full disk: the next deed does not begin, what was begun is still recorded, and room brings it all back."""

import json
import os
import resource
import subprocess

import pytest

from orchestrator.evidence.ingest import open_database
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import LedgerFull
from orchestrator.model.event import RunEvent

ORIGIN = "evidence.example/full"
MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def step(kind, number):
    data = {"padding": "x" * 700, "n": number}
    return RunEvent(type=kind, run="r", system="s", step="a", attempt=number, at="t", data=data)


def opened(disk):
    return open_recorder(disk / "ledger", origin=ORIGIN, source="urn:test", clock=SystemClock(), ballast_bytes=2 * MIB)


def fill(recorder):
    """Begin deeds until there is no room; how many were acknowledged."""
    for number in range(100_000):
        try:
            recorder.record(step("step.started", number))
        except LedgerFull:
            return number
        if number == 1000:
            recorder.publish()
    pytest.fail("the disk did not fill up")


@pytest.mark.platform("root")
def test_a_full_disk_halts_deeds_and_is_itself_recorded(small_disk):
    recorder = opened(small_disk)
    acknowledged = fill(recorder)
    assert acknowledged > 1000

    recorder.record(step("step.finished", acknowledged - 1))  # what was under way is still told
    with pytest.raises(LedgerFull, match="nothing new is begun"):
        recorder.record(step("step.started", acknowledged))
    with pytest.raises(LedgerFull):
        recorder.keep(os.urandom(4 * MIB), "application/octet-stream")
    report = verify_log(small_disk / "ledger", vkeys=own_keys(small_disk / "ledger"))
    assert report.verified, report.findings.failed

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    recorder.close()
    report = verify_log(small_disk / "ledger", vkeys=own_keys(small_disk / "ledger"))
    assert report.verified, report.findings.failed
    assert report.size == acknowledged + 3

    connection = open_database(small_disk / "ledger" / "ledger.db")
    events = [json.loads(data) for (data,) in connection.execute("SELECT data FROM entries ORDER BY idx")]
    connection.close()
    kinds = [event["type"].removeprefix("skerry.") for event in events]
    assert kinds.count("step.started.v1") == acknowledged
    assert kinds[-2:] == ["evidence.disk_full.v1", "step.finished.v1"]
    assert [event["seq"] for event in events if event["run"] == "r"] == list(range(acknowledged + 1))


@pytest.mark.platform("root")
def test_room_lets_deeds_begin_again(small_disk):
    recorder = opened(small_disk)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        stream.write(b"x" * 4 * MIB)
    fill(recorder)
    filler.unlink()
    recorder.record(step("step.started", 200_000))
    recorder.close()
    assert verify_log(small_disk / "ledger", vkeys=own_keys(small_disk / "ledger")).verified


@pytest.mark.platform("root")
def test_no_room_for_the_ballast_means_nothing_begins(small_disk):
    (small_disk / "filler").write_bytes(b"x" * 11 * MIB)
    with pytest.raises(LedgerFull):
        opened(small_disk)


def test_a_process_that_may_write_no_further_byte_is_told_that_there_is_no_room(tmp_path):
    recorder = opened(tmp_path)
    recorder.record(step("step.started", 1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(LedgerFull):
            recorder.publish()
        with pytest.raises(LedgerFull):
            recorder.keep(b"a picture", "image/png")
        with pytest.raises(LedgerFull):
            recorder.record(step("step.finished", 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    recorder.record(step("step.finished", 1))  # there is room again
    recorder.close()
    assert verify_log(tmp_path / "ledger", vkeys=own_keys(tmp_path / "ledger")).verified
