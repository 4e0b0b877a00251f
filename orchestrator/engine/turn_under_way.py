"""One decision of the reducer under way: the state taken apart, how a run goes on, and the state frozen again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from orchestrator.contracts.engine import FINAL, GateJudge
from orchestrator.engine.run_state import PERSON_VERBS, TIME_VERBS, Course, Key, Progress, RunState
from orchestrator.engine.turns import Announce, Command, Open, Perform, SetState, Settle
from orchestrator.model.gate import GateVerdict
from orchestrator.model.outcome import Outcome, Result
from orchestrator.model.step import Step


class TurnUnderWay:
    """What steps begin, end and come to; which event brings that about is the reducer's to know."""

    def __init__(self, steps: Mapping[str, Step], judge_gate: GateJudge, state: RunState, at: float) -> None:
        self._steps = steps
        self._judge_gate = judge_gate
        self._before = state
        self._at = at
        self._status = state.status
        self._reason = state.reason
        self._course: Course = state.course
        self._paused = state.paused
        self._stops = state.stops
        self._progress = dict(state.progress)
        self._deadlines = dict(state.deadlines)
        self._due = dict(state.due)
        self._ended = list(state.ended)
        self._earlier = dict(state.earlier)
        self._answered = state.answered
        self._beyond_return = state.beyond_return
        self._committed = state.committed
        self._asked_back = state.asked_back
        self._doors = dict(state.doors)
        self._gone_round = state.gone_round
        self._commands: list[Command] = []

    def result(self) -> tuple[RunState, tuple[Command, ...]]:
        # What failed beyond a point of no return is done again, not planned again: the system stands between its sides.
        nothing_to_do = self._committed or not (self._to_undo() or self._beyond_return)
        is_over = self._status in FINAL or (self._status == "failed" and nothing_to_do)
        after = replace(
            self._before,
            is_over=is_over,
            status=self._status,
            reason=self._reason,
            course=self._course,
            paused=self._paused,
            stops=self._stops,
            progress=self._progress,
            deadlines=self._deadlines,
            due=self._due,
            ended=tuple(self._ended),
            earlier=self._earlier,
            answered=self._answered,
            beyond_return=self._beyond_return,
            committed=self._committed,
            asked_back=self._asked_back,
            doors=self._doors,
            gone_round=self._gone_round,
        )
        shown = "; ".join((after.reason, *after.gone_round)) if after.reason else "; ".join(after.gone_round)
        before = self._before
        if (after.status, after.reason, after.gone_round) != (before.status, before.reason, before.gone_round):
            self._commands.append(SetState(state=after.status, reason=shown, holds=not is_over))
        return after, tuple(self._commands)

    def _passed(self, key: Key, outcome: Outcome) -> None:
        step, mode = self._steps[key[0]], key[1]
        self._progress[key] = Progress("done", self._attempts(key), outcome.message)
        self._deadlines.pop(key, None)
        self._earlier[step.id if mode == "do" else f"{step.id}.undo"] = outcome.observed
        if mode == "undo":
            return
        self._ended.append(step.id)
        self._due.pop(step.id, None)
        for later in self._steps.values():
            if later.not_later_than is not None and later.not_later_than.after == step.id:
                self._due[later.id] = self._at + later.not_later_than.seconds
        if step.action.verb == "commit":
            self._committed = True
        if step.point_of_no_return:
            self._beyond_return = step.id
            self._announce("point_of_no_return.passed", step.id)
        if self._course == "turning":
            self._passed_too_late(step.id)

    def _passed_too_late(self, step_id: str) -> None:
        """The step was under way when the run turned back. After a commit, or a point of no return, it does not."""
        if self._asked_back and (self._committed or (self._beyond_return and not self._to_undo())):
            what = "the commit" if self._committed else "the point of no return, which has no inverse,"
            self._announce("request.refused", step_id, operation="rollback", because=f"{what} was under way")
            self._course, self._reason = "forward", ""
        elif not self._asked_back and (self._committed or self._beyond_return):
            self._course = "stopping"

    def _failed(self, key: Key, outcome: Outcome, *, began: bool = True) -> None:
        step, mode = self._steps[key[0]], key[1]
        self._progress[key] = Progress("failed", self._attempts(key), outcome.message)
        self._deadlines.pop(key, None)
        if mode == "undo":
            return
        if began:
            self._ended.append(step.id)
        self._turn_from(step.id, outcome.message or outcome.result.value, step.on_failure)

    def _turn_from(self, step_id: str, message: str, on_failure: Literal["stop", "rollback"]) -> None:
        """Go no further forward; what is under way ends first. Who must decide wins over what happens by itself."""
        self._asked_back = False
        beyond = self._beyond_return or self._committed
        course: Course = "stopping" if on_failure == "stop" or beyond else "turning"
        if self._course == "forward":
            self._reason = f"{step_id}: {message}"
            self._course = course
        elif self._course == "turning" and course == "stopping":
            self._reason += f"; {step_id}: {message}"
            self._course = course

    # ---- going on

    def go_on(self) -> None:
        """Begin whatever may begin now, and settle the system's state."""
        if self._status in FINAL or self._status == "waiting":
            return
        if self._course == "forward":
            self._go_forward()
        if self._course in ("stopping", "turning"):
            self._let_go_of_what_waits()
            if not self._busy():
                self._come_to_rest()
        if self._course == "backward":
            self._go_backward()
        if self._course == "forward" and not self._busy() and self._stands_before_a_stop():
            self._paused = True
        if self._paused and not self._busy() and self._status in ("running", "rolling_back"):
            self._status = "paused"
        elif self._status == "paused" and not self._paused:
            self._status = "rolling_back" if self._course == "backward" else "running"

    def _stands_before_a_stop(self) -> bool:
        return any(all(self._is_done(need) for need in self._steps[step_id].needs) for step_id in self._stops)

    def _go_forward(self) -> None:
        # Gates that close, and steps that need nothing of the world, change what may begin: look again until still.
        changed = True
        while changed and self._course == "forward" and not self._paused:
            changed = False
            for step in self._steps.values():
                if (step.id, "do") in self._progress or not all(self._is_done(need) for need in step.needs):
                    continue
                if step.id in self._stops:
                    continue
                self._begin(step)
                changed = True
                if self._course != "forward":
                    break
        if self._course == "forward" and all(self._is_done(step_id) for step_id in self._steps):
            self._status, self._reason = "committed", ""

    def _begin(self, step: Step) -> None:
        key: Key = (step.id, "do")
        if step.gate is not None:
            verdict = self._judge_gate(step.gate, self._earlier)
            door = None if verdict.passed else self._doors.get(verdict.gate)
            if door is not None:
                self._go_round(step.id, verdict, *door)
            else:
                self._announce("gate.passed" if verdict.passed else "gate.closed", step.id, **verdict.model_dump())
            if not verdict.passed and door is None:
                outcome = Outcome.failed(verdict.message or f"gate {verdict.gate} is closed", error="GateClosed")
                self._commands.append(Settle(step=step.id, mode="do", outcome=outcome, recorded=False))
                self._failed(key, outcome, began=False)
                return
        if step.action.verb in PERSON_VERBS or step.action.verb in TIME_VERBS:
            seconds = step.timeout if step.action.verb in PERSON_VERBS else step.action.seconds  # type: ignore[union-attr]
            self._progress[key] = Progress("waiting", 1)
            self._deadlines[key] = self._at + seconds
            self._commands.append(Open(step=step.id, mode="do", until=self._at + seconds))
            return
        self._perform(key)

    def _go_round(self, step_id: str, verdict: GateVerdict, by: str, because: str) -> None:
        """Told with every value that was judged: whoever reads of it sees what was not met."""
        judged = {**verdict.model_dump(), "gate": f"{verdict.gate} of {step_id}"}
        self._announce("gate.skipped", step_id, by=by, because=because, **judged)
        self._gone_round = (*self._gone_round, f"gate {verdict.gate} of {step_id} was skipped by {by}: {because}")

    def _perform(self, key: Key, *, settled_absent: bool = False) -> None:
        attempt = self._attempts(key) + 1
        self._progress[key] = Progress("running", attempt, settled_absent=settled_absent)
        self._commands.append(Perform(step=key[0], mode=key[1], attempt=attempt, settled_absent=settled_absent))

    def _settle(self, key: Key, outcome: Outcome) -> None:
        self._commands.append(Settle(step=key[0], mode=key[1], outcome=outcome))
        if outcome.passed:
            self._passed(key, outcome)
        else:
            self._failed(key, outcome)

    def _let_go_of_what_waits(self) -> None:
        for key, progress in list(self._progress.items()):
            if progress.state == "waiting":
                del self._progress[key], self._deadlines[key]
                outcome = Outcome(result=Result.NOT_RUN, message=f"let go: {self._reason}")
                self._commands.append(Settle(step=key[0], mode=key[1], outcome=outcome))
            elif progress.state == "resting" and key[1] == "do":
                del self._deadlines[key]
                self._progress[key] = replace(progress, state="failed")
                self._ended.append(key[0])

    def _come_to_rest(self) -> None:
        if self._course == "stopping":
            self._status = "failed"
            return
        self._course, self._status = "backward", "rolling_back"
        self._announce("rollback.started", because=self._reason, steps=self._to_undo())

    def _go_backward(self) -> None:
        if self._busy() or self._paused:
            return
        remaining = self._to_undo()
        if not remaining:
            self._status = "rolled_back"
            self._announce("rollback.finished", because=self._reason)
            return
        key: Key = (remaining[0], "undo")
        progress = self._progress.get(key)
        if progress is None:
            self._perform(key)
        elif progress.state in ("failed", "unknown"):
            self._status = "rollback_failed"
            self._reason = f"{self._reason.split(' · ')[0]} · inverse of {key[0]}: {progress.message}"

    def _to_undo(self) -> list[str]:
        """Steps that ended and whose inverse is still to be done: the last of the plan first.

        A plan has its steps each after those it needs. Where some went side by side, how they are undone is thus as it
        is written, and not a matter of which of them was quicker.
        """
        ended = set(self._ended)
        return [
            step_id
            for step_id in reversed(list(self._steps))
            if step_id in ended
            and self._steps[step_id].inverse.action is not None
            and self._state_of((step_id, "undo")) not in ("done", "waived")
        ]

    # ---- small questions

    def _busy(self) -> bool:
        """Something is under way, or is about to be tried again."""
        return any(progress.state in ("running", "resting") for progress in self._progress.values())

    def _is_done(self, step_id: str) -> bool:
        return self._state_of((step_id, "do")) == "done"

    def _state_of(self, key: Key) -> str:
        progress = self._progress.get(key)
        return progress.state if progress else ""

    def _attempts(self, key: Key) -> int:
        progress = self._progress.get(key)
        return progress.attempts if progress else 0

    def _announce(self, type_: str, step: str = "", **data: Any) -> None:
        self._commands.append(Announce(type=type_, step=step, data=data))
