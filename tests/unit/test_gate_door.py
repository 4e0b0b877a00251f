"""The door round a gate of a run: only by name and for a reason, told with what was not met, and shown from then on."""

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.contracts.engine import RunStatus, StepStatus, SystemStatus
from orchestrator.engine.turns import Announce, Begun, DeedEnded, Requested, SetState
from orchestrator.evidence.gate_doors import went_round
from orchestrator.foundation.errors import UsageError
from orchestrator.model.outcome import Outcome
from orchestrator.model.step import Criterion, Gate
from orchestrator.operations.gates import gates_of
from orchestrator.operations.migrate import run_plan
from tests.fakes.drivers import the_plan
from tests.fakes.plans import a_plan, a_step
from tests.unit.test_reducer import LOOK, Driver

GATE = Gate(id="G5", criteria=(Criterion(id="equal", step="look", observed="equal", expected=True),))


def a_gated_run(**values):
    look = a_step("look", LOOK, inverse=LOOK)
    return Driver(look, a_step("switch", LOOK, needs=("look",), gate=GATE, inverse=LOOK, **values))


def asked(gate="G5", reason="the digest tool is broken; compared by hand"):
    return Requested(at=1, id=1, operation="skip_gate", step=gate, by="ana", reason=reason)


def test_a_closed_gate_is_gone_round_and_told_with_what_was_not_met():
    driver = a_gated_run().take(Begun(at=0)).take(asked())
    ended = DeedEnded(at=2, step="look", mode="do", outcome=Outcome.done(equal=False))
    _, commands = driver.reducer.decide(driver.state, ended)
    (told,) = [each for each in commands if isinstance(each, Announce)]
    assert (told.type, told.step) == ("gate.skipped", "switch")
    assert (told.data["by"], told.data["gate"], told.data["passed"]) == ("ana", "G5 of switch", False)
    assert told.data["because"] == "the digest tool is broken; compared by hand"
    assert [(each["id"], each["observed"], each["passed"]) for each in told.data["criteria"]] == [
        ("equal", False, False)
    ]
    (shown,) = [each for each in commands if isinstance(each, SetState)]
    assert shown.reason == "gate G5 of switch was skipped by ana: the digest tool is broken; compared by hand"


def test_what_was_gone_round_shows_to_the_end():
    driver = a_gated_run().take(Begun(at=0)).take(asked())
    driver.end("look", Outcome.done(equal=False))
    switched = DeedEnded(at=9, step="switch", mode="do", outcome=Outcome.done())
    after, commands = driver.reducer.decide(driver.state, switched)
    assert after.status == "committed"
    (shown,) = [each for each in commands if isinstance(each, SetState)]
    assert "gate G5 of switch was skipped by ana" in shown.reason


def test_a_gate_that_is_open_is_passed_though_a_door_was_asked_for():
    driver = a_gated_run().take(Begun(at=0)).take(asked())
    driver.end("look", Outcome.done(equal=True))
    assert driver.last_announced == "gate.passed"
    assert driver.state.gone_round == ()


@pytest.mark.parametrize(
    ("request_", "because"), [(asked(gate="G6"), "no gate G6"), (asked(reason=" "), "for a reason only")]
)
def test_no_door_without_its_gate_and_a_reason(request_, because):
    driver = a_gated_run().take(Begun(at=0))
    after, commands = driver.reducer.decide(driver.state, request_)
    (refused,) = [each for each in commands if isinstance(each, Announce)]
    assert refused.type == "request.refused"
    assert because in refused.data["because"]
    assert after.doors == {}


def test_a_step_that_stood_before_its_gate_goes_on_by_the_door_once_it_is_tried_again():
    driver = a_gated_run(on_failure="stop").take(Begun(at=0))
    driver.end("look", Outcome.done(equal=False))
    assert driver.state.status == "failed"
    driver.take(asked())
    driver.requests = 1
    driver.ask("retry", "switch")
    assert driver.last_announced == "gate.skipped"
    assert driver.run().state.status == "committed"


class AskedRuns:
    """Runs that note what is asked of them, and a worker that carries nothing."""

    def __init__(self):
        self.asked = []

    def list(self, **_):
        return []

    def submit(self, run, plan, *, pause_before, **_):
        self.asked.append(("submit", " ".join(pause_before)))

    def request(self, run, system, operation, *, by, reason, step):
        self.asked.append((operation, step))

    def start(self): ...

    def stop(self): ...

    def await_finished(self, run, **_):
        return RunStatus(
            run=run, plan="", wave="w", kind="migrate", operator="bo", state="finished", created_at=""
        )


def test_no_worker_comes_to_the_gate_before_it_knows_of_the_door():
    runs: Any = AskedRuns()
    skip = {"G5": "compared by hand"}
    run_plan(the_plan(), operator="bo", kind="migrate", runs=runs, worker=runs, allowed=lambda *_: None, skip=skip)
    assert runs.asked == [("submit", "switch_front"), ("skip_gate", "G5"), ("resume", "")]


@pytest.mark.parametrize(
    ("reason", "begun", "state"),
    [
        ("gate G5 of switch was skipped by ana: compared by hand", "done", "skipped"),
        ("gate G5 of switch was skipped by ana: compared by hand", "failed", "skipped"),
        ("", "failed", "closed"),
    ],
)
def test_a_gate_that_was_gone_round_is_shown_as_skipped_and_never_as_open(reason, begun, state):
    plan = a_plan((a_step("look", LOOK), a_step("switch", LOOK, needs=("look",), gate=GATE)))
    rows = (
        StepStatus(system="filing", step="look", mode="do", state="done", observed={"equal": False}),
        StepStatus(system="filing", step="switch", mode="do", state=begun),
    )
    system = SystemStatus(system="filing", state="committed", reason=reason, steps=rows)
    told = {"plan": plan.digest, "wave": "w", "kind": "migrate", "operator": "bo", "created_at": ""}
    run = RunStatus(run="r", state="finished", systems=(system,), **told)
    runs = SimpleNamespace(list=lambda **_: [run], status=lambda _: run)
    desk: Any = SimpleNamespace(runs=runs)
    found = next(row for row in gates_of(desk, plan) if row.gate == "G5")
    assert (found.state, [each.passed for each in found.criteria]) == (state, [False])
    assert ("skipped by ana: compared by hand" in found.why) is (state == "skipped")


@pytest.mark.parametrize(
    ("skip", "words"), [({"G7": "why not"}, r"the plan has no gate G7 \(there are: G5, G6\)"), ({"G5": ""}, "say why")]
)
def test_nothing_begins_with_a_door_that_is_none(skip, words):
    runs: Any = AskedRuns()
    with pytest.raises(UsageError, match=words):
        run_plan(the_plan(), operator="bo", kind="migrate", runs=runs, worker=runs, allowed=print, skip=skip)
    assert runs.asked == []


@pytest.mark.parametrize(
    ("changed", "counts"),
    [({}, True), ({"index": 8}, False), ({"step": "look"}, False), ({"because": ""}, False), ({"gate": "G6"}, False)],
)
def test_evidence_takes_a_door_only_where_it_was_told_before_the_step_by_whom_and_why(changed, counts):
    told = {"index": 4, "step": "switch", "gate": "G5", "by": "ana", "because": "compared by hand"} | changed
    data = {"gate": f"{told['gate']} of switch", "by": told["by"], "because": told["because"]}
    event = SimpleNamespace(index=told["index"], step=told["step"], data=data)
    system: Any = SimpleNamespace(of=lambda kind: [event] if kind == "gate.skipped" else [])
    attempt: Any = SimpleNamespace(step="switch", started=SimpleNamespace(index=7))
    assert went_round(system, attempt, "G5") is counts
