"""What people are told, and may say, about drills: the question, who may answer it, and the report."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli.live import LiveRun
from orchestrator.foundation.errors import GateClosed, UsageError
from orchestrator.model.event import RunEvent
from orchestrator.model.plan import Plan
from orchestrator.model.system import BubbleRules
from orchestrator.operations.drill_asked import await_turn
from orchestrator.operations.drill_views import last_run_of
from orchestrator.operations.plan import read_runbook
from orchestrator.operations.status import ask_run
from orchestrator.wiring.state import open_kept
from tests.fakes.drivers import SYSTEM, the_plan

DRILL = read_runbook(Path(__file__).parents[2] / "runbooks" / "drill.yml")


@pytest.fixture
def plan() -> Plan:
    made = the_plan(SYSTEM)
    return made.model_copy(update={"systems": (made.systems[0].model_copy(update={"steps": DRILL.steps}),)})


@pytest.fixture
def kept(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path))
    with open_kept() as (runs, catalogue):
        catalogue.put("plan", plan.digest, plan.model_dump(mode="json"))
        runs.submit("r1", plan, kind="drill", operator="ben")
    return plan


def test_whoever_runs_a_drill_does_not_judge_it(kept):
    for step in ("passed", ""):
        with pytest.raises(GateClosed, match="ben runs the drill r1, and whoever runs a drill does not judge it"):
            ask_run("r1", "", "confirm", by="ben", reason="mine", step=step)
    with open_kept() as (runs, _):
        assert runs.status("r1").requests_open == 0


def test_who_may_not_enter_a_bubble_begins_no_run_of_a_drill(plan):
    planned = plan.systems[0]
    closed = planned.system.model_copy(update={"bubble": BubbleRules(may_enter=("ana",))})
    kept = plan.model_copy(update={"systems": (planned.model_copy(update={"system": closed}),)})
    with pytest.raises(GateClosed, match=f"ben may not enter a bubble of {closed.name}"):
        await_turn(kept, operator="ben", wait_seconds=0.0, show=lambda _: None)


def test_the_report_is_that_of_the_newest_drill_of_its_name(kept):
    assert last_run_of(kept.wave) == "r1"
    with pytest.raises(UsageError, match="nobody has drilled archive by a runbook"):
        last_run_of("archive")


def test_who_watches_is_told_what_is_asked_and_how_to_answer(plan):
    said = io.StringIO()
    live = LiveRun(Console(file=said, width=300))
    live.expect(plan)
    name = plan.systems[0].system.name
    live.notice(RunEvent(type="step.started", run="r1", system=name, step="passed", at="2026-11-22T00:00:00Z", data={}))
    assert "Has the drill shown that this system can be recovered from DR?" in said.getvalue()
    assert f"skerry runs ask confirm r1 --system {name} --step passed --as PERSON" in said.getvalue()
