"""The run of one system as an actor: it folds over recorded turns, and each turn gives the events that came next."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from orchestrator.engine.reducer import Reducer
from orchestrator.engine.run_state import RunState
from orchestrator.engine.turns import EVENTS, Command, Event
from orchestrator.foundation.errors import EngineUnavailable


class Turns(Protocol):
    """Takes turns durably.

    Laws:
      take   carries out the commands, sees to it that every running deed of the state is under way, and returns the
             next events; once it has returned, the same turn returns the same events for ever, without doing anything
      take   of a state that is over carries out the commands and returns no events
    """

    async def take(self, number: int, state: RunState, commands: Sequence[Command]) -> Sequence[Event]: ...


class TurnJournal(Protocol):
    """Keeps the events of turns durably.

    Laws:
      turns      gives what was kept, in order
      add_turn   returns when the events are durable; False when that turn was taken by somebody else
    """

    def turns(self, run: str, system: str) -> Sequence[str]: ...
    def add_turn(self, run: str, system: str, number: int, events: str) -> bool: ...


class JournaledTurns:
    """Turns of one system's run: those that the journal holds, then live ones, each kept before it counts."""

    def __init__(self, run: str, system: str, live: Turns, journal: TurnJournal) -> None:
        self._run = run
        self._system = system
        self._live = live
        self._journal = journal
        self._taken: Sequence[str] | None = None

    async def take(self, number: int, state: RunState, commands: Sequence[Command]) -> Sequence[Event]:
        if self._taken is None:
            self._taken = await asyncio.to_thread(self._journal.turns, self._run, self._system)
        if number < len(self._taken):
            return EVENTS.validate_json(self._taken[number])
        events = list(await self._live.take(number, state, commands))
        if events and not await asyncio.to_thread(
            self._journal.add_turn, self._run, self._system, number, EVENTS.dump_json(events).decode()
        ):
            raise EngineUnavailable(
                f"run {self._run}: another worker carries {self._system}",
                hint="This worker was taken for dead. It has ended what it did; start it again.",
            )
        return events


async def run_system(reducer: Reducer, turns: Turns) -> RunState:
    """Carry one system's run until nothing can move it any more."""
    state = RunState()
    number = 0
    events = await turns.take(number, state, ())
    while True:
        commands: list[Command] = []
        for event in events:
            state, more = reducer.decide(state, event)
            commands += more
        number += 1
        events = await turns.take(number, state, commands)
        if state.is_over:
            return state
