"""The head that each signer saw is judged against the log itself: every signer is a witness of what was before."""

import base64

import pytest

from orchestrator.evidence.export import collect
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from orchestrator.evidence.verify_log import own_keys, verify_log
from tests.fakes.staged_run import StagedRun, trust_policy

OTHER_ROOT = base64.b64encode(b"\x07" * 32).decode()


def seeing(**changes):
    return {"approve": lambda said: said.model_copy(update=changes)}


LIES = {
    "another root": (seeing(log_root=OTHER_ROOT), "saw another history of the log at size"),
    "a head of another log": (seeing(log_origin="evidence.example/other"), "of another log"),
    "more entries than there were": (seeing(log_size=40), "saw 40 entries"),
    "no root at all": (seeing(log_root="x"), "logSeen is no head of a log"),
    "an empty log with a root": (seeing(log_size=0), "logSeen is no head of a log"),
}


def bundle_failures(tmp_path, keys, *, without=(), **how):
    staged = StagedRun(tmp_path / "ledger", keys, **how).go()
    policy = trust_policy(tmp_path / "ledger", keys)
    entries = collect(tmp_path / "ledger", staged.run, policy=policy)["log/events.ndjson"].split(b"\n")[:-1]
    staged.review(run_digest(entries))
    core = collect(tmp_path / "ledger", staged.run, policy=policy)
    core = {path: content for path, content in core.items() if not path.startswith(tuple(without) or ("\0",))}
    report = BundleReport("staged")
    judge_bundle(core, parse_trust_policy(policy, "policy"), report)
    return [f.text for f in report.findings.failed if f.group not in ("FILES", "READING COPIES")]


@pytest.mark.parametrize("name", LIES)
def test_a_bundle_in_which_a_signer_saw_something_else_fails(tmp_path, people_keys, name):
    how, words = LIES[name]
    failed = bundle_failures(tmp_path, people_keys, **how)
    assert any("approval by ana" in text and words in text for text in failed), failed


def test_a_bundle_without_the_proof_fails(tmp_path, people_keys):
    failed = bundle_failures(tmp_path, people_keys, without=("log/consistency/",))
    assert any("the signer saw another history" in text for text in failed)


@pytest.mark.parametrize("name", LIES)
def test_a_whole_log_in_which_a_signer_saw_something_else_fails(tmp_path, people_keys, name):
    how, _ = LIES[name]
    StagedRun(tmp_path / "ledger", people_keys, **how).go()
    report = verify_log(tmp_path / "ledger", vkeys=own_keys(tmp_path / "ledger"))
    assert [finding.group for finding in report.findings.failed] == ["PEOPLE"]


def test_an_honest_log_says_how_many_signers_vouch_for_it(tmp_path, people_keys):
    StagedRun(tmp_path / "ledger", people_keys, approvers=("ana", "eve")).go()
    ledger = tmp_path / "ledger"
    report = verify_log(ledger, vkeys=own_keys(ledger))
    assert report.verified
    assert any(finding.text.startswith("2 signers saw heads") for finding in report.findings.found)


def test_an_envelope_that_was_altered_or_taken_away_is_told(tmp_path, people_keys):
    staged = StagedRun(tmp_path / "ledger", people_keys).go()
    ledger = tmp_path / "ledger"
    core = collect(ledger, staged.run, policy=trust_policy(ledger, people_keys))
    (path,) = [name for name, content in core.items() if name.startswith("artifacts/") and b"payloadType" in content]
    (ledger / path).chmod(0o600)
    (ledger / path).write_bytes(core[path] + b" ")
    report = verify_log(ledger, vkeys=own_keys(ledger))
    assert any("was altered" in finding.text for finding in report.findings.failed)
    (ledger / path).unlink()
    report = verify_log(ledger, vkeys=own_keys(ledger))
    assert report.verified
    assert any("1 signed words are not here" in finding.text for finding in report.findings.found)
