"""A run of one system in this thread: the product's reducer and handlers, a journal in memory, several lives.

What the engine does with threads and a store is done here one after the other: a deed that was under way when a life
ended is probed, and then done again.
"""

import itertools
from dataclasses import dataclass, field

from orchestrator.contracts.handler import Deed
from orchestrator.contracts.progress import Progress
from orchestrator.contracts.requests import Operation
from orchestrator.engine.reducer import Reducer
from orchestrator.engine.run_state import Key, RunState
from orchestrator.engine.turns import Begun, Command, DeadlineReached, DeedEnded, Event, Requested
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.plan import Plan
from orchestrator.planning.gates import judge_gate
from orchestrator.steps.handlers import handlers_over
from tests.fakes.drivers import FakeWorld

_RUNS = itertools.count(1)


@dataclass
class RunInHand:
    """`journal` and the world outlive a life; `commands` are all that the reducer said."""

    world: FakeWorld
    plan: Plan
    run: str = field(default_factory=lambda: f"run-{next(_RUNS)}")  # keys of deeds differ between runs, as they do
    journal: list[Event] = field(default_factory=list)
    begun: set[tuple[Key, int]] = field(default_factory=set)
    commands: list[Command] = field(default_factory=list)

    def ask_rollback(self) -> None:
        self.ask("rollback")

    def ask(self, operation: Operation) -> None:
        """A person asks; it is found at the next turn."""
        self._asked.append(operation)

    def may_be_rolled_back(self) -> bool:
        """It came to rest, and something can still move it."""
        state = RunState()
        for event in self.journal:
            state, _ = self._reducer.decide(state, event)
        return not state.is_over

    def __post_init__(self) -> None:
        self._asked: list[Operation] = []
        self._reducer = Reducer(self.plan.systems[0], judge_gate)

    def live(self) -> RunState:
        """One life: up to where nothing moves any more, or to a crash."""
        state = RunState()
        for event in self.journal:
            state, _ = self._reducer.decide(state, event)
        if not self.journal:
            state = self._take(state, Begun(at=0.0))
        while True:
            if self._asked:
                operation = self._asked.pop(0)
                asked = Requested(
                    at=self._now(), id=len(self.journal) + 1, operation=operation, by="ana", reason="wanted"
                )
                state = self._take(state, asked)
            elif state.running:
                state = self._take(state, self._perform(state, state.running[0]))
            elif state.next_deadline is not None:
                at, (step, mode) = state.next_deadline
                self.world.clock.sleep(max(0.0, at - self._now()))
                state = self._take(state, DeadlineReached(at=at, step=step, mode=mode))
            else:
                return state

    def _now(self) -> float:
        return self.world.clock.monotonic_seconds()

    def _take(self, state: RunState, event: Event) -> RunState:
        self.journal.append(event)
        after, commands = self._reducer.decide(state, event)
        self.commands += commands
        return after

    def _perform(self, state: RunState, key: Key) -> DeedEnded:
        planned = self.plan.systems[0]
        step_id, mode = key
        attempt = state.progress[key].attempts
        self.world.tickets += 1
        deed = Deed(
            run=self.run,
            plan=self.plan,
            system_plan=planned,
            step=planned.step(step_id),
            mode=mode,
            attempt=attempt,
            key=f"{self.run}/{planned.system.name}/{step_id}/{mode}",
            ticket=self.world.tickets,
            earlier={name: dict(observed) for name, observed in state.earlier.items()},
        )
        handler = handlers_over(self.world.drivers)(deed.action.verb)
        self.world.client_files()
        cut_off = (key, attempt) in self.begun
        self.begun.add((key, attempt))
        if cut_off and handler.probe(deed) is Probe.APPLIED:
            outcome = Outcome.done("found already done")
        else:
            outcome = handler.act(deed, _unseen, self.world.emit)
        self.world.look_for_violations()
        self.world.client_files()
        self.world.look_for_violations()
        return DeedEnded(at=self._now(), step=step_id, mode=mode, outcome=outcome)


def _unseen(_progress: Progress) -> None:
    """Nobody watches."""
