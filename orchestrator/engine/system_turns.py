"""The live side of a turn: commands carried out, deeds under way, and the wait for whatever happens next."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.engine import AT_REST, SystemState
from orchestrator.contracts.handler import Deed
from orchestrator.engine.admission import NO_ROOM, TOLD_AFTER_SECONDS, Admission
from orchestrator.engine.deed_threads import DeedThreads
from orchestrator.engine.event_stream import EventStream
from orchestrator.engine.open_way import OpenWay, Rounds
from orchestrator.engine.run_state import Key, RunState
from orchestrator.engine.step_protocol import Ended, StepProtocol
from orchestrator.engine.turns import (
    Announce,
    Begun,
    Command,
    DeadlineReached,
    DeedEnded,
    Event,
    Open,
    Perform,
    Requested,
    SetState,
    Settle,
)
from orchestrator.engine.worker_store import RequestRow, WorkerStore, step_key
from orchestrator.foundation.clock import Clock
from orchestrator.model.outcome import Outcome
from orchestrator.model.plan import Plan, SystemPlan

# A handler keeps its step's timeout itself; this long after it, the engine stops believing that it will.
OVERDUE_SECONDS = 60.0


@dataclass(frozen=True)
class Parts:
    """What all systems of a worker share."""

    store: WorkerStore
    protocol: StepProtocol
    events: EventStream
    threads: DeedThreads[Ended]
    admission: Admission
    clock: Clock
    worker: str
    # Called when a system came to rest, and when something broke that no step can be blamed for.
    on_rest: Callable[[str], None]
    halt: Callable[[BaseException], None]
    rounds: Rounds


@dataclass
class _UnderWay:
    attempt: int
    overdue_at: float  # monotonic


class SystemTurns:
    """Turns of one system's run in this process. Lives in one event loop; `deliver` may be called from any thread."""

    def __init__(self, run: str, plan: Plan, planned: SystemPlan, parts: Parts) -> None:
        self._run = run
        self._plan = plan
        self._planned = planned
        self._system = planned.system.name
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._open_way = OpenWay(run, plan, planned, parts.rounds, self._news)
        self._mailbox: list[Event] = []
        self._under_way: dict[Key, _UnderWay] = {}
        self._delivered: set[int] = set()
        self._holder = f"{run}/{self._system}"
        self._room: asyncio.Future[None] | None = None  # asked for, or had once it is done
        self._taken: list[int] = []  # requests whose event was returned and is recorded when the next turn begins

    async def take(self, number: int, state: RunState, commands: Sequence[Command]) -> Sequence[Event]:
        """Live turn; see actor.Turns. Never returns once the worker has halted."""
        self._open_way.stand(state)
        try:
            if self._taken or any(not isinstance(command, Perform) for command in commands):
                await asyncio.to_thread(self._carry_out, number, commands)
            if state.is_over:
                await self._leave()
                return []
            if state.status == "waiting":
                return await self._begin()
            if state.running and not await self._is_admitted(state):
                return self._take_mail()
            self._set_going(state)
            return await self._next_events(state)
        # Whatever breaks here is no step's failure: nothing is recorded, the worker halts, the next one takes the
        # turn again.
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._parts.halt(error)
            await asyncio.Event().wait()
            raise

    @property
    def is_held_open(self) -> bool:
        """The system waits at its new side, and its way back is kept open meanwhile."""
        return self._open_way.is_kept

    @property
    def is_under_way(self) -> bool:
        """A deed of it is."""
        return bool(self._under_way)

    def deliver_first(self, requests: Sequence[RequestRow]) -> None:
        """What was asked before this process took the run up is obeyed before anything new begins."""
        for request in requests:
            self._deliver(request)

    def deliver(self, request: RequestRow) -> None:
        """Hand a person's request to the system, once."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the next worker delivers it
            self._loop.call_soon_threadsafe(self._deliver, request)

    def _deliver(self, request: RequestRow) -> None:
        if request.id in self._delivered:
            return
        self._delivered.add(request.id)
        self._post(
            Requested(
                at=self._now(),
                id=request.id,
                operation=request.operation,
                step=request.step,
                by=request.by,
                reason=request.reason,
            )
        )

    def _post(self, event: Event) -> None:
        self._mailbox.append(event)
        self._news.set()

    def _now(self) -> float:
        return self._parts.clock.now().timestamp()

    # ---- commands

    def _carry_out(self, number: int, commands: Sequence[Command]) -> None:
        """All but deeds, in order. May be repeated after a crash: each is written once, and told whatever died when."""
        for index, command in enumerate(commands):
            key = f"{self._run}/{self._system}/{number}/{index}"
            match command:
                case Announce():
                    self._tell_once(key, command.type, command.step, command.data)
                case Open():
                    self._open(command, key)
                case Settle():
                    self._settle(command, key)
                case SetState():
                    self._set_state(command)
        if self._taken:
            self._parts.store.mark_handled(self._taken)
            self._taken = []
            self._parts.on_rest(self._run)

    def _open(self, command: Open, key: str) -> None:
        step = self._planned.step(command.step)
        self._parts.store.begin_step(
            self._run,
            self._system,
            step.id,
            command.mode,
            attempt=1,
            worker=self._parts.worker,
            state="waiting",
        )
        data = {
            "mode": command.mode,
            "title": step.title,
            "phase": step.phase.value,
            "action": step.action.model_dump(mode="json"),
            "needs": list(step.needs),
            "owner": step.owner_role,
            "verifier": step.verifier_role,
            "actor": self._parts.worker,
            "untilSeconds": command.until,
        }
        self._tell_once(key, "step.started", step.id, data)

    def _settle(self, command: Settle, key: str) -> None:
        outcome = command.outcome
        self._parts.store.settle_step(
            self._run, self._system, command.step, command.mode, attempt=0, outcome=outcome
        )
        if command.recorded:
            data = {"mode": command.mode, "status": outcome.result.value, "message": outcome.message}
            self._tell_once(key, "step.finished", command.step, data | {"observed": outcome.observed})

    def _set_state(self, command: SetState) -> None:
        store = self._parts.store
        if store.system_state(self._run, self._system) != (command.state, command.reason):
            self._tell("system.changed", "", {"state": command.state, "reason": command.reason})
            store.set_system_state(self._run, self._system, command.state, command.reason, holds=command.holds)
        if command.state in AT_REST:
            self._parts.on_rest(self._run)

    def _tell_once(self, key: str, type_: str, step: str, data: dict[str, Any]) -> None:
        """Once; but a second time where the process died right after the first."""
        if not self._parts.store.was_announced(key):
            self._tell(type_, step, data)
            self._parts.store.mark_announced(key)

    def _tell(self, type_: str, step: str, data: dict[str, Any]) -> None:
        self._parts.events.tell(type_, run=self._run, system=self._system, step=step, data=data)

    # ---- room at the sites

    async def _begin(self) -> Sequence[Event]:
        """Begun, as soon as there is room; or what people ask before that."""
        if await self._has_room("waiting"):
            return [Begun(at=self._now())]
        return self._take_mail()

    async def _is_admitted(self, state: RunState) -> bool:
        # A way back never waits for room: it is what a system without room is in need of.
        return state.course == "backward" or await self._has_room("running")

    async def _has_room(self, status: SystemState) -> bool:
        """True once this system has its slots; False when something else came first. Whoever waits is told what for."""
        wanted = self._parts.admission.wanted(self._plan, self._planned)
        had = self._room is not None and self._room.done()
        if self._room is None:
            self._room = self._parts.admission.ask(self._holder, wanted)
            self._room.add_done_callback(lambda _: self._news.set())
        alarm = self._loop.call_later(TOLD_AFTER_SECONDS, self._news.set)
        try:
            while not self._room.done():
                if self._mailbox:
                    return False
                self._news.clear()
                await self._news.wait()
                if alarm.when() <= self._loop.time() and not self._room.done():
                    why = await self._parts.admission.told(self._holder, wanted)
                    await asyncio.to_thread(self._tell_room, status, why)
        finally:
            alarm.cancel()
        self._room.result()
        if wanted and not had and status == "running":  # whoever begins is shown anew anyway
            await asyncio.to_thread(self._tell_room, status, "")
        return not self._mailbox

    def _tell_room(self, status: SystemState, why: str) -> None:
        """Also a later worker takes back what was told; nothing else that stands there is touched."""
        _, told = self._parts.store.system_state(self._run, self._system)
        if told != why and told.startswith(NO_ROOM if told else ""):
            self._set_state(SetState(state=status, reason=why, holds=True))

    async def _leave(self) -> None:
        """Give room to others: this system is over, or waits for a person."""
        if self._room is not None:
            room, self._room = self._room, None
            room.cancel()
            if self._parts.admission.wanted(self._plan, self._planned):
                await self._parts.admission.leave(self._holder)

    # ---- deeds

    def _set_going(self, state: RunState) -> None:
        """Every deed that the state says is running is under way here: also after a restart."""
        for key in state.running:
            progress = state.progress[key]
            if key in self._under_way and self._under_way[key].attempt == progress.attempts:
                continue
            step = self._planned.step(key[0])
            deed = Deed(
                run=self._run,
                plan=self._plan,
                system_plan=self._planned,
                step=step,
                mode=key[1],
                attempt=progress.attempts,
                key=step_key(self._run, self._system, step.id, key[1]),
                earlier={name: dict(observed) for name, observed in state.earlier.items()},
            )
            overdue_at = self._parts.clock.monotonic_seconds() + step.timeout + OVERDUE_SECONDS
            self._under_way[key] = _UnderWay(progress.attempts, overdue_at)
            self._submit(key, deed, settled_absent=progress.settled_absent)

    def _submit(self, key: Key, deed: Deed, *, settled_absent: bool) -> None:
        def ended(future: "Future[Ended]") -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has stopped
                self._loop.call_soon_threadsafe(self._ended, key, deed.attempt, future)

        future = self._parts.threads.submit(
            f"{deed.key}#{deed.attempt}",
            lambda: self._parts.protocol.perform(deed, settled_absent=settled_absent),
        )
        future.add_done_callback(ended)

    def _ended(self, key: Key, attempt: int, future: "Future[Ended]") -> None:
        error = future.exception()
        if error is not None:
            self._parts.halt(error)
            return
        under_way = self._under_way.get(key)
        if under_way is None or under_way.attempt != attempt:
            return  # it was given up meanwhile
        del self._under_way[key]
        ended = future.result()
        self._post(
            DeedEnded(
                at=self._now(), step=key[0], mode=key[1], outcome=ended.outcome, unknown=ended.unknown
            )
        )

    # ---- waiting

    async def _next_events(self, state: RunState) -> Sequence[Event]:
        """What happens next; once it is returned, no round is under way that could meet what comes of it."""
        if not state.is_busy:
            await self._leave()
        events = await self._await_events(state)
        await self._open_way.end()
        return events or self._take_mail()

    async def _await_events(self, state: RunState) -> Sequence[Event]:
        """A deadline that was reached; nothing, once there is mail."""
        while not self._mailbox:
            self._news.clear()
            self._open_way.begin_when_due()
            seconds = self._seconds_to_wait(state)
            # Not asyncio.wait_for: Python 3.11's may swallow a cancellation, and this task would outlive the worker.
            alarm = None if seconds is None else self._loop.call_later(max(0.0, seconds), self._news.set)
            try:
                await self._news.wait()
            finally:
                if alarm is not None:
                    alarm.cancel()
            await self._give_up_what_is_overdue()
            if not self._mailbox and state.next_deadline is not None:
                at, key = state.next_deadline
                if at <= self._now():
                    return [DeadlineReached(at=self._now(), step=key[0], mode=key[1])]
        return []

    def _take_mail(self) -> Sequence[Event]:
        events, self._mailbox = self._mailbox, []
        self._taken += [event.id for event in events if isinstance(event, Requested)]
        return events

    def _seconds_to_wait(self, state: RunState) -> float | None:
        waits = [under_way.overdue_at - self._parts.clock.monotonic_seconds() for under_way in self._under_way.values()]
        if state.next_deadline is not None:
            # One millisecond more, for times are cut to milliseconds.
            waits.append(state.next_deadline[0] - self._now() + 0.001)
        if self._open_way.seconds_to_next is not None:
            waits.append(self._open_way.seconds_to_next)
        return min(waits, default=None)

    async def _give_up_what_is_overdue(self) -> None:
        now = self._parts.clock.monotonic_seconds()
        for key, under_way in list(self._under_way.items()):
            if under_way.overdue_at > now:
                continue
            step = self._planned.step(key[0])
            outcome = Outcome.failed(
                f"it did not end within {step.timeout:g} s and the time to spare, and may still be at it",
                error="OutcomeUnknown",
                hint="Look at the system, then say what you found: found-applied or found-absent.",
            )
            del self._under_way[key]
            if await asyncio.to_thread(self._abandon, key, outcome):
                self._post(DeedEnded(at=self._now(), step=key[0], mode=key[1], outcome=outcome, unknown=True))

    def _abandon(self, key: Key, outcome: Outcome) -> bool:
        written = self._parts.store.abandon_step(self._run, self._system, key[0], key[1], outcome=outcome)
        if written:
            self._tell("step.finished", key[0], {"mode": key[1], "status": "unknown", "message": outcome.message})
        return written
