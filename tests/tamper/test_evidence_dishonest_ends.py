"""Runs told by whoever holds the log's keys, whose ends, objectives, gates and phases say more than was done."""

import json

import pytest

from orchestrator.evidence.export import collect
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from tests.fakes.staged_run import StagedRun, trust_policy


@pytest.fixture
def told(tmp_path, people_keys):
    """What fails of a run told with a tweak, by a policy that asks for approvals alone."""

    def tell(tweak):
        staged = StagedRun(tmp_path / "ledger", people_keys, tweak=tweak).go()
        policy = json.loads(trust_policy(tmp_path / "ledger", people_keys))
        del policy["rules"]["review"]
        content = json.dumps(policy).encode()
        report = BundleReport("staged")
        core = collect(tmp_path / "ledger", staged.run, policy=content)
        judge_bundle(core, parse_trust_policy(content, "policy"), report)
        return [each.text for each in report.findings.failed if each.group not in ("FILES", "READING COPIES")]

    return tell


def on(kind, change, subject=""):
    return lambda told, where, data: change(data) if told == kind and where.startswith(subject) else data


def test_an_honest_run_passes(told):
    assert told(None) == []


def without(name):
    return lambda data: {key: value for key, value in data.items() if key != name}


ENDS = {
    "no system named, and all is well": (lambda data: {"result": "passed"}, "its systems say otherwise"),
    "the one that failed is not named": (
        lambda data: {"result": "passed", "systems": {"filing": {"state": "committed"}}},
        "other systems than were planned",
    ),
    "one is named that nobody planned": (
        lambda data: data | {"systems": data["systems"] | {"ghost": {"state": "stopped"}}},
        "other systems than were planned",
    ),
    "a result that is none": (lambda data: data | {"result": "as expected"}, "its systems say otherwise"),
    "no result": (without("result"), "its systems say otherwise"),
}


@pytest.mark.parametrize(("change", "problem"), ENDS.values(), ids=ENDS)
def test_an_end_that_says_more_than_was_done(told, change, problem):
    assert any(problem in text for text in told(on("run.finished", change)))


def test_a_large_wave_may_leave_its_systems_unnamed_at_its_end(told):
    assert told(on("run.finished", without("systems"))) == []


def only_the_rpo(kind, where, data):
    return None if kind == "objective.measured" and data["objective"] == "rto" else data


def outage_of_another_phase(kind, where, data):
    """With it, nothing says when clients lost the service, and any time claimed would do."""
    if kind == "step.started" and data["phase"] == "quiesce":
        return data | {"phase": "prepare"}
    return data | {"achieved_seconds": 0.1} if data.get("objective") == "rto" else data


OTHERS = {
    "an objective that was missed is left out": (only_the_rpo, "were not measured: RTO"),
    "an outage below zero": (
        on("objective.measured", lambda data: data | {"achieved_seconds": -60.0}),
        "is below zero",
    ),
    "steps told of another phase": (outage_of_another_phase, "in the plan it is 'quiesce'"),
    "another wave": (on("run.created", lambda data: data | {"wave": "wave-9"}), "another wave"),
    "a gate judged by another criterion": (
        on("gate.passed", lambda data: data | {"criteria": [{"id": "weather", "passed": True}]}),
        "without its gate G5 passed",
    ),
    "another gate": (on("gate.passed", lambda data: data | {"gate": "G9"}), "without its gate G5 passed"),
}


@pytest.mark.parametrize(("tweak", "problem"), OTHERS.values(), ids=OTHERS)
def test_a_run_that_is_told_better_than_it_was(told, tweak, problem):
    assert any(problem in text for text in told(tweak))
