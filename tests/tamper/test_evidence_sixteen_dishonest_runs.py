"""Sixteen dishonest runs, each told, logged and anchored in the ordinary way: the log is whole, and the rules fail it.

What catches each is said beside it: the judges of people, or those of execution; the log and its locked copies show
nothing. Further lies are in test_evidence_dishonest_runs.py and test_evidence_dishonest_ends.py.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.evidence.anchoring import EnrolledBucket, Enrolment, anchor
from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.export import collect
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.statements import ENVELOPE_MEDIA_TYPE
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from orchestrator.evidence.verify_log import own_keys, read_held, verify_log
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.clock import SystemClock, timestamp
from tests.fakes.object_lock import FakeObjectLock
from tests.fakes.staged_run import ORIGIN, STEPS, StagedRun, digest, trust_policy

OTHER = "sha256:" + "00" * 32
PEOPLE, EXECUTION = "RUNBOOK AND PEOPLE", "EXECUTION"


class ForgedApproval(StagedRun):
    """The text of an approval is changed after it was signed."""

    def tell(self, kind: str, data: dict[str, Any], subject: str = "") -> None:
        if kind == "approval.granted":
            envelope = json.loads((self.ledger / artifact_path(data["envelope"]["digest"])).read_bytes())
            said = json.loads(base64.b64decode(envelope["payload"]))
            said["predicate"]["comment"] = "in any case"
            envelope["payload"] = base64.b64encode(json.dumps(said).encode()).decode()
            data = data | {"envelope": self.recorder.keep(json.dumps(envelope).encode(), ENVELOPE_MEDIA_TYPE)}
        super().tell(kind, data, subject)


@dataclass
class Lie:
    """How the run is told, which judges fail it, and with which words."""

    group: str
    words: str
    how: dict[str, Any] = field(default_factory=dict)
    tells: type[StagedRun] = StagedRun
    reviewer: str = "carla"


def told(kind: str, change: Callable[[dict[str, Any]], dict[str, Any] | None], where: str = "") -> dict[str, Any]:
    def tweak(told_kind: str, subject: str, data: dict[str, Any]) -> dict[str, Any] | None:
        return change(data) if told_kind == kind and subject.startswith(where) else data

    return {"tweak": tweak}


def with_params(data: dict[str, Any]) -> dict[str, Any]:
    values = {"watch": "1s"}
    return data | {"params": {"digest": digest_of(values), "values": values}}


def without_verification(kind: str, subject: str, data: dict[str, Any]) -> dict[str, Any] | None:
    return None if subject.startswith("filing/verify_digests") else data


def out_of_order(kind: str, subject: str, data: dict[str, Any]) -> dict[str, Any] | None:
    """Filing's check at the front is told where its preflight was, and the other way round."""
    other = {"filing/preflight/1": "filing/check_front/1", "filing/check_front/1": "filing/preflight/1"}.get(subject)
    if other is None:
        return data
    action = next(each["action"] for each in STEPS if other.startswith(f"filing/{each['id']}/"))
    return data | {"_subject": other} | ({"action": action} if kind == "step.started" else {})


def tried_too_often(kind: str, subject: str, data: dict[str, Any]) -> dict[str, Any] | None:
    return data | {"_subject": "filing/replicate_to_dr/5"} if subject == "filing/replicate_to_dr/2" else data


def no_deviation(kind: str, subject: str, data: dict[str, Any]) -> dict[str, Any] | None:
    return None if kind in ("rollback.started", "system.changed") else data


def mismatch(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"sides": data["sides"] | {"cloud": {"digest": OTHER, "algorithm": "tree/v1"}}}


def expired(said: Any) -> Any:
    now = datetime.now(UTC)
    return said.model_copy(
        update={"at": timestamp(now - timedelta(days=9)), "expires_at": timestamp(now - timedelta(days=1))}
    )


def better_rto(data: dict[str, Any]) -> dict[str, Any]:
    return data | ({"achieved_seconds": 0.4} if data["objective"] == "rto" else {})


SIXTEEN: dict[str, Lie] = {
    "approval forged": Lie(PEOPLE, "the signature is not valid", tells=ForgedApproval),
    "approval signed with a foreign key": Lie(PEOPLE, "made with another key", {"signed_by": lambda person: "eve"}),
    "approval expired": Lie(PEOPLE, "outside the time", {"approve": expired}),
    "approval self-made by the operator": Lie(PEOPLE, "does not hold the role", {"approvers": ("dana",)}),
    "approval missing": Lie(PEOPLE, "0 valid approvals, where 1", told("approval.granted", lambda data: None)),
    "another runbook than approved": Lie(
        EXECUTION, "not the one that the run names", told("run.created", lambda data: data | {"plan": OTHER})
    ),
    "other params than approved": Lie(EXECUTION, "other params", told("run.created", with_params)),
    "a playbook swapped": Lie(
        EXECUTION,
        "another drain ran than was approved",
        told("playbook.finished", lambda data: data | {"digest": digest(b"# drain, quicker\n")}),
    ),
    "a step skipped": Lie(EXECUTION, "before verify_digests had passed", {"tweak": without_verification}),
    "a step out of order": Lie(EXECUTION, "started before", {"tweak": out_of_order}),
    "too many retries": Lie(EXECUTION, "attempt 5, where the plan allows 2", {"tweak": tried_too_often}),
    "a gate missing": Lie(EXECUTION, "without its gate G5", told("gate.passed", lambda data: None)),
    "a false RTO": Lie(EXECUTION, "the log says", told("objective.measured", better_rto)),
    "a mismatch logged as match": Lie(
        EXECUTION, "does not follow from the digests", told("digests.compared", mismatch)
    ),
    "no deviation after a failure": Lie(EXECUTION, "nothing followed from it", {"tweak": no_deviation}),
    "the operator reviews the own run": Lie(PEOPLE, "review by dana", reviewer="dana"),
}


def staged(folder: Path, keys: Path, lie: Lie) -> tuple[StagedRun, bytes, FakeObjectLock]:
    """The run, told, reviewed, and its last head locked elsewhere."""
    run = lie.tells(folder / "ledger", keys, **lie.how).go()
    policy = trust_policy(run.ledger, keys)
    entries = collect(run.ledger, run.run, policy=policy)["log/events.ndjson"].split(b"\n")[:-1]
    run.review(run_digest(entries), by=lie.reviewer)
    lock = FakeObjectLock()
    enrolment = Enrolment(buckets=(EnrolledBucket("worm", "eu-central-1"),))
    assert not anchor(run.ledger, enrolment, SystemClock(), locks={"worm": lock}).failed
    return run, policy, lock


def failed(run: StagedRun, policy: bytes) -> list[tuple[str, str]]:
    report = BundleReport("staged")
    judge_bundle(collect(run.ledger, run.run, policy=policy), parse_trust_policy(policy, "policy"), report)
    return [(f.group, f.text) for f in report.findings.failed if f.group not in ("FILES", "READING COPIES")]


def test_there_are_sixteen():
    assert len(SIXTEEN) == 16


@pytest.mark.parametrize("name", SIXTEEN)
def test_the_rules_fail_it_and_nothing_else_does(tmp_path, people_keys, name):
    lie = SIXTEEN[name]
    run, policy, lock = staged(tmp_path, people_keys, lie)
    held = read_held("\n".join(copy.key for copy in lock.list(ORIGIN)))
    assert held
    log = verify_log(run.ledger, vkeys=own_keys(run.ledger), held=held)
    assert log.verified, log.findings.failed
    found = failed(run, policy)
    assert any(group == lie.group and lie.words in text for group, text in found), found
    assert {group for group, _ in found} <= {PEOPLE, EXECUTION}, found


def test_the_honest_run_passes(tmp_path, people_keys):
    run, policy, _ = staged(tmp_path, people_keys, Lie("", ""))
    assert failed(run, policy) == []
