"""Who was there when a drill was carried out: signed by their own keys, over just that run."""

import pytest

from orchestrator.evidence.export import collect
from orchestrator.evidence.reading.after_action import after_action
from orchestrator.evidence.reading.material import open_material
from orchestrator.evidence.review import record_attendance
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from tests.fakes.staged_run import StagedRun, trust_policy

RULE = {"attendance": {"threshold": 1, "roles": ["auditor"], "distinctFrom": ["operator"]}}


@pytest.fixture
def staged(tmp_path, people_keys):
    return StagedRun(tmp_path / "ledger", people_keys).go()


def attend(staged, *, key_of: str = "carla") -> None:
    key = str(staged.keys / key_of)
    record_attendance(
        staged.ledger,
        staged.run,
        person="carla",
        role="auditor",
        key_file=key,
        announced=False,
        saw="the bubble served",
        clock=staged.clock,
    )


def section(staged) -> str:
    policy = trust_policy(staged.ledger, staged.keys)
    return after_action(open_material(collect(staged.ledger, staged.run, policy=policy)))


def failures(staged, **rules) -> list[str]:
    policy = trust_policy(staged.ledger, staged.keys, rules=rules)
    report = BundleReport("staged")
    judge_bundle(collect(staged.ledger, staged.run, policy=policy), parse_trust_policy(policy, "policy"), report)
    return [each.text for each in report.findings.failed if each.group not in ("FILES", "READING COPIES")]


def test_an_observer_who_signed_in_is_in_the_report_and_verifies(staged):
    assert failures(staged, **RULE) == ["0 signed an attendance, where the policy asks for 1"]
    attend(staged)
    assert failures(staged, **RULE) == []
    told = section(staged)
    assert "Who was there, by signature" in told
    assert "not announced" in told
    assert "the bubble served" in told


def test_nobody_signs_in_with_the_key_of_another(staged):
    attend(staged, key_of="ben")
    assert any("attendance by carla" in text for text in failures(staged, **RULE))


def test_a_report_without_attendance_is_as_it_was(staged):
    told = section(staged)
    assert "Who was there" not in told
