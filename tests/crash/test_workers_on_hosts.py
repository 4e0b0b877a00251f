"""Two `skerry worker` of two machines, one PostgreSQL, hosts of a lab: one is gone, and its move goes on elsewhere."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from orchestrator.cli.app import main
from orchestrator.contracts.engine import StepStatus
from orchestrator.foundation.errors import EngineUnavailable
from orchestrator.foundation.limits import WORKER_DEAD_SECONDS_MIN
from orchestrator.operations.working import worker_documents
from tests.crash.matrix_cells import NO_TROUBLE, Case
from tests.crash.real_estate import FILING, ON_HOSTS, ROOT, Ground, lab
from tests.crash.real_lab import RealTrial, directions, other_side, prepare
from tests.crash.test_engine_takeover import TAKEOVER_SECONDS_MAX, SocketLine
from tests.fakes.ready_processes import ReadyProcess

pytestmark = [*ON_HOSTS, pytest.mark.timeout(1800)]
RUN_SECONDS_MAX = 300.0
ENTRIES_MAX = 1_000_000


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with lab(on_postgresql=True) as here:
        prepare(here)
        yield here


@contextmanager
def worker(ground: Ground, home: Path, database: str) -> Iterator[ReadyProcess]:
    words = ["worker", "--json", "--dead-seconds", f"{WORKER_DEAD_SECONDS_MIN:g}"]
    environment = ground.environment(home) | {"SKERRY_DATABASE": database}
    said = Path(tempfile.mkstemp(dir=home)[1])
    process = ReadyProcess(main, words, environment=environment, folder=ROOT, stdout=said, stderr=said)
    try:
        until = time.monotonic() + RUN_SECONDS_MAX
        while '"up"' not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def done(trial: RealTrial) -> dict[str, StepStatus]:
    return {step.step: step for step in trial.status().steps if step.state == "done"}


def until_done(trial: RealTrial, steps: int) -> None:
    until = time.monotonic() + RUN_SECONDS_MAX
    while len(done(trial)) < steps:
        assert time.monotonic() < until, trial.status()
        time.sleep(0.1)


def entries_of(ground: Ground, process: int) -> int:
    """How many entries of the ledger that process wrote about its deeds."""
    entries = ground.store.ledger.entries(0, limit=ENTRIES_MAX)
    return sum(f"/{process}/".encode() in entry for entry in entries)


def takeover_from(process: int) -> float:
    """When another worker took over what that process carried."""
    until = time.monotonic() + RUN_SECONDS_MAX
    while time.monotonic() < until:
        for takeover in worker_documents()["takeovers"]:
            if f"/{process}/" in takeover["dead"] and takeover["systems"]:
                return datetime.fromisoformat(takeover["at"]).timestamp()
        time.sleep(0.1)
    raise AssertionError("nobody took over")


@pytest.mark.parametrize(("how", "after_steps"), [("killed", 1), ("asleep", 6), ("cut off", 8)])
def test_a_move_goes_on_at_another_machine_and_nothing_completed_is_repeated(
    ground: Ground, how: str, after_steps: int
) -> None:
    database = os.environ["SKERRY_DATABASE"]
    before_host, _, server = database.partition("host=")
    assert ground.second is not None
    with SocketLine(Path(server)) as line, worker(ground, ground.home, f"{before_host}host={line.folder}") as first:
        here = ground.desk.authority.read(FILING).side
        trial = RealTrial(Case("cutover", "", "do", NO_TROUBLE, "go on"), ground, directions(here) | {"watch": "5s"})
        until_done(trial, 1)
        with worker(ground, ground.second, database):
            until_done(trial, after_steps)
            before, struck_at = done(trial), time.time()
            if how == "cut off":
                line.cut.set()
            else:
                first.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
            taken_at = takeover_from(first.pid)
            assert taken_at - struck_at < TAKEOVER_SECONDS_MAX
            if how == "asleep":
                until_done(trial, len(before) + 2)
                told = entries_of(ground, first.pid)
                first.send_signal(signal.SIGCONT)
            assert first.wait(timeout=60) == (-signal.SIGKILL if how == "killed" else EngineUnavailable.exit_code)
            if how == "asleep":
                assert entries_of(ground, first.pid) == told > 0, "it began something after it woke up"
            until = time.monotonic() + RUN_SECONDS_MAX
            while not trial.is_over():
                assert time.monotonic() < until, trial.status()
                time.sleep(0.2)
    after = done(trial)
    assert trial.status().state == "committed", trial.status().reason
    assert {name: after[name] for name in before} == before
    assert ground.desk.authority.read(FILING).side is other_side(here)
    assert trial.problems() == []
    print(f"{how}: taken over {taken_at - struck_at:.2f} s later, with {len(before)} steps done")
