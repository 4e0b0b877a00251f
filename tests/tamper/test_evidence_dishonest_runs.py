"""Dishonest runs: told, logged and signed in the ordinary way, the log is whole, and the rules must still fail them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.evidence.export import collect
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from orchestrator.foundation.clock import timestamp
from tests.fakes.staged_run import StagedRun, digest, trust_policy

OTHER = "sha256:" + "00" * 32


def failures(tmp_path, keys, *, reviewer="carla", review_signed_by=None, **how):
    """What fails of a run told so, the files and reading copies of the bundle left out."""
    staged = StagedRun(tmp_path / "ledger", keys, **how).go()
    policy = trust_policy(tmp_path / "ledger", keys)
    entries = collect(tmp_path / "ledger", staged.run, policy=policy)["log/events.ndjson"].split(b"\n")[:-1]
    if reviewer:
        staged.review(run_digest(entries), by=reviewer, signed_by=review_signed_by)
    core = collect(tmp_path / "ledger", staged.run, policy=policy)
    report = BundleReport("staged")
    judge_bundle(core, parse_trust_policy(policy, "policy"), report)
    return [f.text for f in report.findings.failed if f.group not in ("FILES", "READING COPIES")]


def on(kind, change, *, subject=""):
    """A tweak of events of one kind (and subject); `change` returns the new data, None to drop the event."""

    def tweak(told, where, data):
        return change(data) if told == kind and where.startswith(subject) else data

    return tweak


def set_to(**members):
    return lambda data: data | members


def drop(data):
    return None


def test_an_honest_run_passes(tmp_path, people_keys):
    assert failures(tmp_path, people_keys) == []


def test_a_rollback_is_judged_by_the_plan_whichever_of_two_steps_beside_each_other_ended_first(tmp_path, people_keys):
    assert failures(tmp_path, people_keys, jobs_stop_first=True) == []


def first_rollback_step_left_out(told, where, data):
    return None if where.startswith("archive/switch_front") and data.get("mode") == "undo" else data


def sides(**changed):
    same = {"digest": digest(b"x"), "algorithm": "tree/v1"}
    return {side: same | changed.get(side, {}) for side in ("source", "dr", "cloud")}


DISHONEST = {
    "another plan ran than approved": (on("run.created", set_to(plan=OTHER)), "not the one that the run names"),
    "another operator ran it than was said": (on("run.started", set_to(operator="eve")), "another plan or operator"),
    "no plan on record": (on("run.created", lambda data: data | {"planArtifact": {}}), "the plan is not on record"),
    "another playbook ran": (on("playbook.finished", set_to(digest=OTHER)), "another drain ran than was approved"),
    "another program ran": (on("program.finished", set_to(digest=OTHER)), "another check ran than was approved"),
    "a file on record is not the approved one": (
        on(
            "runbook.registered",
            lambda data: (
                data | {"files": data["files"] | {"playbooks/drain.yml": data["files"]["playbooks/start.yml"]}}
            ),
        ),
        "another content than approved",
    ),
    "a step left out": (
        lambda told, where, data: None if where.startswith("filing/verify_digests") else data,
        "before verify_digests had passed",
    ),
    "a step started before those it needs": (
        lambda told, where, data: (
            data | {"_subject": "filing/move_authority/1", "action": {"verb": "move_authority"}}
            if told == "step.started" and where == "filing/drain/1"
            else data
        ),
        "started before",
    ),
    "a step did something else": (
        on("step.started", set_to(action={"verb": "wait", "seconds": 1}), subject="filing/verify_digests"),
        "did something else than its action",
    ),
    "a gate was never judged": (on("gate.passed", drop), "without its gate G5"),
    "a gate passed with a failed criterion": (
        on("gate.passed", set_to(criteria=[{"id": "equal", "passed": False}])),
        "without its gate G5",
    ),
    "more attempts than the plan allows": (
        lambda told, where, data: (
            data | {"_subject": "filing/replicate_to_dr/5"} if where == "filing/replicate_to_dr/2" else data
        ),
        "attempt 5, where the plan allows 2",
    ),
    "a failed step hushed up": (
        lambda told, where, data: None if told in ("rollback.started", "system.changed") else data,
        "nothing followed from it",
    ),
    "a rollback that left a step undone": (first_rollback_step_left_out, "undone were"),
    "an undo in the wrong order": (
        lambda told, where, data: (
            data
            | {
                "_subject": {"archive/drain/1": "archive/switch_front/1", "archive/switch_front/1": "archive/drain/1"}[
                    where
                ]
            }
            if data.get("mode") == "undo" and where in ("archive/drain/1", "archive/switch_front/1")
            else data
        ),
        "undone were",
    ),
    "different digests called equal": (
        on("digests.compared", set_to(sides=sides(cloud={"digest": OTHER}))),
        "does not follow from the digests",
    ),
    "a dataset never compared": (
        lambda told, where, data: None if told == "digests.compared" and data["dataset"] == "register" else data,
        "before register was proved equal everywhere",
    ),
    "one site's word taken for all": (
        on("digests.compared", lambda data: data | {"sides": {"source": data["sides"]["source"]}}),
        "proved equal everywhere",
    ),
    "authority moved with the same number": (on("authority.moved", set_to(number=2)), "did not move on"),
    "authority moved without stopping the old side": (on("authority.moved", set_to(confirmed={})), "not confirmed"),
    "an RTO better than the events say": (
        on(
            "objective.measured",
            lambda data: data | ({"achieved_seconds": 0.4} if data["objective"] == "rto" else {}),
        ),
        "the log says",
    ),
    "an RTO called met that was not": (
        on(
            "objective.measured",
            lambda data: data | ({"target_seconds": 1.0} if data["objective"] == "rto" else {}),
        ),
        "the plan says 120.0",
    ),
    "objectives not measured": (on("objective.measured", drop), "were not measured"),
    "a rolled-back system called committed": (
        on("run.finished", set_to(systems={"filing": {"state": "committed"}, "archive": {"state": "committed"}})),
        "archive is said to be committed",
    ),
    "a run that failed called passed": (on("run.finished", set_to(result="passed")), "its systems say otherwise"),
    "clients left at the wrong side": (
        lambda told, where, data: (
            data | {"side": "cloud"} if told == "front.switched" and data["side"] == "source" else data
        ),
        "clients were last sent to the cloud",
    ),
    "events of a playbook left out": (
        lambda told, where, data: None if told == "ansible.event" and data["counter"] == 2 else data,
        "are missing, or out of order",
    ),
    "a foreign step": (
        on("step.started", lambda data: data | {"_subject": "filing/quick_fix/1"}, subject="filing/preflight"),
        "is not a step of the plan",
    ),
    "a foreign system": (
        lambda told, where, data: data | {"_subject": "payroll/commit/1"} if told == "system.committed" else data,
        "a system that the plan does not know",
    ),
    "a run without an end": (on("run.finished", drop), "no end on record"),
    "no approval on record": (on("approval.granted", drop), "0 valid approvals, where 1"),
}


@pytest.mark.parametrize("name", DISHONEST)
def test_a_dishonest_run_fails(tmp_path, people_keys, name):
    tweak, problem = DISHONEST[name]
    found = failures(tmp_path, people_keys, tweak=tweak, reviewer=None if "end" in name else "carla")
    assert any(problem in text for text in found), found


def statement(**changes):
    return lambda said: said.model_copy(update=changes)


long_ago = timestamp(datetime.now(UTC) - timedelta(days=9))
DISHONEST_PEOPLE: dict[str, tuple[dict[str, Any], str]] = {
    "the operator approved": ({"approvers": ("dana",)}, "does not hold the role"),
    "the author approved": ({"approvers": ("ben",)}, "separation of duties: ben is the author"),
    "somebody else signed": ({"signed_by": lambda person: "eve"}, "made with another key"),
    "another plan was approved": ({"approve": statement(plan=OTHER)}, "approves another plan"),
    "it was rejected": ({"approve": statement(decision="reject")}, "does not approve"),
    "it had expired": (
        {"approve": statement(at=long_ago, expires_at=timestamp(datetime.now(UTC) - timedelta(days=1)))},
        "outside the time",
    ),
    "it was given later": (
        {"approve": statement(at=timestamp(datetime.now(UTC) + timedelta(hours=1)))},
        "after the start",
    ),
    "one approval counted twice": (
        {"approvers": ("ana", "ana"), "approve": statement(nonce="same")},
        "a copy of another one",
    ),
}


@pytest.mark.parametrize("name", DISHONEST_PEOPLE)
def test_a_dishonest_approval_fails(tmp_path, people_keys, name):
    how, problem = DISHONEST_PEOPLE[name]
    found = failures(tmp_path, people_keys, **how)
    assert any(problem in text for text in found), found


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"reviewer": "dana"}, "not as migration-engineer"),
        ({"reviewer": "carla", "review_signed_by": "dana"}, "made with another key"),
        ({"reviewer": None}, "0 signed a review"),
    ],
)
def test_a_dishonest_review_fails(tmp_path, people_keys, how, problem):
    found = failures(tmp_path, people_keys, **how)
    assert any(problem in text for text in found), found


def test_a_review_of_other_events_fails(tmp_path, people_keys):
    staged = StagedRun(tmp_path / "ledger", people_keys).go()
    staged.review("00" * 32)
    policy = trust_policy(tmp_path / "ledger", people_keys)
    report = BundleReport("staged")
    judge_bundle(collect(tmp_path / "ledger", staged.run, policy=policy), parse_trust_policy(policy, "p"), report)
    assert any("about other events" in finding.text for finding in report.findings.failed)


def test_a_signer_who_saw_another_history_exposes_a_split_view(tmp_path, people_keys):
    """The head that the approver saw is not the head that was anchored at that size."""
    anchors = tmp_path / "ledger" / "anchors"

    def keep():
        anchors.mkdir(exist_ok=True)
        note = (tmp_path / "ledger" / "log" / "checkpoint").read_text()
        (anchors / f"{int(note.splitlines()[1]):012d}.note").write_text(note)

    def other_root(said):
        keep()
        return said.model_copy(update={"log_root": "A" * 43 + "="})

    found = failures(tmp_path, people_keys, approve=other_root, on_publish=keep)
    assert any("saw another history" in text for text in found), found
