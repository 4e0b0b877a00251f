"""kill -9 at random moments: what was acknowledged is there, numbers have no gap, and no two histories were signed.

SKERRY_KILL_ROUNDS asks for more rounds than the few of every test run.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

from orchestrator.evidence import merkle
from orchestrator.evidence.ingest import open_database
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.foundation.clock import SystemClock

ROUNDS = int(os.environ.get("SKERRY_KILL_ROUNDS", "6"))
ORIGIN = "evidence.example/kill"

# A writer that acknowledges on stdout what is durable, with threads that publish and keep artifacts meanwhile.
WRITER = """
import os, sys, threading
from pathlib import Path
from orchestrator.evidence.recorder import open_recorder
from orchestrator.foundation.clock import SystemClock
from orchestrator.model.event import RunEvent
recorder = open_recorder(Path(sys.argv[1]), origin="evidence.example/kill", source="urn:test", clock=SystemClock())
def publish():
    while True:
        recorder.publish()
        head = recorder.head()
        os.write(1, f"P {head.size} {head.root.hex()}\\n".encode())
threading.Thread(target=publish, daemon=True).start()
def write(run):
    for number in range(10**9):
        index = recorder.record(RunEvent(type="step.started", run=run, system="s", step="a", attempt=number, at="t"))
        os.write(1, f"A {index} {run}\\n".encode())
        if number % 50 == 0:
            recorder.keep(f"{run} {number}".encode() * 100, "text/plain")
threads = [threading.Thread(target=write, args=(f"run-{name}",)) for name in range(4)]
[thread.start() for thread in threads]
"""


def test_nothing_acknowledged_is_lost_and_nothing_is_forked(tmp_path):
    folder = tmp_path / "ledger"
    acknowledged: set[tuple[int, str]] = set()
    published: dict[int, str] = {}
    chance = random.Random(11)
    for _ in range(ROUNDS):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline(), "the writer did not start"
            time.sleep(chance.random() * 0.4)
            os.kill(writer.pid, signal.SIGKILL)
            said = writer.stdout.read().decode()
        for line in said.split("\n")[:-1]:
            what, number, text = line.split(" ")
            if what == "A":
                acknowledged.add((int(number), text))
            else:
                assert published.setdefault(int(number), text) == text, "one size, two roots: a fork"
    assert verify_log(folder, vkeys=own_keys(folder)).verified, "verifiable before anybody repairs it"
    recorder = open_recorder(folder, origin=ORIGIN, source="urn:test", clock=SystemClock())
    recorder.close()

    connection = open_database(folder / "ledger.db")
    rows = [data for (data,) in connection.execute("SELECT data FROM entries ORDER BY idx")]
    connection.close()
    events = [json.loads(data) for data in rows]
    for index, run in acknowledged:
        assert events[index]["run"] == run
    numbers: dict[str, int] = {}
    for event in events:
        assert event["seq"] == numbers.get(event["run"], 0)
        numbers[event["run"]] = event["seq"] + 1
    recovered = [event for event in events if event["type"] == "skerry.evidence.recovered.v1"]
    assert len(recovered) == ROUNDS
    frontier = merkle.Frontier()
    for data in rows:
        frontier.append(merkle.leaf_hash(data))
        if frontier.size in published:
            assert published.pop(frontier.size) == frontier.root().hex()
    assert not published
    report = verify_log(folder, vkeys=own_keys(folder))
    assert report.verified, report.findings.failed
    assert report.size == len(rows)
    assert not list(folder.rglob(".*.tmp"))
    assert len(acknowledged) > ROUNDS
