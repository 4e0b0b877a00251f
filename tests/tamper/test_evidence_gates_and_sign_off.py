"""Gates of a wave, sign-offs, approvals for a number of runs and approvals whose time is over, told dishonestly."""

import secrets
from datetime import timedelta

import pytest

from orchestrator.evidence.approvals import sign_with_ssh_key
from orchestrator.evidence.export import collect
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.review import record_review, record_sign_off
from orchestrator.evidence.statements import ENVELOPE_MEDIA_TYPE, SIGN_OFF, Statement
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.evidence.wave_words import sign_wave_word, tell_word
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import UsageError
from orchestrator.model.wave import GateWord, SkippedGate, Waiver
from tests.fakes.staged_run import StagedRun, trust_policy

SAID = {"id": "open", "step": "said", "observed": "open_problems", "comparison": "at_most", "expected": 0}
GATE = {"id": "G4", "title": "Go", "persons_min": 1, "roles": ["system-owner"], "valid_for": 600.0, "criteria": [SAID]}
EXIT = {**GATE, "id": "G7", "title": "Accepted", "criteria": []}


class Wave(StagedRun):
    """A run under a wave's terms. `says` tells the words at its gates: before the start, or with `late` after it."""

    def __init__(self, *place, says, late=lambda staged: None, **how):
        super().__init__(*place, **how)
        self.says, self.late = says, late
        self.plan["terms"] = {"position": 0, "entry": [GATE], "exit": [EXIT]}
        self.plan_digest = digest_of(self.plan)

    def _tell_approval(self, person):
        super()._tell_approval(person)
        self.says(self)

    def _do(self, system, name, **how):
        if (system, name) == ("filing", "commit"):
            self.late(self)
        super()._do(system, name, **how)

    def word(self, gate="G4", person="ana", decision="go", said=None, *, signed_by=None, **changes):
        now = self.clock.now()
        facts = {
            "plan": self.plan_digest,
            "wave": "wave-1",
            "gate": gate,
            "person": person,
            "role": "system-owner",
            "decision": decision,
            "said": {"open_problems": 0} if said is None else said,
            "at": timestamp(now),
            "expires_at": timestamp(now + timedelta(hours=1)),
            "nonce": secrets.token_hex(16),
        }
        return sign_wave_word(GateWord(**(facts | changes)), str(self.keys / (signed_by or person)))

    def decide(self, *words, **changes):
        self.put(self.word(*words, **changes))

    def put(self, signed):
        tell_word(self.recorder, self.run, signed, timestamp(self.clock.now()))


def judged(staged, keys, **rules):
    policy = trust_policy(staged.ledger, keys, **({"rules": rules} if rules else {"rules": {}}))
    report = BundleReport("staged")
    judge_bundle(collect(staged.ledger, staged.run, policy=policy), parse_trust_policy(policy, "policy"), report)
    groups = ("FILES", "READING COPIES")
    return [f.text for f in report.findings.failed if f.group not in groups], [f.text for f in report.findings.found]


def honest(staged):
    staged.decide()
    staged.decide("G7", person="eve")


def test_a_wave_whose_gates_were_opened_verifies(tmp_path, people_keys):
    failed, found = judged(Wave(tmp_path / "ledger", people_keys, says=honest).go(), people_keys)
    assert failed == []
    assert any(text.startswith("gate G4 was open at entry ") and "ana had said go" in text for text in found)
    assert any(text.startswith("gate G7 was open at entry ") and "eve had said go" in text for text in found)


def copied(staged):
    word = staged.word()
    staged.put(word)
    other = sign_wave_word(word.word, str(staged.keys / "ana"))  # the same nonce, signed again
    changed = other.word.model_copy(update={"comment": "again"})
    staged.put(sign_wave_word(changed, str(staged.keys / "ana")))


def shown_otherwise(staged):
    word = staged.word(said={"open_problems": 7})
    staged.put(word.model_copy(update={"word": word.word.model_copy(update={"said": {"open_problems": 0}})}))


DISHONEST = {
    "nobody decided": (lambda staged: None, "gate G4 was not open at entry"),
    "signed with another person's key": (lambda staged: staged.decide(signed_by="eve"), "the signature is not valid"),
    "the author says go": (lambda staged: staged.decide(person="ben"), "separation of duties: ben is the author"),
    "over another plan": (lambda staged: staged.decide(plan="sha256:" + "00" * 32), "it is about another plan"),
    "at a gate that the plan has not": (lambda staged: staged.decide("G2"), "the plan has no gate G2"),
    "in a role that is not theirs": (lambda staged: staged.decide(role="auditor"), "does not hold the role auditor"),
    "somebody said no": (
        lambda staged: (staged.decide(), staged.decide(person="eve", decision="no_go")),
        "eve had said no",
    ),
    "go in spite of the value": (
        lambda staged: staged.decide(said={"open_problems": 3}),
        "ana said go although open_problems was 3",
    ),
    "other values are shown than signed": (shown_otherwise, "what was signed is not what is shown"),
    "expired before the start": (
        lambda staged: (staged.decide(), staged.clock.sleep(7200)),
        "0 of 1 persons had said go",
    ),
    "one word used twice": (copied, "it is a copy of another one"),
}


@pytest.mark.parametrize("name", DISHONEST)
def test_a_wave_that_went_through_a_closed_gate_fails(tmp_path, people_keys, name):
    says, expected = DISHONEST[name]

    def late(staged):
        staged.decide("G7", person="eve")

    failed, _ = judged(Wave(tmp_path / "ledger", people_keys, says=says, late=late).go(), people_keys)
    assert any(expected in text for text in failed), failed
    assert not any("G7" in text for text in failed), failed


def test_a_decision_after_the_deed_opens_nothing(tmp_path, people_keys):
    staged = Wave(tmp_path / "ledger", people_keys, says=lambda run: run.decide(), between=lambda run: run.decide("G7"))
    failed, _ = judged(staged.go(), people_keys)
    assert len(failed) == 2
    assert all(text.startswith("gate G7 was not open at entry ") for text in failed)


def test_whoever_goes_round_a_gate_is_told_and_the_result_is_no_pass(tmp_path, people_keys):
    def says(staged):
        at = timestamp(staged.clock.now())
        skipped = SkippedGate(
            plan=staged.plan_digest, wave="wave-1", gate="G4", person="dana", because="nobody was there", at=at
        )
        staged.put(skipped)
        staged.decide("G7")

    failed, found = judged(Wave(tmp_path / "ledger", people_keys, says=says).go(), people_keys)
    assert failed == []
    assert any("dana went round gate G4: nobody was there" in text for text in found)
    assert any(text.startswith("gate G4 was gone round") for text in found)


def test_a_waiver_is_judged_as_any_word(tmp_path, people_keys):
    def says(staged):
        honest(staged)
        now = staged.clock.now()
        waiver = Waiver(
            plan=staged.plan_digest,
            wave="wave-1",
            system="archive",
            person="eve",
            role="system-owner",
            because="its index is not ready",
            at=timestamp(now),
            expires_at=timestamp(now + timedelta(days=1)),
            nonce=secrets.token_hex(16),
        )
        staged.put(sign_wave_word(waiver, str(staged.keys / "eve")))
        staged.put(sign_wave_word(waiver.model_copy(update={"nonce": "x"}), str(staged.keys / "ana")))

    failed, found = judged(Wave(tmp_path / "ledger", people_keys, says=says).go(), people_keys)
    assert any(text.startswith("without archive: its index is not ready, signed by eve") for text in found)
    assert [text[:13] for text in failed] == ["waiver by eve"]


# -- management signs reviews off


SIGN_OFF_RULE = {"signOff": {"threshold": 1, "roles": ["system-owner"], "distinctFrom": ["operator", "reviewer"]}}


@pytest.fixture
def reviewed(tmp_path, people_keys):
    """A run with a review by carla."""
    staged = StagedRun(tmp_path / "ledger", people_keys).go()
    record_review(
        staged.ledger,
        staged.run,
        person="carla",
        role="auditor",
        key_file=str(people_keys / "carla"),
        conclusion="to be repeated",
        clock=staged.clock,
    )
    return staged


def sign_off(staged, person="ana", **changes):
    words = {"role": "system-owner", "key_file": str(staged.keys / person), "clock": staged.clock}
    record_sign_off(staged.ledger, staged.run, person=person, **(words | changes))


def test_a_review_that_management_signed_off_verifies(reviewed, people_keys):
    failed, _ = judged(reviewed, people_keys, **SIGN_OFF_RULE)
    assert failed == ["0 signed a sign-off, where the policy asks for 1"]
    sign_off(reviewed, comment="funds are given")
    failed, found = judged(reviewed, people_keys, **SIGN_OFF_RULE)
    assert failed == []
    assert any(text.startswith("sign-off signed by ana, entry ") and text.endswith(": accepted") for text in found)


def test_a_review_that_was_sent_back_is_not_signed_off(reviewed, people_keys):
    with pytest.raises(UsageError, match="say what is missing"):
        sign_off(reviewed, decision="returned")
    sign_off(reviewed, decision="returned", comment="who pays?")
    failed, _ = judged(reviewed, people_keys, **SIGN_OFF_RULE)
    assert any("ana sent the review back: who pays?" in text for text in failed)


def test_the_reviewer_does_not_sign_off_their_own_review(reviewed, people_keys):
    rule = {"signOff": {"threshold": 1, "roles": [], "distinctFrom": ["reviewer"]}}
    sign_off(reviewed, "carla", role="auditor")
    failed, _ = judged(reviewed, people_keys, **rule)
    assert any("separation of duties: carla is the reviewer" in text for text in failed)


def test_a_sign_off_of_a_review_that_is_not_there_fails(reviewed, people_keys):
    entries = collect(reviewed.ledger, reviewed.run, policy=b"")["log/events.ndjson"].split(b"\n")[:-1]
    digest = run_digest(entries[:-1])  # up to the end of the run, without the review
    predicate = {"manager": "ana", "role": "system-owner", "decision": "accepted", "reviews": ["sha256:" + "00" * 32]}

    def between(staged):
        envelope, key = sign_with_ssh_key(
            Statement({f"run:{staged.run}": digest}, SIGN_OFF, predicate), str(staged.keys / "ana")
        )
        kept = staged.recorder.keep(envelope.text().encode(), ENVELOPE_MEDIA_TYPE)
        staged.tell("review.accepted", {"by": "ana", "role": "system-owner", "key": key, "envelope": kept})

    reviewed.reopened(between)
    failed, _ = judged(reviewed, people_keys, **SIGN_OFF_RULE)
    assert any("it names no review that was on record before it" in text for text in failed)


def test_nothing_is_signed_off_before_a_review(tmp_path, people_keys):
    staged = StagedRun(tmp_path / "ledger", people_keys).go()
    with pytest.raises(UsageError, match="was not reviewed"):
        sign_off(staged)


# -- approvals for a number of runs, and in time


def test_an_approval_used_by_more_runs_than_it_is_for_is_found_in_the_whole_log(tmp_path, people_keys):
    told = []

    class Again(StagedRun):
        def _tell_approval(self, person):
            if not told:
                super()._tell_approval(person)
            else:
                StagedRun.tell(self, *told[0])

        def tell(self, kind, data, subject=""):
            if kind == "approval.granted" and not told:
                told.append((kind, data))
            super().tell(kind, data, subject)

    once = lambda said: said.model_copy(update={"max_runs": 1})  # noqa: E731
    first = Again(tmp_path / "ledger", people_keys, approve=once).go()
    report = verify_log(first.ledger, vkeys=own_keys(first.ledger))
    assert report.verified
    assert any("1 words that are for a number of runs" in each.text for each in report.findings.found)
    failed, found = judged(first, people_keys)
    assert failed == []
    assert any(text.startswith("approval by ana") and ", for 1 run" in text for text in found)
    second = Again(tmp_path / "ledger", people_keys, approve=once).go()
    report = verify_log(second.ledger, vkeys=own_keys(second.ledger))
    assert [each.text[:63] for each in report.findings.failed] == [
        "the approval by ana (entry " + report.findings.failed[0].text[27:63]
    ]
    assert "is for 1 runs, and 2 used it" in report.findings.failed[0].text


def shortly(said):
    return said.model_copy(update={"expires_at": timestamp(_at(said) + timedelta(seconds=30))})


def _at(said):
    from datetime import datetime

    return datetime.fromisoformat(said.at)


def test_what_is_under_way_ends_after_the_time_of_its_approval_and_says_so(tmp_path, people_keys):
    staged = StagedRun(tmp_path / "ledger", people_keys, approve=shortly, between=lambda run: run.clock.sleep(600))
    failed, found = judged(staged.go(), people_keys)
    assert failed == []
    assert any("steps were begun after the approvals' time was over, archive/preflight" in text for text in found)


@pytest.mark.parametrize("how", [("run.resumed", {}), ("request.accepted", {"operation": "resume", "by": "dana"})])
def test_what_is_begun_again_after_the_time_of_its_approval_fails(tmp_path, people_keys, how):
    def between(staged):
        staged.clock.sleep(600)
        staged.tell(how[0], how[1], "archive" if how[1] else "")
        staged.clock.sleep(30)

    staged = StagedRun(tmp_path / "ledger", people_keys, approve=shortly, between=between).go()
    failed, _ = judged(staged, people_keys)
    assert any("archive/preflight began after approvals had expired" in text for text in failed)
    assert not any("filing/" in text for text in failed)


def test_an_approval_that_expired_may_be_renewed_before_the_run_is_gone_on_with(tmp_path, people_keys):
    def between(staged):
        staged.clock.sleep(600)
        staged._approve = lambda said: said
        staged.tell_word("eve", "approve")
        staged.tell("run.resumed", {})
        staged.clock.sleep(30)

    failed, found = judged(
        StagedRun(tmp_path / "ledger", people_keys, approve=shortly, between=between).go(), people_keys
    )
    assert failed == []
    assert not any("time was over" in text for text in found)
