"""The reducer's promises, for any graph of steps and any order of ends, failures, requests and restarts."""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.contracts.engine import FINAL
from orchestrator.engine.reducer import Reducer
from orchestrator.engine.run_state import RunState
from orchestrator.engine.turns import (
    EVENTS,
    Announce,
    Begun,
    DeadlineReached,
    DeedEnded,
    Perform,
    Requested,
    SetState,
    Settle,
)
from orchestrator.model.action import Action, Commit, Decision, Preflight, Wait
from orchestrator.model.outcome import Outcome
from orchestrator.model.site import Side
from orchestrator.model.step import Criterion, Gate
from orchestrator.planning.gates import judge_gate
from tests.fakes.plans import a_step, a_system_plan

EVENTS_MAX = 120
REQUESTS = ("rollback", "cancel", "pause", "resume", "confirm", "reject", "retry", "waive")
OTHERS = ("found_applied", "found_absent", "leave")
# What a deed may end with, and how often: mostly well.
ENDS = ("passed",) * 6 + ("failed", "again", "unknown")


@st.composite
def graphs(draw):
    """Up to seven steps; each may need any earlier ones."""
    steps = []
    for number in range(draw(st.integers(1, 7))):
        earlier = [step.id for step in steps]
        needs = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        verb = draw(st.sampled_from(["deed"] * 6 + ["wait", "decision", "commit"]))
        actions: dict[str, Action] = {
            "deed": Preflight(),
            "wait": Wait(seconds=5),
            "decision": Decision(question="Go?"),
            "commit": Commit(side=Side.CLOUD),
        }
        action = actions[verb]
        gate = None
        if needs and draw(st.integers(0, 3)) == 0:
            expected = draw(st.booleans())
            gate = Gate(id="G5", criteria=(Criterion(id="ok", step=needs[0], observed="ok", expected=expected),))
        steps.append(
            a_step(
                f"s{number}",
                action,
                needs=needs,
                inverse=Preflight() if verb == "deed" and draw(st.booleans()) else None,
                on_failure=draw(st.sampled_from(["stop", "rollback"])),
                attempts_max=draw(st.integers(1, 3)),
                gate=gate,
                point_of_no_return=verb == "commit",
            )
        )
    return a_system_plan("filing", steps)


class Trial:
    """Drives one run and checks every command against what the world has seen so far."""

    def __init__(self, planned, data):
        self.planned = planned
        self.data = data
        self.reducer = Reducer(planned, judge_gate)
        self.state = RunState()
        self.events = []
        self.at = 0.0
        self.under_way = {}
        self.done, self.undone, self.waived = [], [], []
        self.touched = []  # forward steps in the order in which they ended, whichever way
        self.unknown = set()
        self.rolled_back_from = None

    def take(self, event):
        before = self.state
        self.events.append(event)
        self.state, commands = self.reducer.decide(self.state, event)
        if before.is_over:
            assert commands == (), "a run that is over is moved by nothing"
            assert self.state == before
        for key, found in before.progress.items():  # about to be tried again, and let go: these have ended too
            if found.state == "resting" and key[1] == "do" and self.state.progress[key].state == "failed":
                self.touched.append(key[0])
        for command in commands:
            match command:
                case Perform():
                    self.judge_perform(command)
                    self.under_way[(command.step, command.mode)] = command
                case Settle():
                    self.settled(command)
                case Announce(type="rollback.started"):
                    assert not self.under_way, "roll-back begins only when nothing is under way"
                case SetState():
                    assert command.state == self.state.status
                    assert command.holds or not self.under_way, "nobody else takes a system at which a deed is"
                case _:
                    pass

    def judge_perform(self, command):
        step = self.planned.step(command.step)
        key = (command.step, command.mode)
        assert key not in self.under_way, "one attempt at a time"
        if command.mode == "do":
            assert command.step not in self.done, "no step is done twice"
            assert all(need in self.done for need in step.needs), "needs come first"
            assert not self.undone, "nothing goes forward once something was undone"
        else:
            assert step.inverse.action is not None
            assert command.step not in self.undone, "nothing is undone twice"
            assert not self.under_way, "one inverse at a time, and nothing forward beside it"
            assert not self.state.committed, "nothing is undone after commit"
            left = [found for found in self.touched if found not in (*self.undone, *self.waived)]
            undoable = [found for found in left if self.planned.step(found).inverse.action is not None]
            place = [each.id for each in self.planned.steps].index
            assert command.step == max(undoable, key=place), "the reverse of the plan's order"
        if key in self.unknown:
            assert command.settled_absent, "what is unknown is never done again before a person looked"
            self.unknown.discard(key)
        if command.mode == "do" and command.step in self.touched:
            self.touched.remove(command.step)  # a person had it tried again

    def settled(self, command):
        outcome = command.outcome
        if command.mode == "undo":
            (self.waived if outcome.result.value == "waived" else self.undone).append(command.step)
        elif outcome.passed:
            self.done.append(command.step)
            if command.step in self.touched:
                self.touched.remove(command.step)
            self.touched.append(command.step)
        elif command.recorded and outcome.result.value != "not_run":
            self.touched.append(command.step)
        self.unknown.discard((command.step, command.mode))

    def end_one(self):
        key = self.data.draw(st.sampled_from(sorted(self.under_way)))
        step_id, mode = key
        how = self.data.draw(st.sampled_from(ENDS))
        outcome = (
            Outcome.done(ok=self.data.draw(st.booleans()))
            if how == "passed"
            else Outcome.failed("no", retryable=how == "again")
        )
        attempts = self.state.progress[key].attempts
        tries_again = (
            how == "again"
            and mode == "do"
            and attempts < self.planned.step(step_id).retry.attempts_max
            and self.state.course == "forward"
        )
        del self.under_way[key]
        if how == "passed":
            (self.done if mode == "do" else self.undone).append(step_id)
        if how == "unknown":
            self.unknown.add(key)
        if mode == "do" and not tries_again:
            self.touched.append(step_id)
        self.take(DeedEnded(at=self.at, step=step_id, mode=mode, outcome=outcome, unknown=how == "unknown"))

    def request(self):
        operation = self.data.draw(st.sampled_from(REQUESTS + OTHERS))
        self.take(Requested(at=self.at, id=len(self.events), operation=operation, by="ana"))

    def restart(self):
        """A new process folds the recorded events again, as they come back from JSON."""
        recorded = EVENTS.validate_python(EVENTS.dump_python(self.events, mode="json"))
        state = RunState()
        for event in recorded:
            state, _ = self.reducer.decide(state, event)
        assert state == self.state
        self.state = state

    def step(self):
        choices = ["request"] if self.data.draw(st.integers(0, 7)) == 0 else []
        if self.under_way:
            choices += ["end"] * 3
        if self.state.next_deadline is not None:
            choices.append("deadline")
        if self.data.draw(st.integers(0, 15)) == 0:
            choices.append("restart")
        if not choices:
            return False
        choice = self.data.draw(st.sampled_from(choices))
        if choice == "end":
            self.end_one()
        elif choice == "request":
            self.request()
        elif choice == "restart":
            self.restart()
        else:
            assert self.state.next_deadline is not None
            at, key = self.state.next_deadline
            self.at = max(self.at, at)
            self.take(DeadlineReached(at=self.at, step=key[0], mode=key[1]))
        return True


def finish(trial):
    """A person who wants it over says so, and every deed goes well from here."""
    for _ in range(200):
        if trial.state.is_over:
            return
        if trial.under_way:
            key = min(trial.under_way)
            del trial.under_way[key]
            (trial.done if key[1] == "do" else trial.undone).append(key[0])
            if key[1] == "do":
                trial.touched.append(key[0])
            trial.take(DeedEnded(at=trial.at, step=key[0], mode=key[1], outcome=Outcome.done(ok=True)))
        elif trial.state.next_deadline is not None:
            at, key = trial.state.next_deadline
            trial.at = max(trial.at, at)
            trial.take(DeadlineReached(at=trial.at, step=key[0], mode=key[1]))
        else:
            operations = {"paused": "resume", "rollback_failed": "waive", "failed": "rollback"}
            operation = operations.get(trial.state.status)
            assert operation is not None, f"{trial.state.status} and nothing that could move it"
            trial.take(Requested(at=trial.at, id=1000 + len(trial.events), operation=operation, by="ana"))
    raise AssertionError("the run does not come to an end")


EXAMPLES = int(os.environ.get("SKERRY_EXAMPLES", "150"))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(planned=graphs(), data=st.data())
def test_whatever_happens_the_rules_hold_and_the_run_can_be_brought_to_an_end(planned, data):
    trial = Trial(planned, data)
    trial.take(Begun(at=0))
    for _ in range(EVENTS_MAX):
        if trial.state.is_over or not trial.step():
            break
    trial.restart()
    finish(trial)

    state = trial.state
    assert state.status in FINAL | {"failed"}
    assert not trial.under_way
    assert state.next_deadline is None
    undoable = {step.id for step in planned.steps if step.inverse.action is not None}
    if state.status == "committed":
        assert set(trial.done) == {step.id for step in planned.steps}
        assert not trial.undone
    if state.status == "rolled_back":
        assert set(trial.undone) | set(trial.waived) == set(trial.touched) & undoable
        assert not state.committed
    if state.status == "cancelled":
        assert not trial.touched
    if state.status == "failed":
        assert state.committed or not set(trial.touched) & undoable
