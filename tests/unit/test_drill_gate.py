"""Drills as the gate of waves, what steps took before, and the trend of drills."""

from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest

from orchestrator.cli.drill_plot import show_trends
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import ApprovalMissing, GateClosed, RunInProgress
from orchestrator.model.drill import Fire, Injected
from orchestrator.model.plan import Plan
from orchestrator.operations.drill_trend import picture
from orchestrator.operations.durations import durations_of, p90
from orchestrator.operations.standing import when_free
from orchestrator.operations.wave import run_wave
from orchestrator.operations.wave_status import readiness, wave_status
from orchestrator.operations.wave_words import decide
from orchestrator.steps.drill_measures import trend_of
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.surveys import healthy
from tests.fakes.wave_desk import approved_plan, wave_desk_fixtures, waves_of
from tests.unit.test_drills import RUNBOOKS

GATED = """\
waves:
  gates:
    G3:
      criteria:
        - {id: drilled, step: drill, observed: result, comparison: equal, expected: passed}
        - {id: fresh, step: drill, observed: age_seconds, comparison: at_most, expected: 86400}
        - {id: injects, step: drill, observed: injects_found, comparison: at_least, expected: 1}
  order:
    - {wave: pilot, systems: [s0, s1], entry: [G3]}
"""


keys, estate, desk = wave_desk_fixtures(2)


@pytest.fixture
def waves(desk, estate, keys):
    found = waves_of(GATED, estate)
    approved_plan(desk, found, "pilot", keys)
    return found


def drilled(desk, system, *, state="passed", hours_ago=1.0, found="named", changed=None) -> None:
    """A scheduled drill of `system` that came to `state`, by a plan of its own."""
    plan = desk.make_plan(
        RUNBOOKS / "drill.yml", wave=f"drill-{system}", author="ben", facts=healthy(desk.inventory), systems=(system,)
    )
    if changed:
        planned = plan.systems[0].model_copy(update={"system": plan.systems[0].system.model_copy(update=changed)})
        plan = Plan.model_validate(plan.model_copy(update={"systems": (planned,)}).model_dump(mode="json"))
        desk.catalogue.put("plan", plan.digest, plan.model_dump(mode="json"))
    at = timestamp(desk.clock.now() - timedelta(hours=hours_ago))
    injected = (Injected(system=system, inject="slow_disk", drill="d1", found=found),)
    fire = Fire(drill=system, due=at, start=at, state=state, plan=plan.digest, finished_at=at, injected=injected)
    desk.catalogue.put("drill_fire", fire.id, fire.model_dump(mode="json"))


def go(desk, waves, keys):
    by = {"person": "ana", "role": "system-owner", "key_file": str(keys / "ana")}
    return decide(desk, waves, "pilot", "G3", **by, decision="go", said={})


def why_closed(desk, waves) -> str:
    [gate] = wave_status(desk, waves, "pilot").gates
    assert not gate.open
    return gate.verdict.message


def test_a_wave_whose_systems_were_drilled_begins(desk, waves, keys):
    drilled(desk, "s0")
    drilled(desk, "s1", hours_ago=2)
    go(desk, waves, keys)
    status = run_wave(desk, waves, "pilot", operator="ben")
    assert status.gates[0].open
    assert (status.drill["result"], status.drill["systems"], status.drill["passed"]) == ("passed", 2, 2)
    assert 7200 <= status.drill["age_seconds"] < 7300


def test_a_system_that_was_never_drilled_keeps_the_wave_shut(desk, waves, keys):
    drilled(desk, "s0")
    assert "drilled: drill.result is 'never'" in why_closed(desk, waves)
    assert "fresh: drill.age_seconds was not observed" in why_closed(desk, waves)
    with pytest.raises(ApprovalMissing, match="gate G3 is closed"):
        run_wave(desk, waves, "pilot", operator="ben")


@pytest.mark.parametrize(
    ("drill", "said"),
    [
        ({"state": "failed"}, "drilled: drill.result is 'failed', expected equal 'passed'"),
        ({"hours_ago": 25}, "fresh: drill.age_seconds is 900"),
        ({"found": ""}, "injects: drill.injects_found is 0, expected at least 1"),
        ({"changed": {"title": "another"}}, "drilled: drill.result is 'changed'"),
    ],
)
def test_a_drill_that_failed_is_old_found_nothing_or_was_of_something_else_shuts_it(desk, waves, keys, drill, said):
    drilled(desk, "s0")
    drilled(desk, "s1", **drill)
    assert said in why_closed(desk, waves)
    go(desk, waves, keys)
    with pytest.raises((ApprovalMissing, GateClosed), match="gate G3 is closed"):
        run_wave(desk, waves, "pilot", operator="ben")


def test_the_newest_drill_counts_whatever_an_older_one_was(desk, waves, keys):
    drilled(desk, "s0")
    drilled(desk, "s1", hours_ago=5)
    drilled(desk, "s1", hours_ago=1, state="failed")
    assert "is 'failed'" in why_closed(desk, waves)


def test_steps_of_runs_before_say_what_a_plan_is_to_be_expected_to_take(desk, waves, keys):
    plan = approved_plan(desk, waves, "pilot", keys)
    assert [each.measured for each in durations_of(plan, desk.runs)] == [0, 0]
    drilled(desk, "s0")
    drilled(desk, "s1")
    go(desk, waves, keys)
    run_wave(desk, waves, "pilot", operator="ben")
    ready, durations = readiness(desk, waves, "pilot")
    assert ready["result"] == "passed"
    for each in durations:
        assert each.measured > 0
        assert each.p50_seconds == each.p90_seconds == each.last_seconds >= 0
        assert (each.runs, each.variance_percent) == (1, 0.0)


def test_p90_is_the_least_that_nine_of_ten_do_not_exceed():
    assert p90([1.0]) == 1.0
    assert p90([float(each) for each in range(1, 11)]) == 9.0
    assert p90([5.0, 1.0]) == 5.0


def measured(number: int, seconds: float, *, inject: str | None = None) -> dict:
    return {
        "id": f"d{number}",
        "begun_at": f"2026-11-{number:02d}T02:30:00.000Z",
        "passed": seconds <= 60,
        "inject": inject,
        "verdicts": [
            {"objective": "RTO", "target_seconds": 60.0, "actual_seconds": seconds, "met": seconds <= 60},
            {"objective": "RPO", "target_seconds": 60.0, "actual_seconds": 3.0, "met": True},
        ],
    }


def test_the_trend_leaves_out_what_was_broken_on_purpose(tmp_path, capsys):
    catalogue = MemoryCatalogue()
    for each in (measured(3, 90.0), measured(1, 10.0), measured(2, 5.0, inject="slow_disk")):
        catalogue.put("drill_result", f"filing/{each['id']}", each)
    trend = trend_of(catalogue, "filing")
    assert [(each.drill, each.passed) for each in trend] == [("d1", True), ("d3", False)]
    drawn = ET.fromstring(picture("filing", "RTO", trend))
    dots = [each.get("fill") for each in drawn.iter("{http://www.w3.org/2000/svg}circle")]
    assert dots == ["#1f6feb", "#b3261e"]
    show_trends({"filing": trend}, svg=str(tmp_path / "trend.svg"), as_json=False)
    said = capsys.readouterr().out
    assert "missed" in said
    assert "1 min 30 s" in said
    assert (tmp_path / "trend-filing-rto.svg").read_text() == picture("filing", "RTO", trend)


def test_a_drill_that_meets_a_system_on_its_way_waits_until_it_is_there(desk, estate, keys):
    found = waves_of("waves:\n  order:\n    - {wave: pilot, systems: [s0]}\n", estate)
    approved_plan(desk, found, "pilot", keys)
    desk.interrupted_when = lambda status: any(row.step == "drain" for row in status.systems[0].steps)
    with pytest.raises(KeyboardInterrupt):
        run_wave(desk, found, "pilot", operator="ben")
    with pytest.raises(RunInProgress, match="is moving s0"), when_free(desk, 0.0, unmoved=["s0"]):
        pass
    with when_free(desk, 0.0, unmoved=["s1"]):
        pass
    desk.interrupted_when = lambda _status: False
    run_wave(desk, found, "pilot", operator="ben")
    with when_free(desk, 0.0, unmoved=["s0"]):
        pass
