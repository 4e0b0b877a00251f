"""Decides, purely, how the run of one system goes on: (state, event) → (state, commands).

Rules:
  a step begins when all it needs are done, its gate is open, and nothing has failed; several may be under way
  a step is tried again only where its outcome says that trying again can help, and only as often as its retry allows;
  a point of no return also where it does not, unless it was refused: it may have taken effect, and no plan begins there
  roll-back undoes in the reverse of the plan's order, one at a time, failed and unknown steps included; the plan has
  each step after those it needs, so that nothing is undone before what was built on it
  an inverse that fails is tried once more at least; then the system waits for a person
  an outcome that nobody knows is never retried: a person looks first
  a step that must have passed by some time and has not is no longer waited for: everything is rolled back, also when a
  person paused; a deed under way ends first, and where a person must decide already the person decides
  a gate that is closed may be gone round where a person asked for that by name; it is told with what was judged
  nothing is rolled back by itself beyond the point of no return; after commit not even on request, and where no step
  has an inverse neither: what fails there waits for a person, who has it done again
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.contracts.engine import GateJudge, KnownAt, nothing_known
from orchestrator.engine.run_state import (
    PERSON_VERBS,
    TIME_VERBS,
    UNDO_ATTEMPTS_MIN,
    Key,
    Progress,
    RunState,
)
from orchestrator.engine.turn_under_way import TurnUnderWay
from orchestrator.engine.turns import (
    Begun,
    Command,
    DeadlineReached,
    DeedEnded,
    Event,
    Mode,
    Requested,
    Settle,
)
from orchestrator.foundation.errors import AuthorityError, GateClosed
from orchestrator.model.gate import GateVerdict
from orchestrator.model.outcome import Outcome, Result
from orchestrator.model.plan import SystemPlan
from orchestrator.model.step import Gate, Step

REFUSALS = (AuthorityError.__name__, GateClosed.__name__)  # people are asked, and asking again changes nothing


class Reducer:
    """`decide` for one system's plan. Holds no state of its own."""

    def __init__(self, planned: SystemPlan, judge_gate: GateJudge, known_at: KnownAt = nothing_known) -> None:
        self._planned = planned
        self._judge_gate = judge_gate
        self._known_at = known_at
        self._steps = {step.id: step for step in planned.steps}

    def decide(self, state: RunState, event: Event) -> tuple[RunState, tuple[Command, ...]]:
        """The state after `event`, and what is to be done now. An event that no longer fits changes nothing."""
        if state.is_over:
            return state, ()
        def judge(gate: Gate, earlier: Mapping[str, Mapping[str, Any]]) -> GateVerdict:
            return self._judge_gate(gate, {**earlier, **self._known_at(event.at)})

        turn = _Turn(self._steps, judge, state, event.at)
        turn.take(event)
        turn.go_on()
        return turn.result()


class _Turn(TurnUnderWay):
    """What each event means."""

    # ---- events

    def take(self, event: Event) -> None:
        match event:
            case Begun():
                if self._status == "waiting":
                    self._status = "running"
            case DeedEnded():
                self._deed_ended(event)
            case DeadlineReached():
                self._deadline_reached((event.step, event.mode))
            case Requested():
                if event.id not in self._answered:
                    self._answered |= {event.id}
                    refusal = self._requested(event)
                    self._announce(
                        "request.refused" if refusal else "request.accepted",
                        event.step,
                        operation=event.operation,
                        by=event.by,
                        reason=event.reason,
                        **({"because": refusal} if refusal else {}),
                    )

    def _deed_ended(self, event: DeedEnded) -> None:
        key: Key = (event.step, event.mode)
        progress = self._progress.get(key)
        if progress is None or progress.state != "running":
            return  # settled meanwhile
        step, outcome = self._steps[event.step], event.outcome
        if event.unknown:
            self._progress[key] = replace(progress, state="unknown", message=outcome.message)
            self._unknown(step, event.mode, outcome.message)
        elif outcome.passed:
            self._passed(key, outcome)
        elif self._may_try_again(step, event.mode, progress.attempts, outcome):
            self._progress[key] = replace(progress, state="resting", message=outcome.message)
            self._deadlines[key] = self._at + step.retry.wait_seconds * 2 ** (progress.attempts - 1)
        else:
            self._failed(key, outcome)

    def _may_try_again(self, step: Step, mode: Mode, attempts: int, outcome: Outcome) -> bool:
        if mode == "undo":
            return attempts < max(UNDO_ATTEMPTS_MIN, step.retry.attempts_max)
        may_help = outcome.retryable or (step.point_of_no_return and outcome.error not in REFUSALS)
        return may_help and attempts < step.retry.attempts_max and self._course == "forward"

    def _unknown(self, step: Step, mode: Mode, message: str) -> None:
        if mode == "do":
            self._ended.append(step.id)
            self._turn_from(step.id, f"nobody knows whether it took effect: {message}", "stop")

    def _deadline_reached(self, key: Key) -> None:
        if key[1] == "do" and self._due.get(key[0], self._at + 1) <= self._at:
            self._time_is_up(key[0])
            return
        if self._deadlines.get(key, self._at + 1) > self._at:
            return
        del self._deadlines[key]
        progress, step = self._progress[key], self._steps[key[0]]
        if progress.state == "resting":
            self._perform(key)
        elif step.action.verb in TIME_VERBS:
            self._settle(key, Outcome.done(f"waited {step.action.seconds:g} s"))  # type: ignore[union-attr]
        else:
            outcome = Outcome(result=Result.TIMED_OUT, message=f"nobody answered within {step.timeout:g} s")
            self._settle(key, outcome)

    def _time_is_up(self, step_id: str) -> None:
        """The step had to have passed by now."""
        del self._due[step_id]
        if self._course != "forward" or self._state_of((step_id, "do")) == "running":
            return
        limit = self._steps[step_id].not_later_than
        said = f"not passed within {limit.seconds:g} s after {limit.after}" if limit is not None else "too late"
        self._announce("deadline.passed", step_id, because=said)
        self._paused, self._stops = False, frozenset()
        self._turn_from(step_id, said, "rollback")

    # ---- what people ask

    def _requested(self, event: Requested) -> str:
        """Obey, or say why not."""
        match event.operation:
            case "rollback" | "cancel":
                return self._turn_back(event)
            case "pause":
                return self._pause(event)
            case "resume":
                return self._resume(event)
            case "confirm" | "reject":
                return self._answer(event)
            case "retry" | "waive" | "found_applied" | "found_absent":
                return self._resolve(event)
            case "skip_gate":
                return self._open_door(event)
            case "leave":
                return self._leave(event)

    def _open_door(self, event: Requested) -> str:
        """Let the named gate be gone round, should it be closed when its step may begin."""
        gates = sorted({step.gate.id for step in self._steps.values() if step.gate is not None})
        if event.step not in gates:
            return f"the plan has no gate {event.step or 'without a name'} (there are: {', '.join(gates) or 'none'})"
        if not event.reason.strip():
            return f"gate {event.step} is gone round for a reason only"
        self._doors = {**self._doors, event.step: (event.by, event.reason)}
        return ""

    def _resume(self, event: Requested) -> str:
        """Go on, to the end or up to the named steps: one word, so that nothing can run past them in between."""
        stops = frozenset(event.step.split())
        if unknown := sorted(stops - self._steps.keys()):
            return f"the plan has no step {', '.join(unknown)}"
        self._paused, self._stops = False, stops - {step for step, mode in self._progress if mode == "do"}
        return ""

    def _pause(self, event: Requested) -> str:
        """At once, or before steps that have not begun: what does not need those steps goes on."""
        stops = frozenset(event.step.split())
        if not stops:
            self._paused = True
            return ""
        if unknown := sorted(stops - self._steps.keys()):
            return f"the plan has no step {', '.join(unknown)}"
        if begun := sorted(stop for stop in stops if (stop, "do") in self._progress):
            return f"{', '.join(begun)} has begun already"
        self._stops |= stops
        return ""

    def _turn_back(self, event: Requested) -> str:
        if self._committed:
            return "the system is committed; the way back from here is failback"
        if self._course == "backward":
            return "it is being rolled back already"
        if self._beyond_return and not self._to_undo():
            return f"{self._beyond_return} was the point of no return and has no inverse: retry what failed"
        self._reason = f"{event.operation} asked for by {event.by}" + (f": {event.reason}" if event.reason else "")
        self._course, self._paused, self._asked_back = "turning", False, True
        if event.operation == "cancel" and not self._ended and not self._busy():
            self._let_go_of_what_waits()
            self._status = "cancelled"
        return ""

    def _leave(self, event: Requested) -> str:
        """Another plan takes the system over as it stands: nothing more is done here, and nothing undone."""
        if self._busy():
            return "a step of it is under way: it is left once that has ended"
        self._reason = f"left as it stood, for {event.by}: {event.reason}"
        self._let_go_of_what_waits()
        self._status = "committed" if self._committed else "cancelled"
        self._announce("deviation.recorded", what="left", by=event.by, reason=event.reason, not_undone=self._to_undo())
        return ""

    def _answer(self, event: Requested) -> str:
        waiting = [
            key
            for key, progress in self._progress.items()
            if progress.state == "waiting"
            and event.step in ("", key[0])
            and self._steps[key[0]].action.verb in PERSON_VERBS
        ]
        if len(waiting) != 1:
            return "no such step waits for a person" if not waiting else "several steps wait; name one"
        if event.operation == "confirm":
            self._settle(waiting[0], Outcome.done(f"confirmed by {event.by}", by=event.by, reason=event.reason))
        else:
            self._settle(waiting[0], Outcome.failed(f"rejected by {event.by}: {event.reason}", by=event.by))
        return ""

    def _resolve(self, event: Requested) -> str:
        """A person settles what failed or is unknown."""
        mode: Mode = "undo" if self._course == "backward" else "do"
        wanted = ("unknown",) if event.operation.startswith("found_") else ("failed", "unknown")
        keys: list[Key] = [
            key
            for key, progress in self._progress.items()
            if key[1] == mode and progress.state in wanted and event.step in ("", key[0])
        ]
        if self._status not in ("failed", "rollback_failed") or not keys:
            return "no such step has failed" if wanted[0] == "failed" else "of no such step is the outcome unknown"
        if event.operation == "waive" and mode == "do":
            return "a failed step is not waived; retry it or roll back"
        unknown = [key[0] for key in keys if self._progress[key].state == "unknown"]
        if event.operation == "retry" and unknown:
            return f"the outcome of {', '.join(unknown)} is unknown: look, then say found_applied or found_absent"
        for key in keys:
            self._resolve_one(key, event)
        if mode == "do":
            self._course, self._status, self._reason = "forward", "running", ""
            self._stay_stopped_by_the_rest()
        else:
            self._status = "rolling_back"
        return ""

    def _resolve_one(self, key: Key, event: Requested) -> None:
        step_id, mode = key
        by = {"by": event.by, "reason": event.reason}
        if event.operation in ("waive", "found_applied"):
            self._announce("deviation.recorded", step_id, what=event.operation, mode=mode, **by)
            outcome = Outcome.done(f"{event.operation.replace('_', ' ')}: {event.by}", **by)
            if event.operation == "waive":
                outcome = outcome.model_copy(update={"result": Result.WAIVED})
                self._progress[key] = Progress("waived", self._attempts(key), outcome.message)
                self._reason += f"; inverse of {step_id} waived by {event.by}"
            else:
                if mode == "do":
                    self._ended.remove(step_id)
                self._passed(key, outcome)
            self._commands.append(Settle(step=step_id, mode=mode, outcome=outcome))
            return
        if mode == "do":
            if step_id in self._ended:
                self._ended.remove(step_id)
            if self._progress[key].attempts == 0:
                del self._progress[key]  # its gate was closed: judge it again
                return
        self._perform(key, settled_absent=event.operation == "found_absent")

    def _stay_stopped_by_the_rest(self) -> None:
        for (step_id, mode), progress in self._progress.items():
            if mode == "do" and progress.state in ("failed", "unknown"):
                self._course = "stopping"
                self._reason = f"{step_id}: {progress.message}"
