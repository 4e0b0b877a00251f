"""Workers on one PostgreSQL: the work of one that dies, or sleeps, is done by another, and nothing is done twice."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.engine.store import open_store
from orchestrator.foundation.errors import EngineUnavailable
from orchestrator.model.action import Preflight
from orchestrator.model.step import Step
from tests.fakes.plans import a_plan, a_step
from tests.fakes.postgres_server import running_postgres

pytestmark = pytest.mark.platform("postgresql")

ROOT = Path(__file__).resolve().parents[2]
DEAD_SECONDS = 5.0
SYSTEMS = tuple(f"system-{number}" for number in range(4))
STEPS_EACH = 40
# The dead limit and two seconds; and some for a machine that does other things too.
TAKEOVER_SECONDS_MAX = DEAD_SECONDS + 2 + float(os.environ.get("SKERRY_SLACK_SECONDS", "3"))


def chain(length):
    steps: list[Step] = []
    needs: tuple[str, ...] = ()
    for number in range(length):
        steps.append(a_step(f"step-{number}", Preflight(), needs=needs))
        needs = (f"step-{number}",)
    return steps


class Workers:
    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.world = folder / "world.log"
        self.world.touch()
        self.processes = []

    def start(self, url="", per_site=0):
        words = [sys.executable, "-m", "tests.crash.takeover_process", url or self.url, str(self.world)]
        words += [str(DEAD_SECONDS), str(per_site)]
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stdout.readline() == "up\n", process.stderr.read()
        return process

    def lines(self):
        """(what, key, process, at) of every line of the world."""
        return [
            (what, key, int(process), float(at))
            for what, key, process, at in (line.split() for line in self.world.read_text().splitlines())
        ]

    def effects(self):
        return Counter(key for what, key, _, _ in self.lines() if what == "EFFECT")

    def await_effects(self, count):
        deadline = time.monotonic() + 60
        while sum(self.effects().values()) < count:
            for process in self.processes:
                assert process.poll() in (None, -signal.SIGKILL), process.stderr.read()
            assert time.monotonic() < deadline, f"only {sum(self.effects().values())} effects"
            time.sleep(0.05)

    def first_effect_after(self, moment, *, of):
        deadline = time.monotonic() + TAKEOVER_SECONDS_MAX + 20
        while time.monotonic() < deadline:
            for what, key, process, at in self.lines():
                if what == "BEGIN" and process == of and at > moment:
                    return at, key
            time.sleep(0.05)
        raise AssertionError("the work was not taken over")

    def end(self):
        for process in self.processes:
            process.kill()
            process.communicate()


class SocketLine:
    """A line to the server's socket that can be cut: both ends stay open, and nothing gets through any more."""

    def __init__(self, server_folder: Path) -> None:
        self._server = server_folder / ".s.PGSQL.5432"
        self.folder = Path(tempfile.mkdtemp(prefix="skerry-line-"))
        self.cut = threading.Event()
        self._ends: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self):
        self._listener.bind(str(self.folder / ".s.PGSQL.5432"))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        for end in (self._listener, *self._ends):
            end.close()
        shutil.rmtree(self.folder)

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(self._server))
            self._ends += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source, target):
        try:
            while data := source.recv(65536):
                if self.cut.is_set():
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture(scope="module")
def server():
    with running_postgres() as server:
        yield server


@pytest.fixture
def workers(server, tmp_path):
    workers = Workers(server.new_database(), tmp_path)
    yield workers
    workers.end()


def await_committed(store):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        status = store.runs.status("run-1")
        if status.state == "finished":
            assert {found.state for found in status.systems} == {"committed"}
            return
        time.sleep(0.1)
    states = {found.system: found.state for found in store.runs.status("run-1").systems}
    raise AssertionError(f"not finished: {states}")


@pytest.fixture
def store(workers):
    store = open_store(workers.url)
    yield store
    store.close()


def carried_by_one(workers, store, url=""):
    """The first worker takes up everything before the second comes, so that it is clear who carries what."""
    first = workers.start(url)
    store.runs.submit("run-1", a_plan(chain(STEPS_EACH), systems=SYSTEMS), kind="migrate", operator="ana")
    workers.await_effects(8)
    second = workers.start()
    workers.await_effects(16)
    assert {process for _, _, process, _ in workers.lines()} == {first.pid}
    return first, second


def test_the_work_of_a_killed_worker_is_taken_over_and_nothing_is_done_twice(workers, store):
    first, second = carried_by_one(workers, store)
    killed_at = time.time()
    first.send_signal(signal.SIGKILL)
    first.wait()
    taken_at, _ = workers.first_effect_after(killed_at, of=second.pid)
    await_committed(store)
    assert taken_at - killed_at < TAKEOVER_SECONDS_MAX
    assert set(workers.effects().values()) == {1}
    assert len(workers.effects()) == len(SYSTEMS) * STEPS_EACH


def test_a_worker_that_slept_ends_itself_before_it_touches_anything(workers, store):
    first, second = carried_by_one(workers, store)
    stopped_at = time.time()
    first.send_signal(signal.SIGSTOP)
    taken_at, _ = workers.first_effect_after(stopped_at, of=second.pid)
    assert taken_at - stopped_at < TAKEOVER_SECONDS_MAX
    workers.await_effects(40)
    woken_at = time.time()
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=10) == EngineUnavailable.exit_code
    assert "this process ends" in first.stderr.read()
    await_committed(store)
    by_the_first = [at for what, _, process, at in workers.lines() if what == "BEGIN" and process == first.pid]
    assert max(by_the_first) < woken_at
    assert len(workers.effects()) == len(SYSTEMS) * STEPS_EACH
    # A deed that slept half-done with its worker ends when that wakes: at most those, and their worlds must bear it.
    repeated = [key for key, count in workers.effects().items() if count > 1]
    assert len(repeated) <= len(SYSTEMS)


def test_a_worker_that_the_network_cuts_off_ends_itself_before_its_work_is_taken_over(workers, store, tmp_path):
    with SocketLine(Path(workers.url.partition("host=")[2])) as line:
        first, second = carried_by_one(workers, store, workers.url.partition("host=")[0] + f"host={line.folder}")
        cut_at = time.time()
        line.cut.set()
        assert first.wait(timeout=DEAD_SECONDS + 5) == EngineUnavailable.exit_code
        ended_at = time.time()
        taken_at, _ = workers.first_effect_after(cut_at, of=second.pid)
        assert taken_at - cut_at < TAKEOVER_SECONDS_MAX
        assert ended_at < taken_at + 1
        await_committed(store)
    by_the_first = [at for what, _, process, at in workers.lines() if what == "BEGIN" and process == first.pid]
    assert max(by_the_first) < taken_at
    assert len(workers.effects()) == len(SYSTEMS) * STEPS_EACH
    repeated = [key for key, count in workers.effects().items() if count > 1]
    assert len(repeated) <= len(SYSTEMS)  # deeds that were under way, whose end could be told to nobody


def test_a_worker_that_ends_well_hands_its_work_on_without_the_dead_limit(workers, store):
    first, second = carried_by_one(workers, store)
    ended_at = time.time()
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=20) == 0
    taken_at, _ = workers.first_effect_after(ended_at, of=second.pid)
    assert taken_at - ended_at < DEAD_SECONDS
    await_committed(store)
    assert len(workers.effects()) == len(SYSTEMS) * STEPS_EACH


def test_three_workers_share_the_systems_and_do_nothing_twice(workers, store):
    processes = [workers.start() for _ in range(3)]
    names = tuple(f"system-{number}" for number in range(12))
    store.runs.submit("run-1", a_plan(chain(6), systems=names), kind="migrate", operator="ana")
    await_committed(store)
    assert set(workers.effects().values()) == {1}
    assert len(workers.effects()) == 12 * 6
    assert all(process.poll() is None for process in processes)


def test_limits_hold_over_all_workers_also_when_one_of_them_dies(workers, store):
    processes = [workers.start(per_site=2) for _ in range(3)]
    names = tuple(f"system-{number}" for number in range(8))
    store.runs.submit("run-1", a_plan(chain(6), systems=names), kind="migrate", operator="ana")
    workers.await_effects(6)
    processes[0].send_signal(signal.SIGKILL)
    await_committed(store)
    spans = {}
    for _, key, _, at in workers.lines():
        system = key.split("/")[1]
        first, _ = spans.get(system, (at, at))
        spans[system] = (first, at)
    assert set(spans) == set(names)
    busy = [sum(first <= at <= last for first, last in spans.values()) for at, _ in spans.values()]
    assert max(busy) <= 2
    assert len(workers.effects()) == 8 * 6
