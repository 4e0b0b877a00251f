"""Start orders and signed results: the operator's own word, about this run, saying what the log says; or not."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.evidence.export import collect
from orchestrator.evidence.orders import sign_start_order
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.population import population
from orchestrator.evidence.run_result import result_of
from orchestrator.evidence.signed_words import finished_run, record_result
from orchestrator.evidence.statements import Envelope
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import ApprovalInvalid, UsageError
from orchestrator.model.inventory import Person
from tests.fakes.staged_run import PEOPLE, StagedClock, StagedRun, trust_policy

OTHER = "sha256:" + "00" * 32
RULES = {
    "approval": {"threshold": 1, "roles": ["system-owner"]},
    "order": {"threshold": 1, "roles": ["migration-engineer"], "distinctFrom": []},
    "result": {"threshold": 1, "roles": ["migration-engineer"], "distinctFrom": []},
}


def unchanged(predicate):
    return predicate


def judged(tmp_path, keys, staged):
    policy = trust_policy(tmp_path / "ledger", keys, rules=RULES)
    report = BundleReport("staged")
    core = collect(tmp_path / "ledger", staged.run, policy=policy)
    judge_bundle(core, parse_trust_policy(policy, "policy"), report)
    people = [found for found in report.findings.found if found.group == "RUNBOOK AND PEOPLE"]
    return [f.text for f in people if f.status == "ok"], [f.text for f in people if f.status == "FAIL"]


def staged_run(tmp_path, keys, **how):
    return StagedRun(tmp_path / "ledger", keys, **{"order": unchanged, "succeeds": True, **how}).go()


def test_an_operator_orders_the_start_and_signs_the_result(tmp_path, people_keys):
    staged = staged_run(tmp_path, people_keys)
    _, said = record_result(
        tmp_path / "ledger", staged.run, person="dana", role="migration-engineer", key_file=str(people_keys / "dana")
    )
    good, bad = judged(tmp_path, people_keys, staged)
    assert bad == []
    assert said == "WARNED", "replicate_to_dr was tried twice"
    assert any(text.startswith("start order signed by dana") for text in good)
    assert any(text.startswith("result signed by dana") and text.endswith(": WARNED") for text in good)


def test_a_rolled_back_run_can_only_be_signed_as_failed(tmp_path, people_keys):
    staged = staged_run(tmp_path, people_keys, succeeds=False)
    words: dict[str, Any] = {"person": "dana", "role": "migration-engineer", "key_file": str(people_keys / "dana")}
    assert record_result(tmp_path / "ledger", staged.run, **words)[1] == "FAILED"
    assert "archive/check_front" in result_of(finished_run(tmp_path / "ledger", staged.run).story)["failedTests"]
    assert judged(tmp_path, people_keys, staged)[1] == []


def test_no_order_and_no_result_where_the_policy_asks_for_them(tmp_path, people_keys):
    staged = staged_run(tmp_path, people_keys, order=None)
    _, bad = judged(tmp_path, people_keys, staged)
    assert bad == [
        "0 signed a start order, where the policy asks for 1",
        "0 signed a result, where the policy asks for 1",
    ]


def later(**delta):
    return timestamp(datetime.now(UTC) + timedelta(**delta))


DISHONEST_ORDERS: dict[str, tuple[dict[str, Any], str]] = {
    "another plan": ({"order": lambda said: said | {"_plan": OTHER}}, "orders another plan"),
    "another run": ({"order": lambda said: said | {"run": "0193-other"}}, "orders another run"),
    "another operator": ({"ordered_by": "ben"}, "not by dana, who ran it"),
    "somebody else signed": ({"signed_by": lambda person: "eve" if person == "dana" else person}, "another key"),
    "given after the start": ({"order": lambda said: said | {"statementTime": later(hours=1)}}, "after the start"),
    "expired": (
        {"order": lambda said: said | {"validity": {"notBefore": later(days=-9), "notAfter": later(days=-8)}}},
        "outside the time",
    ),
    "in another role": ({"order": lambda said: said | {"role": "auditor"}}, "another role"),
    "without validity": ({"order": lambda said: said | {"validity": None}}, "is not a time"),
}


@pytest.mark.parametrize("name", DISHONEST_ORDERS)
def test_a_dishonest_start_order_fails(tmp_path, people_keys, name):
    how, problem = DISHONEST_ORDERS[name]
    _, bad = judged(tmp_path, people_keys, staged_run(tmp_path, people_keys, **how))
    assert any(problem in text for text in bad), bad


DISHONEST_RESULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a failed run called passed": ({"result": "PASSED"}, "its result does not follow from the log"),
    "a failed step left out": ({"failedTests": []}, "its failedTests does not follow"),
    "a step that never passed": ({"passedTests": ["archive/commit"]}, "its passedTests does not follow"),
    "another plan": ({"configuration": []}, "its configuration does not follow"),
}


@pytest.mark.parametrize("name", DISHONEST_RESULTS)
def test_a_dishonest_result_fails(tmp_path, people_keys, name):
    changes, problem = DISHONEST_RESULTS[name]
    staged = staged_run(tmp_path, people_keys, succeeds=False)
    found = finished_run(tmp_path / "ledger", staged.run)
    staged.result(found.digest, result_of(found.story) | changes)
    _, bad = judged(tmp_path, people_keys, staged)
    assert any(problem in text for text in bad), bad


def test_a_result_over_other_events_or_by_another_key_fails(tmp_path, people_keys):
    staged = staged_run(tmp_path, people_keys)
    found = finished_run(tmp_path / "ledger", staged.run)
    staged.result(run_digest([b"other"]), result_of(found.story))
    staged.result(found.digest, result_of(found.story), signed_by="eve")
    _, bad = judged(tmp_path, people_keys, staged)
    assert any("about other events" in text for text in bad), bad
    assert any("another key" in text for text in bad), bad


def test_a_result_cannot_be_signed_before_the_end(tmp_path, people_keys):
    staged = staged_run(tmp_path, people_keys, tweak=lambda kind, where, data: None if kind == "run.finished" else data)
    with pytest.raises(UsageError, match="not finished"):
        finished_run(tmp_path / "ledger", staged.run)


def test_an_order_is_signed_only_by_who_holds_the_role_and_the_key(tmp_path, people_keys):
    people = {
        name: Person(id=name, roles=tuple(roles), keys=((people_keys / f"{name}.pub").read_text().strip(),))
        for name, roles in PEOPLE.items()
    }
    how: dict[str, Any] = {"people": people, "clock": StagedClock(), "role": "migration-engineer"}
    order = sign_start_order(OTHER, person="dana", key_file=str(people_keys / "dana"), **how)
    said = Envelope.parse(order.envelope).statement().predicate
    assert (said["operator"], said["maxRuns"]) == ("dana", 1)
    with pytest.raises(ApprovalInvalid, match="nobody"):
        sign_start_order(OTHER, person="zoe", key_file=str(people_keys / "dana"), **how)
    with pytest.raises(ApprovalInvalid, match="is not migration-engineer"):
        sign_start_order(OTHER, person="carla", key_file=str(people_keys / "carla"), **how)
    with pytest.raises(ApprovalInvalid, match="another key"):
        sign_start_order(OTHER, person="dana", key_file=str(people_keys / "eve"), **how)
    with pytest.raises(ApprovalInvalid, match="at most 7 days"):
        sign_start_order(OTHER, person="dana", key_file=str(people_keys / "dana"), valid_for=timedelta(days=8), **how)


def test_one_order_used_for_two_runs_is_a_question_to_ask():
    def entry(run, seq):
        data = {"by": "dana", "envelope": {"digest": OTHER, "size": 1, "mediaType": "x"}}
        event = {"data": data, "id": f"{run}/{seq}", "run": run, "seq": seq, "source": "s", "specversion": "1.0"}
        return json.dumps(event | {"time": "t", "type": "skerry.run.ordered.v1"}, separators=(",", ":")).encode()

    found = population([(0, entry("r1", 0)), (1, entry("r1", 1)), (2, entry("r2", 0))])
    assert "one start order, good for one run, was used 2 times: r1, r2" in found.questions


def test_the_reference_tool_accepts_the_signature_of_a_result(tmp_path, people_keys):
    """ssh-keygen itself, over the same bytes."""
    from orchestrator.evidence.signing.ssh_signature import NAMESPACE, armor
    from orchestrator.evidence.statements import bytes_to_sign

    staged = staged_run(tmp_path, people_keys)
    words: dict[str, Any] = {"person": "dana", "role": "migration-engineer", "key_file": str(people_keys / "dana")}
    record_result(tmp_path / "ledger", staged.run, **words)
    found = finished_run(tmp_path / "ledger", staged.run).story
    digest = found.of("result.signed")[0].data["envelope"]["digest"].removeprefix("sha256:")
    envelope = Envelope.parse((tmp_path / "ledger/artifacts/sha256" / digest[:2] / digest[2:]).read_bytes())
    (tmp_path / "s.sig").write_text(armor(envelope.signatures[0][1]))
    (tmp_path / "allowed").write_text(f"dana {(people_keys / 'dana.pub').read_text()}")
    verify = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", "dana", "-s", tmp_path / "s.sig"]
    done = subprocess.run([*verify, "-f", tmp_path / "allowed"], input=bytes_to_sign(envelope.payload), check=False)
    assert done.returncode == 0
