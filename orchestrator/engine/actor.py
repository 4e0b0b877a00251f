"""The run of one system as an actor: it folds over recorded turns, and each turn gives the events that came next."""

from collections.abc import Sequence
from typing import Protocol

from orchestrator.engine.reducer import Reducer
from orchestrator.engine.run_state import RunState
from orchestrator.engine.turns import Command, Event


class Turns(Protocol):
    """Takes turns durably.

    Laws:
      take   carries out the commands, sees to it that every running deed of the state is under way, and returns the
             next events; once it has returned, the same turn returns the same events for ever, without doing anything
      take   of a state that is over carries out the commands and returns no events
    """

    async def take(self, number: int, state: RunState, commands: Sequence[Command]) -> Sequence[Event]: ...


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
