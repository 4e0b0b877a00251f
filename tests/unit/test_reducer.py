"""The reducer, case by case: a small driver answers its commands from a script."""

from collections import defaultdict
from typing import Any

import pytest

from orchestrator.engine.reducer import Reducer
from orchestrator.engine.run_state import RunState
from orchestrator.engine.turns import Announce, Begun, DeadlineReached, DeedEnded, Perform, Requested, Settle
from orchestrator.model.action import Approval, Commit, Decision, Preflight, Wait
from orchestrator.model.outcome import Outcome, Result
from orchestrator.model.site import Side
from orchestrator.model.step import Criterion, Deadline, Gate
from orchestrator.planning.gates import judge_gate
from tests.fakes.plans import a_step, a_system_plan

LOOK = Preflight()


class Driver:
    """Folds events, ends deeds as `outcomes` says (else passed), and keeps what was asked of the world."""

    def __init__(self, *steps):
        self.reducer = Reducer(a_system_plan("filing", steps), judge_gate)
        self.state = RunState()
        self.at = 0.0
        self.outcomes = defaultdict(list)
        self.performed, self.announced, self.settled = [], [], []
        self.waiting = []
        self.requests = 0

    def take(self, event):
        self.state, commands = self.reducer.decide(self.state, event)
        for command in commands:
            match command:
                case Perform():
                    self.performed.append(name(command))
                    self.waiting.append(command)
                case Announce():
                    self.announced.append((command.type, command.step))
                case Settle():
                    self.settled.append((name(command), command.outcome.result))
        return self

    def end(self, what, outcome=None, *, unknown=False):
        command = next(found for found in self.waiting if name(found) == what)
        self.waiting.remove(command)
        outcome = outcome or (self.outcomes[what].pop(0) if self.outcomes[what] else Outcome.done())
        self.at += 1
        return self.take(
            DeedEnded(at=self.at, step=command.step, mode=command.mode, outcome=outcome, unknown=unknown)
        )

    def run(self):
        """Until nothing is under way: end deeds in order, let deadlines of retries pass."""
        if self.state.status == "waiting":
            self.take(Begun(at=self.at))
        while self.waiting or self.resting():
            if self.waiting:
                self.end(name(self.waiting[0]))
            else:
                self.pass_deadline()
        return self

    def resting(self):
        return any(progress.state == "resting" for progress in self.state.progress.values())

    def pass_deadline(self):
        assert self.state.next_deadline is not None
        at, key = self.state.next_deadline
        self.at = max(self.at, at)
        return self.take(DeadlineReached(at=self.at, step=key[0], mode=key[1]))

    def ask(self, operation, step=""):
        self.requests += 1
        self.at += 1
        return self.take(
            Requested(at=self.at, id=self.requests, operation=operation, step=step, by="ana", reason="because")
        )

    @property
    def last_announced(self):
        return self.announced[-1][0]


def name(command):
    return command.step if command.mode == "do" else f"{command.step}.undo"


FAILED = Outcome.failed("no")
AGAIN = Outcome.failed("not yet", retryable=True)


def chain(*ids, **changes):
    """Each step needs the one before it; all have inverses."""
    steps: list[Any] = []
    needs: tuple[str, ...] = ()
    for step_id in ids:
        steps.append(a_step(step_id, LOOK, needs=needs, inverse=LOOK, **changes.get(step_id, {})))
        needs = (step_id,)
    return steps


def test_a_chain_runs_in_order_and_commits():
    driver = Driver(*chain("a", "b", "c")).run()
    assert driver.performed == ["a", "b", "c"]
    assert (driver.state.status, driver.state.is_over) == ("committed", True)


def test_independent_steps_run_at_once_and_a_join_waits_for_both():
    driver = Driver(
        a_step("a", LOOK), a_step("b", LOOK), a_step("join", LOOK, needs=("a", "b"))
    ).take(Begun(at=0))
    assert driver.performed == ["a", "b"]
    driver.end("b")
    assert driver.performed == ["a", "b"]
    driver.end("a")
    assert driver.performed == ["a", "b", "join"]


def test_roll_back_is_in_reverse_order_of_the_plan_whoever_was_quicker_and_includes_the_failed_step():
    driver = Driver(
        a_step("a", LOOK, inverse=LOOK),
        a_step("b", LOOK, inverse=LOOK),
        a_step("none", LOOK),
        a_step("c", LOOK, needs=("a", "b", "none"), inverse=LOOK),
    ).take(Begun(at=0))
    driver.end("b").end("none").end("a").end("c", FAILED)
    assert driver.announced[-1] == ("rollback.started", "")
    driver.run()
    assert driver.performed[4:] == ["c.undo", "b.undo", "a.undo"]
    assert driver.state.status == "rolled_back"
    assert driver.state.reason == "c: no"
    assert driver.last_announced == "rollback.finished"


def test_what_is_under_way_ends_before_anything_is_undone():
    driver = Driver(a_step("a", LOOK, inverse=LOOK), a_step("b", LOOK, inverse=LOOK)).take(Begun(at=0))
    driver.end("a", FAILED)
    assert driver.performed == ["a", "b"]
    driver.end("b")
    assert driver.performed == ["a", "b", "b.undo"]


def test_only_a_retryable_outcome_is_tried_again_and_only_so_often():
    retry = {"attempts_max": 3}
    driver = Driver(*chain("a", "b", b=retry))
    driver.outcomes["b"] = [AGAIN, AGAIN, Outcome.done()]
    assert driver.run().performed == ["a", "b", "b", "b"]
    assert driver.state.status == "committed"

    driver = Driver(*chain("a", "b", b=retry))
    driver.outcomes["b"] = [AGAIN, AGAIN, AGAIN]
    assert driver.run().performed == ["a", "b", "b", "b", "b.undo", "a.undo"]

    driver = Driver(*chain("a", "b", b=retry))
    driver.outcomes["b"] = [FAILED]
    assert driver.run().performed == ["a", "b", "b.undo", "a.undo"]


def test_waits_between_attempts_grow():
    driver = Driver(*chain("a", a={"attempts_max": 3, "wait_seconds": 5})).take(Begun(at=0))
    driver.end("a", AGAIN)
    assert driver.state.next_deadline == (driver.at + 5, ("a", "do"))
    driver.pass_deadline().end("a", AGAIN)
    assert driver.state.next_deadline == (driver.at + 10, ("a", "do"))


def test_an_inverse_that_fails_once_is_tried_again():
    driver = Driver(*chain("a", "b"))
    driver.outcomes["b"] = [FAILED]
    driver.outcomes["a.undo"] = [FAILED]
    assert driver.run().performed == ["a", "b", "b.undo", "a.undo", "a.undo"]
    assert driver.state.status == "rolled_back"


def failed_inverse():
    driver = Driver(*chain("a", "b"))
    driver.outcomes["b"] = [FAILED]
    driver.outcomes["b.undo"] = [FAILED, FAILED]
    driver.run()
    assert (driver.state.status, driver.state.is_over) == ("rollback_failed", False)
    assert "inverse of b: no" in driver.state.reason
    return driver


def test_an_inverse_that_fails_twice_waits_for_a_person_who_has_it_tried_again():
    driver = failed_inverse().ask("retry").run()
    assert driver.performed == ["a", "b", "b.undo", "b.undo", "b.undo", "a.undo"]
    assert driver.state.status == "rolled_back"


def test_an_inverse_may_be_waived_by_a_person_which_is_a_deviation():
    driver = failed_inverse().ask("waive").run()
    assert ("deviation.recorded", "b") in driver.announced
    assert driver.settled == [("b.undo", Result.WAIVED)]
    assert driver.performed[-1] == "a.undo"
    assert driver.state.status == "rolled_back"
    assert "inverse of b waived by ana" in driver.state.reason


def test_a_way_back_that_stands_is_left_to_another_plan_which_is_a_deviation_and_frees_the_system():
    driver = failed_inverse()
    performed = list(driver.performed)
    driver.ask("leave").run()
    assert driver.performed == performed, "nothing more is done, and nothing undone"
    assert (driver.state.status, driver.state.is_over) == ("cancelled", True)
    assert ("deviation.recorded", "") in driver.announced
    assert driver.state.reason.startswith("left as it stood, for ana")


def test_what_is_under_way_is_never_left():
    driver = Driver(*chain("a", "b"))
    driver.take(Begun(at=driver.at)).ask("leave")
    assert (driver.state.status, driver.last_announced) == ("running", "request.refused")
    assert driver.run().performed == ["a", "b"]
    assert driver.state.status == "committed"


def test_stop_leaves_everything_as_it_is_until_a_person_says_rollback():
    driver = Driver(*chain("a", "b", b={"on_failure": "stop"}))
    driver.outcomes["b"] = [FAILED]
    driver.run()
    assert (driver.state.status, driver.state.is_over) == ("failed", False)
    assert driver.performed == ["a", "b"]
    driver.ask("rollback").run()
    assert driver.performed == ["a", "b", "b.undo", "a.undo"]
    assert driver.state.status == "rolled_back"


def test_stop_with_nothing_to_undo_is_the_end():
    driver = Driver(a_step("a", LOOK, on_failure="stop"))
    driver.outcomes["a"] = [FAILED]
    driver.run()
    assert (driver.state.status, driver.state.is_over) == ("failed", True)


def test_a_failed_step_is_retried_when_a_person_says_so_and_the_run_goes_on():
    driver = Driver(*chain("a", "b", "c", b={"on_failure": "stop"}))
    driver.outcomes["b"] = [FAILED]
    driver.run().ask("retry").run()
    assert driver.performed == ["a", "b", "b", "c"]
    assert driver.state.status == "committed"


def unknown_step():
    driver = Driver(*chain("a", "b", "c")).take(Begun(at=0))
    driver.end("a").end("b", FAILED, unknown=True)
    assert driver.state.status == "failed"
    assert "nobody knows" in driver.state.reason
    assert not driver.waiting
    return driver


def test_an_unknown_outcome_stops_whatever_on_failure_says_and_is_never_blindly_retried():
    driver = unknown_step().ask("retry")
    assert driver.last_announced == "request.refused"
    assert driver.performed == ["a", "b"]


def test_a_person_found_it_applied():
    driver = unknown_step().ask("found_applied").run()
    assert driver.performed == ["a", "b", "c"]
    assert driver.state.status == "committed"


def test_a_person_found_it_absent_and_it_is_done_without_asking_the_world():
    driver = unknown_step()
    _, commands = driver.reducer.decide(
        driver.state, Requested(at=9, id=9, operation="found_absent", by="ana")
    )
    (perform,) = [command for command in commands if isinstance(command, Perform)]
    assert (perform.step, perform.settled_absent, perform.attempt) == ("b", True, 2)


def test_an_unknown_step_is_undone_like_a_done_one():
    driver = unknown_step().ask("rollback").run()
    assert driver.performed == ["a", "b", "b.undo", "a.undo"]


def test_an_unknown_inverse_waits_for_a_person():
    driver = Driver(*chain("a", "b"))
    driver.outcomes["b"] = [FAILED]
    driver.take(Begun(at=0)).end("a").end("b").end("b.undo", FAILED, unknown=True)
    assert driver.state.status == "rollback_failed"
    assert driver.ask("found_applied").run().performed[-1] == "a.undo"
    assert driver.state.status == "rolled_back"


def test_roll_back_after_commit_is_refused():
    driver = Driver(
        a_step("a", LOOK, inverse=LOOK),
        a_step("commit", Commit(side=Side.CLOUD), needs=("a",), point_of_no_return=True),
        a_step("closure", LOOK, needs=("commit",)),
    ).take(Begun(at=0))
    driver.end("a").end("commit")
    assert ("point_of_no_return.passed", "commit") in driver.announced
    driver.ask("rollback")
    assert driver.last_announced == "request.refused"
    driver.end("closure")
    assert driver.state.status == "committed"


def test_a_failure_after_commit_undoes_nothing():
    driver = Driver(
        a_step("a", LOOK, inverse=LOOK),
        a_step("commit", Commit(side=Side.CLOUD), needs=("a",)),
        a_step("closure", LOOK, needs=("commit",)),
    )
    driver.outcomes["closure"] = [FAILED]
    assert driver.run().performed == ["a", "commit", "closure"]
    assert (driver.state.status, driver.state.is_over) == ("failed", True)


def test_beyond_the_point_of_no_return_nothing_is_undone_by_itself_but_on_request():
    driver = Driver(*chain("a", "b", "c", b={"point_of_no_return": True}))
    driver.outcomes["c"] = [FAILED]
    driver.run()
    assert driver.state.status == "failed"
    assert driver.ask("rollback").run().performed[3:] == ["c.undo", "b.undo", "a.undo"]


def gated(expected):
    criterion = Criterion(id="same", step="verify", observed="equal", expected=expected)
    return Driver(
        a_step("verify", LOOK, inverse=LOOK),
        a_step("switch", LOOK, needs=("verify",), gate=Gate(id="G5", criteria=(criterion,)), inverse=LOOK),
    )


def test_an_open_gate_lets_the_step_begin():
    driver = gated(True)
    driver.outcomes["verify"] = [Outcome.done(equal=True)]
    assert driver.run().performed == ["verify", "switch"]
    assert ("gate.passed", "switch") in driver.announced


def test_a_closed_gate_fails_its_step_which_never_began_and_is_not_undone():
    driver = gated(True)
    driver.outcomes["verify"] = [Outcome.done(equal=False)]
    assert driver.run().performed == ["verify", "verify.undo"]
    assert ("gate.closed", "switch") in driver.announced
    assert driver.settled == [("switch", Result.FAILED)]
    assert "same: verify.equal is False" in driver.state.reason


@pytest.mark.parametrize(
    ("operation", "status"), [("confirm", "committed"), ("reject", "rolled_back")]
)
def test_a_person_answers(operation, status):
    driver = Driver(*chain("a"), a_step("go", Decision(question="Go?"), needs=("a",))).run()
    assert driver.state.status == "running"
    driver.ask(operation, "go").run()
    assert driver.state.status == status


def test_nobody_answers_in_time():
    driver = Driver(*chain("a"), a_step("go", Approval(), needs=("a",), timeout=60)).run()
    assert driver.state.next_deadline == (driver.at + 60, ("go", "do"))
    driver.pass_deadline().run()
    assert driver.settled == [("go", Result.TIMED_OUT)]
    assert driver.state.status == "rolled_back"


def test_time_passes():
    driver = Driver(a_step("soak", Wait(seconds=30))).take(Begun(at=0))
    assert driver.state.next_deadline == (30.0, ("soak", "do"))
    driver.take(DeadlineReached(at=29, step="soak", mode="do"))
    assert driver.state.status == "running"
    assert driver.pass_deadline().state.status == "committed"


def test_pause_lets_what_is_under_way_end_and_resume_goes_on():
    driver = Driver(*chain("a", "b")).take(Begun(at=0)).ask("pause")
    assert driver.state.status == "running"
    driver.end("a")
    assert (driver.state.status, driver.performed) == ("paused", ["a"])
    driver.ask("resume").run()
    assert driver.state.status == "committed"


def test_a_run_pauses_before_a_step_and_whatever_does_not_need_it_goes_on():
    driver = Driver(*chain("a", "b", "c"), a_step("beside", LOOK)).take(Begun(at=0)).ask("pause", "b").run()
    assert sorted(driver.performed) == ["a", "beside"]
    assert driver.state.status == "paused"
    driver.ask("resume").run()
    assert driver.performed[-2:] == ["b", "c"]
    assert driver.state.status == "committed"


def test_a_pause_before_a_step_that_has_begun_is_refused():
    driver = Driver(*chain("a", "b")).take(Begun(at=0)).ask("pause", "a").run()
    assert ("request.refused", "a") in driver.announced
    assert driver.state.status == "committed"


def test_one_word_lets_a_paused_run_go_on_and_says_how_far():
    driver = Driver(*chain("a", "b", "c", "d")).take(Begun(at=0)).ask("pause", "b").run()
    driver.ask("resume", "d").run()
    assert driver.performed == ["a", "b", "c"]
    assert driver.state.status == "paused"
    driver.ask("resume", "a d")  # what has begun is no place to stop at
    assert driver.run().performed == ["a", "b", "c"]
    driver.ask("resume").run()
    assert driver.state.status == "committed"


def test_going_on_as_far_as_a_step_that_is_not_there_is_refused():
    driver = Driver(*chain("a", "b")).take(Begun(at=0)).ask("pause", "b").run()
    driver.ask("resume", "no_such").run()
    assert driver.state.status == "paused"


def test_a_pause_may_name_several_steps():
    driver = Driver(*chain("a", "b"), *chain("c", "d")).take(Begun(at=0)).ask("pause", "b d").run()
    assert sorted(driver.performed) == ["a", "c"]
    assert driver.state.status == "paused"


def test_a_paused_run_is_rolled_back_when_asked():
    driver = Driver(*chain("a", "b")).take(Begun(at=0)).ask("pause").end("a").ask("rollback").run()
    assert driver.performed == ["a", "a.undo"]
    assert driver.state.status == "rolled_back"


def test_cancel_before_anything_was_done_ends_cancelled():
    driver = Driver(a_step("soak", Wait(seconds=30))).take(Begun(at=0)).ask("cancel")
    assert (driver.state.status, driver.state.is_over) == ("cancelled", True)
    assert driver.settled == [("soak", Result.NOT_RUN)]


def test_cancel_after_something_was_done_undoes_it():
    driver = Driver(*chain("a", "b")).take(Begun(at=0)).end("a").ask("cancel").run()
    assert driver.performed == ["a", "b", "b.undo", "a.undo"]


def test_a_request_delivered_twice_counts_once():
    driver = Driver(*chain("a", "b")).take(Begun(at=0))
    request = Requested(at=1, id=7, operation="pause", by="ana")
    driver.take(request).take(Requested(at=2, id=8, operation="resume", by="ana")).take(request)
    assert not driver.state.paused


def test_an_end_that_comes_late_changes_nothing():
    driver = Driver(*chain("a")).run()
    before = driver.state
    driver.take(DeedEnded(at=9, step="a", mode="do", outcome=FAILED))
    assert driver.state == before


# -- deadlines


def with_a_deadline():
    commit = a_step("commit", Commit(side=Side.CLOUD), needs=("watch",), on_failure="stop", point_of_no_return=True)
    return Driver(
        a_step("switch", LOOK, inverse=LOOK),
        a_step("watch", LOOK, needs=("switch",)),
        commit.model_copy(update={"not_later_than": Deadline(after="switch", seconds=100)}),
    )


def test_a_commit_that_does_not_come_in_time_brings_everything_back():
    driver = with_a_deadline().take(Begun(at=0.0)).end("switch")
    assert driver.state.next_deadline == (101.0, ("commit", "do"))
    driver.at = 101.0
    driver.take(DeadlineReached(at=101.0, step="commit", mode="do"))
    assert driver.state.status == "running", "what is under way ends first"
    driver.end("watch").run()
    assert driver.state.status == "rolled_back"
    assert "commit: not passed within 100 s after switch" in driver.state.reason
    assert ("deadline.passed", "commit") in driver.announced
    assert driver.performed[-1] == "switch.undo"


def test_a_pause_does_not_hold_the_deadline_up():
    driver = with_a_deadline().take(Begun(at=0.0)).end("switch")
    driver.take(Requested(at=2.0, id=1, operation="pause", step="commit", by="ana", reason="look first"))
    driver.end("watch")
    assert driver.state.status == "paused"
    driver.take(DeadlineReached(at=101.0, step="commit", mode="do")).run()
    assert driver.state.status == "rolled_back"


def test_a_commit_under_way_at_the_deadline_stands():
    driver = with_a_deadline().take(Begun(at=0.0)).end("switch").end("watch")
    driver.take(DeadlineReached(at=101.0, step="commit", mode="do")).end("commit")
    assert driver.state.status == "committed"
    assert driver.state.next_deadline is None


def test_where_a_person_must_decide_already_the_deadline_decides_nothing():
    driver = with_a_deadline().take(Begun(at=0.0)).end("switch")
    driver.end("watch", unknown=True)
    assert driver.state.status == "failed"
    assert driver.state.next_deadline is None
    driver.take(Requested(at=200.0, id=1, operation="found_applied", by="ana", reason="it did"))
    assert driver.state.next_deadline == (101.0, ("commit", "do")), "it went on, and is late at once"
