"""Approvals that are taken back while a run goes on: what needed them and was begun after fails verification."""

from datetime import timedelta

import pytest

from orchestrator.evidence.export import collect
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from orchestrator.foundation.clock import timestamp
from tests.fakes.staged_run import StagedRun, trust_policy

LONG = 30.0  # seconds, more than a run may take to obey


def judged(tmp_path, keys, between, **how):
    staged = StagedRun(tmp_path / "ledger", keys, between=between, **how).go()
    policy = trust_policy(tmp_path / "ledger", keys)
    entries = collect(tmp_path / "ledger", staged.run, policy=policy)["log/events.ndjson"].split(b"\n")[:-1]
    staged.review(run_digest(entries))
    core = collect(tmp_path / "ledger", staged.run, policy=policy)
    report = BundleReport("staged")
    judge_bundle(core, parse_trust_policy(policy, "policy"), report)
    groups = ("FILES", "READING COPIES")
    return [f.text for f in report.findings.failed if f.group not in groups], [f.text for f in report.findings.found]


def revoke(person="ana", *, then_seconds=LONG, **how):
    def between(staged):
        staged.tell_word(person, "revoke", "the window was moved", **how)
        staged.clock.sleep(then_seconds)

    return between


def test_a_step_begun_after_the_approval_was_withdrawn_fails(tmp_path, people_keys):
    failed, _ = judged(tmp_path, people_keys, revoke())
    assert any("archive/preflight began after ana withdrew" in text for text in failed)
    assert not any("filing/" in text for text in failed), "what was begun before was allowed"


def test_the_way_back_needs_no_approval(tmp_path, people_keys):
    failed, _ = judged(tmp_path, people_keys, revoke())
    undone = [text for text in failed if "/switch_front began" in text]
    assert len(undone) <= 1, "doing it, and not undoing it"


def test_another_person_s_approval_is_enough(tmp_path, people_keys):
    failed, found = judged(tmp_path, people_keys, revoke(), approvers=("ana", "eve"))
    assert failed == []
    assert any("revocation by ana (system-owner)" in text and "the window was moved" in text for text in found)


def test_whoever_withdrew_may_renew(tmp_path, people_keys):
    def between(staged):
        staged.tell_word("ana", "revoke", "wait")
        staged.clock.sleep(LONG)
        staged.tell_word("ana", "approve")

    failed, found = judged(tmp_path, people_keys, between)
    assert failed == []
    assert "nothing was begun after an approval that it needed was withdrawn" in found


def test_nobody_approves_for_the_first_time_after_the_start(tmp_path, people_keys):
    failed, _ = judged(tmp_path, people_keys, lambda staged: staged.tell_word("eve", "approve"))
    assert any("approval by eve" in text and "it was given after the start" in text for text in failed)


def test_what_was_being_begun_may_still_begin(tmp_path, people_keys):
    """A run has seconds to obey; here one step is told a moment after the word, and the rest after its renewal."""

    def between(staged):
        staged.tell_word("ana", "revoke", "wait")
        staged._do("archive", "preflight")
        staged.clock.sleep(LONG)
        staged.tell_word("ana", "approve")

    failed, _ = judged(tmp_path, people_keys, between)
    assert not any("began after" in text for text in failed)


def test_a_rejection_during_the_run_weighs_as_much(tmp_path, people_keys):
    def between(staged):
        staged.tell_word("eve", "reject", "no")
        staged.clock.sleep(LONG)

    failed, _ = judged(tmp_path, people_keys, between)
    assert any("archive/preflight began after eve withdrew" in text for text in failed)


def test_a_run_started_against_a_rejection_fails(tmp_path, people_keys):
    class Against(StagedRun):
        def _tell_approval(self, person):
            super()._tell_approval(person)
            self.tell_word("eve", "reject", "not on a Friday")

    staged = Against(tmp_path / "ledger", people_keys).go()
    policy = trust_policy(tmp_path / "ledger", people_keys)
    report = BundleReport("staged")
    judge_bundle(collect(tmp_path / "ledger", staged.run, policy=policy), parse_trust_policy(policy, "p"), report)
    assert any("eve had rejected the plan" in finding.text for finding in report.findings.failed)


def test_a_withdrawal_that_was_held_back_is_found(tmp_path, people_keys):
    """The operator keeps the signed word in a drawer until the run is nearly over."""

    def between(staged):
        said_at = staged.clock.now()
        staged.clock.sleep(600)
        staged._do("archive", "preflight")

        def earlier(said):
            return said.model_copy(update={"at": timestamp(said_at), "expires_at": timestamp(said_at + timedelta(9))})

        staged.tell_word("ana", "revoke", "stop", change=earlier)
        staged.clock.sleep(LONG)
        staged.tell_word("ana", "approve")

    failed, _ = judged(tmp_path, people_keys, between)
    assert any(
        "archive/preflight began after ana withdrew an approval, which was put on record late" in t for t in failed
    )


FORGED = {
    "by another key": ({}, {"signed_by": lambda person: "eve" if person == "ana" else person}),
    "about another plan": ({"plan": "sha256:" + "00" * 32}, {}),
    "that says approve": ({"decision": "approve"}, {}),
    "in another role": ({"role": "auditor"}, {}),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_withdrawal_fails_and_changes_nothing(tmp_path, people_keys, name):
    changes, how = FORGED[name]
    if how:  # ana's own approval must hold
        how = {"signed_by": lambda person: person}

    def between(staged):
        if name == "by another key":
            staged._signed_by = lambda person: "eve"
        staged.tell_word("ana", "revoke", "forged", change=lambda said: said.model_copy(update=changes))
        staged.clock.sleep(LONG)

    failed, _ = judged(tmp_path, people_keys, between, **how)
    assert len(failed) == 1
    assert failed[0].startswith("revocation by ana, entry ")


def test_what_is_told_again_after_a_crash_is_no_copy(tmp_path, people_keys):
    class Told(StagedRun):
        def tell(self, kind, data, subject=""):
            super().tell(kind, data, subject)
            if kind.startswith("approval."):
                super().tell(kind, data, subject)

    staged = Told(tmp_path / "ledger", people_keys).go()
    policy = trust_policy(tmp_path / "ledger", people_keys)
    report = BundleReport("staged")
    judge_bundle(collect(tmp_path / "ledger", staged.run, policy=policy), parse_trust_policy(policy, "p"), report)
    assert not any("copy" in finding.text for finding in report.findings.failed)
