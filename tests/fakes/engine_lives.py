"""Lives of a process that carries one system's run: each begins with what the one before left durable.

The parts are the product's own (reducer, actor, turns, step protocol, store); what the durable engine would take up
again is taken up by hand, and in place of the world stands the simulated site. A life ends when the run is over or at
rest, when it halts, or by a crash at an ordered place.
"""

import asyncio
import atexit
import selectors
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from orchestrator.contracts.engine import AT_REST, SystemStatus
from orchestrator.engine.actor import JournaledTurns, run_system
from orchestrator.engine.admission import Admission, Limits
from orchestrator.engine.deed_threads import DeedThreads
from orchestrator.engine.event_stream import EventStream
from orchestrator.engine.open_way import Rounds
from orchestrator.engine.reducer import Reducer
from orchestrator.engine.run_state import PERSON_VERBS
from orchestrator.engine.slots_store import SlotsStore
from orchestrator.engine.step_protocol import Ended, StepProtocol
from orchestrator.engine.store import Store, open_store
from orchestrator.engine.system_turns import Parts, SystemTurns
from orchestrator.engine.tables import metadata, schema, steps, system_runs
from orchestrator.engine.turns import EVENTS, Event
from orchestrator.engine.worker_store import WorkerStore
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import EngineUnavailable
from orchestrator.foundation.limits import WAY_BACK_EVERY_SECONDS
from orchestrator.model.event import RunEvent
from orchestrator.model.plan import Plan
from orchestrator.planning.gates import judge_gate
from tests.fakes.handlers import Faults, SimulatedCrash, SimulatedHandlers
from tests.fakes.recorder import FakeRecorder
from tests.fakes.simulated_site import SimulatedSite

LIFE_SECONDS_MAX = 3600  # also of a life that many copies of its process are made of, one after the other
LOOK_SECONDS = 0.004


@cache
def shared_store(url: str) -> Store:
    """One for all trials of this process: its statements are compiled once, and making tables takes longer than most
    lives.
    """
    return open_store(url)


def empty_store(url: str) -> Store:
    """The shared store, without rows."""
    store = shared_store(url)
    with store.database.writing() as connection:
        for table in metadata.sorted_tables:
            if table is not schema:
                connection.execute(sa.delete(table))
    return store


def move_rows(source: Store, url: str) -> Store:
    """The shared store at `url`, with the rows of `source` and no others."""
    target = empty_store(url)
    with source.database.reading() as there, target.database.writing() as here:
        for table in metadata.sorted_tables:
            rows = [] if table is schema else [dict(row) for row in there.execute(sa.select(table)).mappings()]
            if rows:
                here.execute(sa.insert(table), rows)
            numbered = table.autoincrement_column
            if rows and numbered is not None and not target.database.is_sqlite:
                sequence = sa.func.pg_get_serial_sequence(table.name, numbered.name)
                here.execute(sa.select(sa.func.setval(sequence, max(row[numbered.name] for row in rows))))
    return target


def is_over(store: Store, run: str) -> bool:
    """Nothing can move the run of its one system any more: not even a person."""
    with store.database.reading() as connection:
        return bool(connection.execute(sa.select(system_runs.c.over).where(system_runs.c.run == run)).scalar_one())


class StoreMoved(SimulatedCrash):
    """This life ends, for its store has moved; nothing but that happened, and the next one goes on there."""


@cache
def file_of_this_process() -> str:
    """URL of a database in a file, for threads have one each where it lies in memory."""
    folder = tempfile.mkdtemp(prefix="skerry-trials-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return f"sqlite:///{folder}/state.db"


class CrashingJournal:
    """The store's journal of turns, with an ordered crash before a turn is kept."""

    def __init__(self, rows: WorkerStore, trial: "Trial") -> None:
        self._rows = rows
        self._trial = trial

    def turns(self, run: str, system: str) -> Sequence[str]:
        return self._rows.turns(run, system)

    def add_turn(self, run: str, system: str, number: int, events: str) -> bool:
        self._trial.before_recording(EVENTS.validate_json(events))
        return self._rows.add_turn(run, system, number, events)


class OneAfterTheOther(DeedThreads[Ended]):
    """Deeds are done where they are asked for: what happens is the same each time, and no thread waits for another."""

    def __init__(self, before_deed: Callable[[str], None]) -> None:
        super().__init__(threads_max=1)
        self._before_deed = before_deed

    def submit(self, key: str, deed: Callable[[], Ended]) -> "Future[Ended]":
        future: Future[Ended] = Future()
        if not self._stopped:
            self._before_deed(key)
            try:
                future.set_result(deed())
            except BaseException as error:  # as in a thread: whoever waits learns of it
                future.set_exception(error)
        return future


class AtOnce(ThreadPoolExecutor):
    """What an event loop gives to threads is done at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


@dataclass
class Trial:
    """One run of one system over several lives. The store, `site` and `recorder` outlive a crash.

    The store is emptied for it: one trial at a time. Every life is another worker.
    `side_by_side`: deeds that do not need each other are done at once, each in a thread, as in a worker.
    """

    plan: Plan
    faults: Faults = field(default_factory=Faults)
    site: SimulatedSite = field(default_factory=SimulatedSite)
    recorder: FakeRecorder = field(default_factory=FakeRecorder)
    # Called with a deed's key before even its intent is written (unless `side_by_side`), with every event before it is
    # recorded, and with the events of a turn before the engine keeps them.
    before_deed: Callable[[str], None] = lambda _key: None
    before_evidence: Callable[[RunEvent], None] = lambda _event: None
    before_recording: Callable[[Sequence[Event]], None] = lambda _events: None
    url: str = ""
    kind: str = "migrate"
    side_by_side: bool = False
    runs: int = 0
    lives: int = 0

    def __post_init__(self) -> None:
        self.system = self.plan.systems[0].system.name
        self.persons = [step.id for step in self.plan.systems[0].steps if step.action.verb in PERSON_VERBS]
        # What a process does not write is gone with it; opening the same file again would show the same rows.
        self._store = empty_store(self.url or (file_of_this_process() if self.side_by_side else "sqlite://"))
        self.submit()

    def submit(self) -> None:
        """The plan is run, or run again once the run before is over."""
        self.runs += 1
        self.run = f"run-{self.runs}"
        self._store.runs.submit(self.run, self.plan, kind=self.kind, operator="ana")

    def move_to(self, url: str) -> None:
        """To be called before a deed begins. Raises StoreMoved, which is for `live` alone."""
        self._store = move_rows(self._store, url)
        raise StoreMoved

    def live(self) -> BaseException | None:
        """One life; what ended it, or None when the run is over or waits for a person."""
        while isinstance(ended := self._one_life(), StoreMoved):
            continue
        return ended

    def _one_life(self) -> BaseException | None:
        # A selector that keeps nothing in the kernel: a copy of this process may go on with it.
        selector = selectors.SelectSelector()
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
            return runner.run(asyncio.wait_for(self._live(), LIFE_SECONDS_MAX))

    async def _live(self) -> BaseException | None:
        self.lives += 1
        worker = f"worker-{self.lives}"
        store = self._store
        rows = WorkerStore(store.database, SystemClock())
        threads = DeedThreads[Ended](threads_max=4) if self.side_by_side else OneAfterTheOther(self.before_deed)
        loop = asyncio.get_running_loop()
        if not self.side_by_side:
            loop.set_default_executor(AtOnce())
        ended: asyncio.Future[BaseException | None] = loop.create_future()

        def end(error: BaseException | None) -> None:
            loop.call_soon_threadsafe(lambda: None if ended.done() else ended.set_result(error))

        def look_whether_at_rest(_run: str) -> None:
            if rows.system_state(self.run, self.system)[0] in AT_REST and not rows.open_requests():
                end(None)

        def refuse_when_ended() -> None:
            if ended.done():
                raise SimulatedCrash

        events = EventStream(_Recorder(self), (), SystemClock())
        handlers = SimulatedHandlers(self.site, self.faults)
        protocol = StepProtocol(rows, handlers, events, SystemClock(), worker=worker, may_act=refuse_when_ended)
        parts = Parts(
            store=rows,
            protocol=protocol,
            events=events,
            threads=threads,
            admission=Admission(SlotsStore(store.database), Limits()),
            clock=SystemClock(),
            worker=worker,
            on_rest=look_whether_at_rest,
            halt=end,
            rounds=Rounds(None, protocol, SystemClock(), WAY_BACK_EVERY_SECONDS, end),
        )
        planned = self.plan.systems[0]
        turns = SystemTurns(self.run, self.plan, planned, parts)
        turns.deliver_first(rows.open_requests())

        async def carry() -> None:
            try:
                journal = CrashingJournal(rows, self)
                journaled = JournaledTurns(self.run, self.system, turns, journal)
                await run_system(Reducer(planned, judge_gate), journaled)
                end(None)
            except (SimulatedCrash, EngineUnavailable) as halted:
                end(halted)

        async def look_for_a_person() -> None:
            while True:
                if self.waits_for_a_person(store) and not rows.open_requests():
                    end(None)
                await asyncio.sleep(LOOK_SECONDS)

        tasks = [asyncio.create_task(carry())]
        if self.persons:
            tasks.append(asyncio.create_task(look_for_a_person()))
        try:
            return await ended
        finally:
            threads.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def waits_for_a_person(self, store: Store) -> bool:
        """A step does, and nothing else is under way."""
        with store.database.reading() as connection:
            query = sa.select(steps.c.step, steps.c.state).where(steps.c.run == self.run)
            found = {row.step: row.state for row in connection.execute(query)}
        return any(found.get(step) == "waiting" for step in self.persons) and "started" not in found.values()

    def ask(self, operation: Any) -> None:
        """A person asks, whether or not a process lives."""
        self._store.runs.request(self.run, self.system, operation, by="ana", reason="test")

    def status(self) -> SystemStatus:
        return self._store.runs.status(self.run).systems[0]

    def is_over(self) -> bool:
        return is_over(self._store, self.run)

    def problems(self) -> list[str]:
        """What must never be, in the world and in the evidence."""
        return self.site.violations() + evidence_problems(self.recorder.recorded)


class _Recorder:
    """The trial's recorder, with its ordered crashes."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def record(self, event: RunEvent) -> int:
        self._trial.before_evidence(event)
        return self._trial.recorder.record(event)

    def keep(self, content: bytes, media_type: str) -> dict[str, object]:
        return self._trial.recorder.keep(content, media_type)

    def publish(self) -> None:
        self._trial.recorder.publish()


def evidence_problems(events: Sequence[RunEvent]) -> list[str]:
    """Each end of a step has its start before it, and each start its end; nothing is started again once it passed."""
    problems = []
    open_starts: set[tuple[str, ...]] = set()
    ended: set[tuple[str, ...]] = set()
    passed: set[tuple[str, ...]] = set()
    for event in events:
        key = (event.run, event.system, event.step, str(event.data.get("mode")))
        if event.type == "step.started":
            if key in passed and not event.data.get("resumed"):
                problems.append(f"{key} was started again after it had passed")
            open_starts.add(key)
        elif event.type == "step.finished":
            if key not in open_starts:
                problems.append(f"{key} finished without a start")
            ended.add(key)
            if event.data["status"] == "passed":
                passed.add(key)
    problems += [f"{key} began and never ended" for key in sorted(open_starts - ended)]
    return problems
