"""Receipts of anchors that somebody takes away or exchanges, and a trust policy that is not the one in force."""

import json

import pytest

from orchestrator.evidence.anchoring import EnrolledBucket, Enrolment, anchor, write_enrolment
from orchestrator.evidence.export import collect
from orchestrator.evidence.note import DASH, Checkpoint, LogPolicy, NoteSigner, sign_checkpoint, split_note
from orchestrator.evidence.policy_on_record import adopt_policy, policy_in_force
from orchestrator.evidence.receipts_on_record import put_receipts_on_record
from orchestrator.evidence.show import verify_and_show
from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey
from orchestrator.evidence.stand_alone import modules_of_the_verifier
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import EvidenceRejected
from tests.fakes.object_lock import FakeObjectLock
from tests.fakes.staged_run import StagedRun, trust_policy

NOW = "2026-11-22T00:00:00.000Z"


@pytest.fixture
def anchored(tmp_path, people_keys):
    """A ledger with one locked head whose receipts are on record."""
    staged = StagedRun(tmp_path / "ledger", people_keys).go()
    enrolment = Enrolment(buckets=(EnrolledBucket("worm", "eu-central-1"),))
    write_enrolment(staged.ledger, enrolment)
    anchor(staged.ledger, enrolment, SystemClock(), locks={"worm": FakeObjectLock()})
    (note,) = (staged.ledger / "anchors").glob("*.note")
    note.write_text(note.read_text() + f"{DASH} witness.example AAAAAAAA\n")

    def put(run):
        assert put_receipts_on_record(run.ledger, run.recorder, NOW) == 1

    staged.reopened(put)
    return staged.ledger


def judged(ledger):
    return verify_log(ledger, vkeys=own_keys(ledger))


def receipts(ledger):
    return sorted((ledger / "anchors").glob("[0-9]*"))


def test_receipts_that_lie_where_they_were_put_verify(anchored):
    report = judged(anchored)
    assert report.verified
    assert any("2 receipts of anchors lie here as they are on record" in each.text for each in report.findings.found)


@pytest.mark.parametrize("suffix", ["note", "worm.json"])
def test_a_receipt_that_was_taken_away_is_missed(anchored, suffix):
    next(path for path in receipts(anchored) if path.name.endswith(suffix)).unlink()
    (failed,) = judged(anchored).findings.failed
    assert f".{suffix}: it is gone, as entry " in failed.text


def test_a_receipt_of_another_bucket_is_seen(anchored):
    path = next(path for path in receipts(anchored) if path.name.endswith("worm.json"))
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "bucket": "mine"}))
    (failed,) = judged(anchored).findings.failed
    assert "it is not the one" in failed.text


def test_a_further_signature_below_a_kept_head_is_no_tampering(anchored):
    path = next(path for path in receipts(anchored) if path.name.endswith("note"))
    path.write_text(path.read_text() + f"{DASH} another.example AAAAAAAA\n")
    assert judged(anchored).verified


def test_a_log_that_was_copied_alone_says_that_receipts_are_elsewhere(anchored):
    (anchored / "anchors").rename(anchored.parent / "elsewhere")
    report = judged(anchored)
    assert report.verified
    assert any("receipts of anchors are on record and do not lie here" in each.text for each in report.findings.found)


# -- the policy in force


def test_a_policy_that_was_adopted_is_on_record_and_named_by_runs(tmp_path, people_keys):
    staged = StagedRun(tmp_path / "ledger", people_keys).go()
    policy = trust_policy(staged.ledger, people_keys)
    assert policy_in_force(staged.ledger) == ""
    _, digest = adopt_policy(
        staged.ledger, policy, person="ana", role="system-owner", key_file=str(people_keys / "ana"), clock=staged.clock
    )
    assert policy_in_force(staged.ledger) == digest == parse_trust_policy(policy, "p").digest

    def named(kind, subject, data):
        return {**data, "policy": digest} if kind == "run.created" else data

    second = StagedRun(tmp_path / "ledger", people_keys, tweak=named, clock=staged.clock).go()
    for mine, told in ((policy, "which is yours"), (policy + b"\n", "another one than yours")):
        report = BundleReport("staged")
        core = collect(staged.ledger, second.run, policy=mine)
        judge_bundle(core, parse_trust_policy(mine, "mine"), report)
        assert any("in force when the run was created" in f.text and told in f.text for f in report.findings.found)
        said: list[str] = []
        path = tmp_path / "mine.json"
        path.write_bytes(mine)
        verify_and_show(staged.ledger, path, bundle=False, as_json=False, began=0.0, say=said.append)
        assert any("in force by the log" in line and told in line for line in said[0].splitlines())


def test_what_is_no_policy_is_not_adopted(tmp_path, people_keys):
    staged = StagedRun(tmp_path / "ledger", people_keys).go()
    with pytest.raises(EvidenceRejected, match="not a trust policy"):
        adopt_policy(staged.ledger, b"{}", person="ana", role="system-owner", key_file=str(people_keys / "ana"))
    assert policy_in_force(staged.ledger) == ""


def test_the_verifier_alone_judges_receipts_without_the_recorder():
    names = set(modules_of_the_verifier())
    assert {"orchestrator.evidence.receipts", "orchestrator.evidence.gates_in_force"} <= names
    assert not {name for name in names if name.endswith(("_on_record", ".recorder", ".wave_words"))}
    assert not any(name.startswith(("orchestrator.contracts", "orchestrator.model")) for name in names)


def test_a_log_that_grew_after_its_witness_signed_says_how_far_the_quorum_reaches(anchored):
    witness = NoteSigner("witness.example", SigningKey.generate(Algorithm.COSIGNATURE_ED25519))
    (path,) = (anchored / "anchors").glob("*.note")
    text = split_note(path.read_text())[0]
    mine = own_keys(anchored)
    lines = [f"log {key}" for key in mine] + [f"witness audit {witness.verifier_key}", "quorum audit"]
    policy = LogPolicy.parse("\n".join(lines) + "\n")
    (failed,) = verify_log(anchored, vkeys=mine, policy=policy).findings.failed
    assert failed.text == "the witnesses' quorum 'audit' is not met by any head"
    size = int(path.stem)
    cosigned = sign_checkpoint(Checkpoint.parse(text), [witness], at_seconds=1)
    path.write_text(path.read_text() + cosigned.rpartition("\n\n")[2])
    report = verify_log(anchored, vkeys=mine, policy=policy)
    assert report.verified, report.findings.failed
    told = [each.text for each in report.findings.found]
    assert f"the witnesses' quorum 'audit' is met at {size} entries" in told
    assert "the last 1 entries came after the last anchor" in told
