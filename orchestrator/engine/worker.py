"""The worker: takes up runs, hands requests to them, and halts as a whole when it cannot go on safely."""

import asyncio
import os
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from orchestrator.contracts.engine import GateJudge, KeepOpen, KnownAt, RunStatus, nothing_known
from orchestrator.contracts.handler import Handlers
from orchestrator.contracts.observer import Observer, Recorder
from orchestrator.engine.actor import JournaledTurns, Turns
from orchestrator.engine.admission import Admission, Limits
from orchestrator.engine.deed_threads import DeedThreads
from orchestrator.engine.doing import Doing
from orchestrator.engine.durable import DurableEngine
from orchestrator.engine.event_stream import EventStream
from orchestrator.engine.heartbeat import Heartbeat
from orchestrator.engine.open_way import Rounds
from orchestrator.engine.orphan_guard import OrphanGuard
from orchestrator.engine.reducer import Reducer
from orchestrator.engine.run_events import tell_run_begun, tell_run_finished
from orchestrator.engine.slots_store import SlotsStore
from orchestrator.engine.step_protocol import Ended, StepProtocol
from orchestrator.engine.store import Store, open_store
from orchestrator.engine.system_turns import Parts, SystemTurns
from orchestrator.engine.worker_lock import worker_lock
from orchestrator.engine.worker_store import RunRow, WorkerStore
from orchestrator.engine.workers_store import WorkersStore
from orchestrator.foundation.clock import Clock, SystemClock
from orchestrator.foundation.errors import EngineUnavailable, UsageError
from orchestrator.foundation.limits import WAY_BACK_EVERY_SECONDS, WORKER_DEAD_SECONDS
from orchestrator.model.plan import Plan

ENQUEUED_AT_ONCE_MAX = 100
PLANS_KEPT_MAX = 8
NOT_NEEDED_SECONDS = 10.0  # so long a caretaker looks for something to do
GRACE_SECONDS = 15.0  # a round that ends so soon ends well when the worker does; and a deed of one that steps aside


@dataclass(frozen=True)
class WorkerSettings:
    """Bounds of one worker. `dead_seconds` matters on PostgreSQL, where others take over; all must agree on it."""

    deeds_parallel_max: int = 32
    poll_seconds: float = 0.1
    dead_seconds: float = WORKER_DEAD_SECONDS
    limits: Limits = field(default_factory=Limits)
    way_back_every_seconds: float = WAY_BACK_EVERY_SECONDS
    steps_aside: bool = False  # a caretaker: carries runs while nobody else does


def open_worker(
    store_url: str,
    engine_url: str,
    handlers: Handlers,
    recorder: Recorder,
    observers: Sequence[Observer] = (),
    clock: Clock | None = None,
    *,
    judge_gate: GateJudge,
    known_of: Callable[[Plan], KnownAt] = lambda _plan: nothing_known,
    keep_open: KeepOpen | None = None,
    settings: WorkerSettings | None = None,
    end_process: Callable[[str], None] | None = None,
) -> "EngineWorker":
    """A worker over the store and the durable engine at these URLs; nothing happens before `start`.

    `keep_open` is done again and again for systems whose run waits after clients were sent to their new side.
    `end_process` is called with the reason when this process may have been taken for dead (PostgreSQL only), and must
    not return; by default the process ends with the exit code of EngineUnavailable.
    """
    clock = clock or SystemClock()
    return EngineWorker(
        open_store(store_url, clock=clock),
        (store_url, engine_url),
        handlers,
        (recorder, observers),
        clock,
        judge_gate=judge_gate,
        known_of=known_of,
        keep_open=keep_open,
        settings=settings or WorkerSettings(),
        end_process=end_process or _end_process,
    )


class EngineWorker:
    """Carries runs forward; the contract is contracts.engine.Worker."""

    def __init__(
        self,
        store: Store,
        urls: tuple[str, str],
        handlers: Handlers,
        told: tuple[Recorder, Sequence[Observer]],
        clock: Clock,
        *,
        judge_gate: GateJudge,
        known_of: Callable[[Plan], KnownAt],
        keep_open: KeepOpen | None,
        settings: WorkerSettings,
        end_process: Callable[[str], None],
    ) -> None:
        self._store = store
        self._rows = WorkerStore(store.database, clock)
        self._doing = Doing(store.database)
        events = self._events = EventStream(told[0], (*told[1], self._doing), clock)
        self._judge_gate = judge_gate
        self._known_of = known_of
        self._settings = settings
        self._lock = worker_lock(urls[0], steps_aside=settings.steps_aside)
        # Each life is another worker: what its former ones left is taken over.
        self._name = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._threads: DeedThreads[Ended] = DeedThreads(threads_max=settings.deeds_parallel_max)
        protocol = StepProtocol(
            self._rows, handlers, events, clock, worker=self._name, may_act=self._refuse_when_halted
        )
        self._rounds = Rounds(keep_open, protocol, clock, settings.way_back_every_seconds, self._halt)
        self._parts = Parts(
            store=self._rows,
            protocol=protocol,
            events=events,
            threads=self._threads,
            admission=Admission(SlotsStore(store.database), settings.limits),
            clock=clock,
            worker=self._name,
            on_rest=self._came_to_rest,
            halt=self._halt,
            rounds=self._rounds,
        )
        self._engine = DurableEngine(
            urls[1],
            executor="local" if store.database.is_sqlite else self._name,
            open_turns=self._open_turns,
            halt=self._halt,
        )
        self._heartbeat: Heartbeat | None = None
        if not store.database.is_sqlite:
            self._heartbeat = Heartbeat(
                WorkersStore(store.database, clock),
                self._engine,
                self._name,
                dead_seconds=settings.dead_seconds,
                end_process=end_process,
            )
        self._carried: dict[tuple[str, str], SystemTurns] = {}
        self._plans: dict[str, Plan] = {}
        self._loading = threading.Lock()
        self._maybe_finished: set[str] = set()
        self._error: BaseException | None = None
        self._ending = threading.Event()
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._forwarder: threading.Thread | None = None
        self.left_open: bool | None = None  # once it stopped: a system waits at its new side, and needs a worker
        self._guard: OrphanGuard | None = None

    def start(self) -> None:
        if self._lock is not None:
            self._lock.take()
        try:
            descriptor = self._lock.descriptor if self._lock is not None else None
            self._guard = OrphanGuard(secrets.token_hex(8), lock_descriptor=descriptor)
            self._engine.launch()
            self._doing.start()
            if self._heartbeat is not None:
                self._heartbeat.start()
        except BaseException:
            self.stop()
            raise
        self._forwarder = threading.Thread(target=self._forward, name="forwarder", daemon=True)
        self._forwarder.start()

    def await_finished(self, run: str, *, timeout_seconds: float | None = None) -> RunStatus:
        """The run's status once it is finished, or as it is when the time is up. Raises what halted the worker."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            if self._error is not None:
                raise self._error
            state = self._rows.run_state(run)
            if state is None:
                raise UsageError(f"there is no run {run}", hint="See them with: skerry runs")
            if state == "finished":
                return self._store.runs.status(run)
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return self._store.runs.status(run)
            with self._changed:
                self._changed.wait(min(0.5, left) if left is not None else 0.5)

    def serve(self) -> None:
        """Carry whatever is submitted until `stop` is called from elsewhere. Raises what halted the worker.

        One that steps aside ends by itself once nothing waits at its new side any more, or its home is gone.
        """
        needed_at = time.monotonic()
        while not self._ending.is_set():
            if self._error is not None:
                raise self._error
            if self._settings.steps_aside:
                if any(turns.is_held_open or turns.is_under_way for turns in list(self._carried.values())):
                    needed_at = time.monotonic()
                if time.monotonic() - needed_at > NOT_NEEDED_SECONDS or not (self._lock and self._lock.is_in_place):
                    return
            with self._changed:
                self._changed.wait(0.5)

    def stop(self) -> None:
        if self._forwarder is not None:
            self.left_open = any(turns.is_held_open for turns in list(self._carried.values()))
        self._ending.set()
        self._wake.set()
        if self._forwarder is not None:
            self._forwarder.join(timeout=10)
            self._forwarder = None
        self._threads.stop()
        self._rounds.threads.stop()
        # What is cut off is done again by the next worker; what ends soon need not be.
        self._rounds.threads.await_idle(GRACE_SECONDS)
        if self._settings.steps_aside:
            self._threads.await_idle(GRACE_SECONDS)
        self._engine.stop()
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        if self._guard is not None:
            if self._threads.is_idle and self._rounds.threads.is_idle:
                self._guard.leave()
            else:
                self._guard.end_children()
            self._guard = None
        if self._lock is not None:
            self._lock.release()
        self._doing.stop()
        self._store.close()

    # ---- halting

    def _halt(self, error: BaseException) -> None:
        """Begin nothing more; whoever awaits a run is told why. What was under way is the next worker's."""
        with self._changed:
            if self._error is None:
                self._error = error
            self._changed.notify_all()
        self._threads.stop()
        self._rounds.threads.stop()
        self._wake.set()

    def _refuse_when_halted(self) -> None:
        if self._error is not None or self._ending.is_set():
            raise EngineUnavailable("this worker has halted")
        if self._heartbeat is not None and not self._heartbeat.may_act:
            raise EngineUnavailable("this worker may have been taken for dead")

    # ---- systems

    @asynccontextmanager
    async def _open_turns(self, run: str, system: str) -> AsyncIterator[tuple[Reducer, Turns]]:
        plan = await asyncio.to_thread(self._plan, run)
        planned = plan.system_plan(system)
        turns = SystemTurns(run, plan, planned, self._parts)
        turns.deliver_first(await asyncio.to_thread(self._rows.open_requests, run, system))
        self._carried[(run, system)] = turns
        try:
            reducer = Reducer(planned, self._judge_gate, self._known_of(plan))
            yield reducer, JournaledTurns(run, system, turns, self._rows)
        finally:
            self._carried.pop((run, system), None)

    def _plan(self, run: str) -> Plan:
        digest = self._rows.plan_of(run)
        with self._loading:
            plan = self._plans.get(digest)
            if plan is None:
                plan = self._rows.plan(digest)
                self._plans[digest] = plan
                while len(self._plans) > PLANS_KEPT_MAX:
                    del self._plans[next(iter(self._plans))]
            return plan

    def _came_to_rest(self, run: str) -> None:
        self._maybe_finished.add(run)
        self._wake.set()

    # ---- what is forwarded

    def _forward(self) -> None:
        """Rows that people wrote become work, and the ends of systems become the end of their run."""
        try:
            self._maybe_finished.update(row.run for row in self._rows.runs_in("running"))
            while not self._ending.is_set() and self._error is None:
                more = False
                if self._rows.has_news():
                    self._begin_submitted_runs()
                    self._inherit_runs()
                    more = self._enqueue_systems()
                    self._deliver_requests()
                self._finish_runs()
                if not more:
                    self._wake.wait(self._settings.poll_seconds)
                    self._wake.clear()
        except BaseException as error:
            self._halt(error)

    def _begin_submitted_runs(self) -> None:
        for row in self._rows.runs_in("submitted"):
            if self._rows.set_run_state(row.run, "beginning", only_from="submitted", worker=self._name):
                self._begin(row)

    def _begin(self, row: RunRow) -> None:
        systems = self._rows.system_states(row.run)
        tell_run_begun(self._events, row, self._plan(row.run), systems=systems, worker=self._name)
        self._rows.set_run_state(row.run, "running", only_from="beginning", worker="")

    def _inherit_runs(self) -> None:
        """Runs whose beginning or end was being written by a worker that is gone."""
        rows = [row for row in self._rows.runs_in("beginning", "finishing") if row.worker != self._name]
        if not rows:
            return
        live = self._heartbeat.live() if self._heartbeat is not None else set()
        for row in rows:
            if row.worker not in live and self._rows.inherit_run(row, worker=self._name):
                if row.state == "beginning":
                    self._begin(row)
                else:
                    self._finish(row.run)

    def _enqueue_systems(self) -> bool:
        found = self._rows.systems_to_enqueue(limit=ENQUEUED_AT_ONCE_MAX)
        for run, system in found:
            self._engine.enqueue(run, system)
        for run in dict.fromkeys(run for run, _ in found):
            self._rows.mark_enqueued(run, [system for of_run, system in found if of_run == run])
        return bool(found)

    def _deliver_requests(self) -> None:
        for request in self._rows.open_requests():
            turns = self._carried.get((request.run, request.system))
            if turns is not None:
                turns.deliver(request)

    def _finish_runs(self) -> None:
        while self._maybe_finished:
            run = self._maybe_finished.pop()
            if self._rows.begin_finishing(run, worker=self._name):
                self._finish(run)

    def _finish(self, run: str) -> None:
        tell_run_finished(self._events, run, self._rows.system_states(run))
        self._events.publish()
        self._rows.set_run_state(run, "finished", only_from="finishing", worker="")
        with self._changed:
            self._changed.notify_all()


def refuse_second_worker(store_url: str) -> bool:
    """Whether a caretaker stepped aside. RunInProgress, naming the process, where another carries the store's runs."""
    lock = worker_lock(store_url)
    if lock is None:
        return False
    lock.take()
    lock.release()
    return bool(lock.relieved)


@contextmanager
def outside_of_workers(store_url: str) -> Iterator[bool]:
    """While inside, no worker carries runs of this store. RunInProgress, naming the process, where one does.

    Gives whether a caretaker stepped aside: then another is to be left behind.
    """
    lock = worker_lock(store_url)
    if lock is None:
        yield False
        return
    lock.take()
    try:
        yield bool(lock.relieved)
    finally:
        lock.release()


def _end_process(why: str) -> NoReturn:
    """At once, without clean-up: another worker may be doing what this one was about to do."""
    os.write(2, f"skerry worker: {why}; this process ends\n".encode())
    os._exit(EngineUnavailable.exit_code)
