"""The worker over the durable engine: requests, a full ledger, a second process, and its own death."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.engine.admission import Limits
from orchestrator.engine.orphan_guard import MARK, OrphanGuard, marked_processes
from orchestrator.engine.store import open_store
from orchestrator.engine.worker import WorkerSettings, open_worker
from orchestrator.foundation.errors import EngineUnavailable, GateClosed, LedgerFull, RunInProgress, UsageError
from orchestrator.model.action import Approval, Preflight, Wait
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.planning.gates import judge_gate
from tests.fakes.handlers import NoOpHandlers, SimulatedCrash, SimulatedHandlers
from tests.fakes.plans import a_plan, a_step, shipped_steps
from tests.fakes.recorder import FakeRecorder
from tests.fakes.simulated_site import SimulatedSite

SECONDS_MAX = 30


def until(gate: threading.Event):
    """A deed that lasts until the gate is opened, and then is as the world says."""

    def script(_deed, _emit):
        gate.wait(SECONDS_MAX)

    return script


class Place:
    """A store and an engine in one folder, and workers over them, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/state.db"
        self.store = open_store(self.url)
        self.recorder = FakeRecorder()
        self.workers = []

    def submit(self, plan, run="run-1"):
        self.store.runs.submit(run, plan, kind="migrate", operator="ana")

    def worker(self, handlers, **options):
        worker = open_worker(
            self.url, f"sqlite:///{self.folder}/engine.db", handlers, self.recorder, judge_gate=judge_gate, **options
        )
        self.workers.append(worker)
        worker.start()
        return worker

    def await_state(self, state, run="run-1"):
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            if {found.state for found in self.store.runs.status(run).systems} == {state}:
                return
            time.sleep(0.02)
        raise AssertionError(f"never {state}: {self.store.runs.status(run)}")

    def types(self):
        return [event.type for event in self.recorder.recorded]


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    for worker in place.workers:
        worker.stop()
    place.store.close()


CHAIN = (
    a_step("one", Preflight(), inverse=Preflight()),
    a_step("two", Preflight(), needs=("one",), inverse=Preflight()),
    a_step("three", Preflight(), needs=("two",), inverse=Preflight()),
)


def test_the_shipped_move_commits_and_its_evidence_tells_the_whole_run(place):
    site = SimulatedSite()
    place.submit(a_plan(shipped_steps(), systems=("filing", "archive")))
    status = place.worker(SimulatedHandlers(site)).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert [(found.system, found.state) for found in status.systems] == [
        ("filing", "committed"),
        ("archive", "committed"),
    ]
    assert status.state == "finished"
    assert status.finished_at >= status.created_at
    assert site.violations() == []
    types = place.types()
    assert types[:2] == ["run.created", "run.started"]
    assert types[-1] == "run.finished"
    assert types.count("gate.passed") == 4
    assert place.recorder.recorded[-1].data["result"] == "passed"
    assert place.recorder.published
    for system in status.systems:
        assert {step.step for step in system.steps} == {step.id for step in shipped_steps()}
        assert all(step.state == "done" and step.attempts == 1 for step in system.steps)


def test_a_started_step_is_durable_in_the_evidence_before_its_deed(place):
    seen = []

    def look(deed, emit):
        emit("look.taken", {"of": deed.step.id})
        seen.append([(event.type, event.step) for event in place.recorder.recorded][-2:])

    place.submit(a_plan(CHAIN))
    place.worker(NoOpHandlers(script=look)).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert seen == [[("step.started", step), ("look.taken", step)] for step in ("one", "two", "three")]


def test_a_second_worker_is_refused_and_told_which_process_carries_the_runs(place):
    place.worker(NoOpHandlers())
    with pytest.raises(RunInProgress, match=f"process {os.getpid()} carries the runs"):
        place.worker(NoOpHandlers())


def test_one_process_carries_one_engine(place, tmp_path):
    place.worker(NoOpHandlers())
    other = Place(tmp_path / "other")
    with pytest.raises(EngineUnavailable, match="carries an engine already"):
        other.worker(NoOpHandlers())
    other.store.close()


def test_an_unknown_run_is_a_usage_error(place):
    with pytest.raises(UsageError, match="there is no run nowhere"):
        place.worker(NoOpHandlers()).await_finished("nowhere")


def test_a_full_ledger_halts_before_the_next_deed_and_the_next_worker_goes_on(place):
    handlers = NoOpHandlers()
    place.submit(a_plan(CHAIN))
    place.recorder.room = 6  # created, started, system.changed, one's start and end, two's start
    with pytest.raises(LedgerFull):
        place.worker(handlers).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    acted = list(handlers.acted)
    assert acted in (["filing/one"], ["filing/one", "filing/two"])
    assert place.store.runs.status("run-1").state == "running"
    place.workers.pop().stop()

    place.recorder.room = None
    status = place.worker(handlers).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert status.systems[0].state == "committed"
    assert handlers.acted.count("filing/one") == 1, "what was done is not done again"


def test_a_crash_in_the_deed_is_probed_by_the_next_worker_and_what_was_applied_is_not_repeated(place):
    applied = []

    def crash_after_acting(deed, _emit):
        applied.append(deed.step.id)
        if deed.step.id == "two":
            raise SimulatedCrash

    place.submit(a_plan(CHAIN))
    with pytest.raises(SimulatedCrash):
        place.worker(NoOpHandlers(script=crash_after_acting)).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    place.workers.pop().stop()

    handlers = NoOpHandlers(verdict=Probe.APPLIED)
    status = place.worker(handlers).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert applied == ["one", "two"]
    assert (handlers.probed, handlers.acted) == (["two"], ["filing/three"])
    assert [(step.step, step.message) for step in status.systems[0].steps][1] == ("two", "found already done")
    assert "step.probed" in place.types()


def test_what_nobody_knows_waits_for_a_person_who_looks(place):
    def crash(deed, _emit):
        if deed.step.id == "two":
            raise SimulatedCrash

    place.submit(a_plan(CHAIN))
    with pytest.raises(SimulatedCrash):
        place.worker(NoOpHandlers(script=crash)).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    place.workers.pop().stop()

    handlers = NoOpHandlers(verdict=Probe.UNKNOWN)
    worker = place.worker(handlers)
    status = worker.await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert (status.systems[0].state, status.systems[0].steps[1].state) == ("failed", "unknown")
    assert handlers.acted == []

    place.store.runs.request("run-1", "filing", "found_applied", by="ana", reason="the machine is there")
    status = worker.await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert status.systems[0].state == "committed"
    assert handlers.acted == ["filing/three"]


def test_a_stopped_run_is_rolled_back_by_a_later_process(place):
    failing = NoOpHandlers(script=lambda deed, _: Outcome.failed("no") if deed.step.id == "three" else None)
    steps = (*CHAIN[:2], CHAIN[2].model_copy(update={"on_failure": "stop"}))
    place.submit(a_plan(steps))
    worker = place.worker(failing)
    assert worker.await_finished("run-1", timeout_seconds=SECONDS_MAX).systems[0].state == "failed"
    with pytest.raises(RunInProgress, match=r"filing is held by run run-1 \(failed: three: no\)"):
        place.submit(a_plan(steps, wave="wave-2"), run="run-2")
    place.workers.pop().stop()

    place.store.runs.request("run-1", "", "rollback", by="ana", reason="not today")
    handlers = NoOpHandlers()
    status = place.worker(handlers).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert status.systems[0].state == "rolled_back"
    assert handlers.acted == ["filing/three.undo", "filing/two.undo", "filing/one.undo"]
    place.submit(a_plan(steps, wave="wave-2"), run="run-2")  # the system is free again


def test_a_committed_run_is_not_rolled_back(place):
    place.submit(a_plan(CHAIN))
    place.worker(NoOpHandlers()).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    with pytest.raises(GateClosed, match="called failback"):
        place.store.runs.request("run-1", "filing", "rollback", by="ana", reason="")


def test_a_person_lets_a_waiting_run_go_on_at_once_and_not_when_its_time_is_over(place):
    steps = (a_step("ask", Approval(), timeout=600), a_step("act", Preflight(), needs=("ask",)))
    place.submit(a_plan(steps))
    handlers = NoOpHandlers()
    worker = place.worker(handlers)
    place.await_state("running")
    time.sleep(0.3)
    (ask,) = place.store.runs.status("run-1").systems[0].steps
    assert (ask.step, ask.state) == ("ask", "waiting")
    asked_at = time.monotonic()
    place.store.runs.request("run-1", "filing", "confirm", by="ana", reason="go", step="ask")
    status = worker.await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert status.systems[0].state == "committed"
    assert time.monotonic() - asked_at < 60  # of 600; how soon it is, benchmarks/engine says


def test_a_wait_that_began_before_a_restart_ends_when_it_would_have(place):
    place.submit(a_plan((a_step("soak", Wait(seconds=1.5)),)))
    began = time.monotonic()
    place.worker(NoOpHandlers())
    place.await_state("running")
    place.workers.pop().stop()
    worker = place.worker(NoOpHandlers())
    assert worker.await_finished("run-1", timeout_seconds=SECONDS_MAX).systems[0].state == "committed"
    assert time.monotonic() - began > 1.4


def test_stopping_does_not_wait_for_a_deed_and_the_deed_ends_unheard(place):
    gate = threading.Event()
    handlers = NoOpHandlers(script=until(gate))
    place.submit(a_plan(CHAIN[:1]))
    worker = place.worker(handlers)
    place.await_state("running")
    began = time.monotonic()
    worker.stop()
    place.workers.clear()
    assert time.monotonic() - began < 30
    gate.set()
    assert place.store.runs.status("run-1").systems[0].state == "running"
    status = place.worker(NoOpHandlers()).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert status.systems[0].state == "committed"


def test_what_an_ending_worker_breaks_off_has_not_failed_and_is_done_by_the_next_one(place):
    begun, may_end, broke = threading.Event(), threading.Event(), threading.Event()

    def break_off(deed, _emit):
        if deed.step.id == "two":
            begun.set()
            may_end.wait(SECONDS_MAX)
            broke.set()
            return Outcome.failed("the connection broke")
        return None

    place.submit(a_plan(CHAIN))
    worker = place.worker(NoOpHandlers(script=break_off))
    assert begun.wait(SECONDS_MAX)
    worker.stop()
    may_end.set()
    assert broke.wait(SECONDS_MAX)
    time.sleep(0.2)  # it has time to write what it came to
    handlers = NoOpHandlers(verdict=Probe.ABSENT)
    status = place.worker(handlers).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert (status.systems[0].state, handlers.acted) == ("committed", ["filing/two", "filing/three"])


def test_steps_that_need_nothing_of_each_other_run_at_once(place):
    steps = tuple(a_step(f"step-{number}", Preflight()) for number in range(4))
    handlers = NoOpHandlers(seconds=0.3)
    place.submit(a_plan(steps))
    place.worker(handlers).await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert handlers.under_way_max == 4


def test_what_a_dead_worker_started_is_ended_by_its_guard():
    """Also what went into a session of its own, as ssh and ansible do."""
    program = (
        "import subprocess, sys, time\n"
        "from orchestrator.engine.orphan_guard import OrphanGuard\n"
        "guard = OrphanGuard('mark-of-a-test', lock_descriptor=None)\n"
        "subprocess.Popen(['sleep', '61'])\n"
        "subprocess.Popen(['setsid', 'sh', '-c', 'sleep 62 & sleep 63'])\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout.readline() == b"up\n"
    time.sleep(0.3)
    assert len(marked_processes("mark-of-a-test")) >= 4
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while marked_processes("mark-of-a-test") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked_processes("mark-of-a-test") == []


def test_a_guard_that_is_told_to_leave_ends_nothing():
    guard = OrphanGuard("mark-of-another-test", lock_descriptor=None)
    child = subprocess.Popen(["sleep", "30"])
    guard.leave()
    assert MARK not in os.environ
    assert child.poll() is None
    child.kill()
    child.wait()


def busy_at_once(place, limits, systems):
    """The most systems that had a deed under way at one moment."""
    lock, under_way, most = threading.Lock(), set(), [0]

    def act(deed, _emit):
        name = deed.system_plan.system.name
        with lock:
            under_way.add(name)
            most[0] = max(most[0], len(under_way))
        time.sleep(0.02)
        if deed.step.id == "three":
            with lock:
                under_way.discard(name)

    place.submit(a_plan(CHAIN, systems=systems))
    worker = place.worker(NoOpHandlers(script=act), settings=WorkerSettings(limits=limits))
    status = worker.await_finished("run-1", timeout_seconds=SECONDS_MAX)
    assert {found.state for found in status.systems} == {"committed"}
    return most[0]


def test_only_so_many_systems_are_under_way_at_a_site(place):
    systems = tuple(f"system-{number}" for number in range(9))
    assert busy_at_once(place, Limits(per_site=3, sites={"cloud": 2}), systems) == 2


def test_without_limits_all_go_at_once(place):
    systems = tuple(f"system-{number}" for number in range(5))
    assert busy_at_once(place, Limits(), systems) > 2


def test_a_system_that_waits_for_a_person_gives_its_place_to_others(place):
    steps = (a_step("ask", Approval(), timeout=600), a_step("act", Preflight(), needs=("ask",)))
    place.submit(a_plan(steps, systems=("asked",)), run="run-1")
    worker = place.worker(NoOpHandlers(), settings=WorkerSettings(limits=Limits(per_site=1)))
    place.await_state("running", run="run-1")
    place.submit(a_plan(CHAIN, systems=("other",)), run="run-2")
    status = worker.await_finished("run-2", timeout_seconds=SECONDS_MAX)
    assert status.systems[0].state == "committed"
    place.store.runs.request("run-1", "asked", "confirm", by="ana", reason="go")
    assert worker.await_finished("run-1", timeout_seconds=SECONDS_MAX).systems[0].state == "committed"


def await_reason(place, run, reason):
    deadline = time.monotonic() + SECONDS_MAX
    while (found := place.store.runs.status(run).systems[0]).reason != reason:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


NO_ROOM = "waits for room: at most 1 at once at site cloud, site dr, site source"


def test_a_system_that_has_no_room_is_told_what_for(place):
    gate = threading.Event()
    place.submit(a_plan(CHAIN[:1], systems=("first",)), run="run-1")
    worker = place.worker(NoOpHandlers(script=until(gate)), settings=WorkerSettings(limits=Limits(per_site=1)))
    place.await_state("running", run="run-1")
    place.submit(a_plan(CHAIN[:1], systems=("second",)), run="run-2")
    assert await_reason(place, "run-2", NO_ROOM).state == "waiting"
    gate.set()
    found = worker.await_finished("run-2", timeout_seconds=SECONDS_MAX).systems[0]
    assert (found.state, found.reason) == ("committed", "")


def test_a_system_that_goes_on_after_a_person_is_told_what_room_it_waits_for(place):
    gate = threading.Event()
    steps = (a_step("ask", Approval(), timeout=600), a_step("act", Preflight(), needs=("ask",)), *CHAIN[:1])
    place.submit(a_plan(steps[:2], systems=("asked",)), run="run-1")
    handlers = NoOpHandlers(script=until(gate))
    worker = place.worker(handlers, settings=WorkerSettings(limits=Limits(per_site=1)))
    place.await_state("running", run="run-1")
    place.submit(a_plan(steps[2:], systems=("other",)), run="run-2")
    place.await_state("running", run="run-2")
    place.store.runs.request("run-1", "asked", "confirm", by="ana", reason="go")
    assert await_reason(place, "run-1", NO_ROOM).state == "running"
    gate.set()
    assert await_reason(place, "run-1", "").state in ("running", "committed")
    assert worker.await_finished("run-1", timeout_seconds=SECONDS_MAX).systems[0].state == "committed"


def test_a_system_that_has_no_room_yet_can_be_cancelled(place):
    gate = threading.Event()
    handlers = NoOpHandlers(script=until(gate))
    place.submit(a_plan(CHAIN[:1], systems=("first",)), run="run-1")
    worker = place.worker(handlers, settings=WorkerSettings(limits=Limits(per_site=1)))
    place.await_state("running", run="run-1")
    place.submit(a_plan(CHAIN[:1], systems=("second",)), run="run-2")
    time.sleep(0.4)
    assert place.store.runs.status("run-2").systems[0].state == "waiting"
    place.store.runs.request("run-2", "second", "cancel", by="ana", reason="not today")
    assert worker.await_finished("run-2", timeout_seconds=SECONDS_MAX).systems[0].state == "cancelled"
    gate.set()
    assert worker.await_finished("run-1", timeout_seconds=SECONDS_MAX).systems[0].state == "committed"
    assert handlers.acted == ["first/one"]
