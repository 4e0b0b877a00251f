"""Keeps the way back of a system open while its run waits: rounds at a beat, never beside a deed of the run."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from orchestrator.contracts.engine import KeepOpen
from orchestrator.contracts.handler import Deed
from orchestrator.engine.deed_threads import DeedThreads
from orchestrator.engine.run_state import RunState
from orchestrator.engine.step_protocol import StepProtocol
from orchestrator.engine.worker_store import step_key
from orchestrator.foundation.clock import Clock
from orchestrator.foundation.errors import EngineUnavailable
from orchestrator.foundation.limits import ROUND_UNDER_WAY_SECONDS_MAX, ROUNDS_OF_WAITING_RUNS_MAX
from orchestrator.model.action import Follow, SwitchFront
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.step import Step

BUSY_WAIT_SECONDS = 2.0  # until it is tried again, where as many rounds as may be are under way


def step_that_follows(planned: SystemPlan, state: RunState) -> Step | None:
    """The step whose deed keeps the way back open where the run stands; None where nothing is to be kept open.

    It is the last `follow` that passed after clients were sent to the new side. It is repeated only while the run
    rests: nothing is under way or about to be tried again, of nothing is the outcome unknown, nothing goes back.
    """
    if state.is_over or state.is_busy or state.committed or state.course in ("turning", "backward"):
        return None
    if any(mode == "undo" or progress.state == "unknown" for (_, mode), progress in state.progress.items()):
        return None
    found, switched = None, False
    for step in planned.steps:
        progress = state.progress.get((step.id, "do"))
        if progress is None or progress.state != "done":
            continue
        switched = switched or isinstance(step.action, SwitchFront)
        if switched and isinstance(step.action, Follow):
            found = step
    return found


@dataclass
class Rounds:
    """What all systems of a worker share of it."""

    keep: KeepOpen | None  # None: nobody keeps ways back open here
    protocol: StepProtocol
    clock: Clock
    every_seconds: float
    halt: Callable[[BaseException], None]
    threads: DeedThreads[None] = field(default_factory=lambda: DeedThreads(threads_max=ROUNDS_OF_WAITING_RUNS_MAX))
    places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(ROUNDS_OF_WAITING_RUNS_MAX))


class OpenWay:
    """Rounds of one system's run. Lives in the event loop of its turns; `news` is set when a round has ended."""

    def __init__(self, run: str, plan: Plan, planned: SystemPlan, rounds: Rounds, news: asyncio.Event) -> None:
        self._run, self._plan, self._planned = run, plan, planned
        self._rounds = rounds
        self._news = news
        self._loop = asyncio.get_running_loop()
        self._step: Step | None = None
        self._due_at = 0.0  # monotonic
        self._ended: asyncio.Event | None = None  # of the round under way

    def stand(self, state: RunState) -> None:
        """The run rests in `state`, or goes on from there. The first round comes a beat after it came to rest."""
        step = step_that_follows(self._planned, state) if self._rounds.keep is not None else None
        if step is not None and self._step is None:
            self._due_at = self._now() + self._rounds.every_seconds
        self._step = step

    @property
    def is_kept(self) -> bool:
        """The run rests where the way back is kept open."""
        return self._step is not None

    @property
    def seconds_to_next(self) -> float | None:
        """None while no round will begin."""
        return None if self._step is None or self._ended is not None else max(0.0, self._due_at - self._now())

    def begin_when_due(self) -> None:
        """Begin a round if it is its time, and there is room for one more."""
        keep = self._rounds.keep
        if keep is None or self._step is None or self._ended is not None or self._now() < self._due_at:
            return
        if not self._rounds.places.acquire(blocking=False):
            self._due_at = self._now() + BUSY_WAIT_SECONDS
            return
        self._ended = asyncio.Event()
        system = self._planned.system.name
        key = f"{step_key(self._run, system, self._step.id, 'do')}/again"
        deed = Deed(
            run=self._run, plan=self._plan, system_plan=self._planned, step=self._step, mode="do", attempt=1, key=key
        )
        future = self._rounds.threads.submit(key, lambda: self._rounds.protocol.repeat(deed, keep))
        future.add_done_callback(self._hear_of)

    def _hear_of(self, future: "Future[None]") -> None:
        self._rounds.places.release()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has stopped
            self._loop.call_soon_threadsafe(self._over, future)

    def _over(self, future: "Future[None]") -> None:
        error = future.exception()
        if error is not None:
            self._rounds.halt(error)
            return  # never over: nothing more of this run is done here
        if self._ended is not None:
            self._ended.set()
            self._ended = None
        self._due_at = self._now() + self._rounds.every_seconds
        self._news.set()

    async def end(self) -> None:
        """Return when no round is under way; until `stand` none begins. One that does not end halts the worker."""
        self._step, ended = None, self._ended
        if ended is None:
            return
        waits = asyncio.ensure_future(ended.wait())
        try:
            done, _ = await asyncio.wait({waits}, timeout=ROUND_UNDER_WAY_SECONDS_MAX)
        finally:
            waits.cancel()
        if not done:
            raise EngineUnavailable(
                f"run {self._run}: a round that keeps the way back of {self._planned.system.name} open does not end",
                hint="What it began is ended with this process. Start it again: it goes on with what was asked.",
            )

    def _now(self) -> float:
        return self._rounds.clock.monotonic_seconds()
