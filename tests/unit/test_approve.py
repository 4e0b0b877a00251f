"""Approvals: real keys, real signatures; which words count, and what a plan still misses."""

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.evidence.approvals import SshApprovalJudge, SshApprovalSigner
from orchestrator.evidence.statements import Envelope
from orchestrator.foundation.errors import ApprovalInvalid, ApprovalMissing, GateClosed
from orchestrator.inventory.load import load_inventory
from orchestrator.model.inventory import Person
from orchestrator.model.system import ApprovalRule
from orchestrator.operations.approve import approve, ensure_approved, standing
from orchestrator.planning.compile import compile_plan
from orchestrator.planning.runbook import parse_runbook
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.clock import SetClock
from tests.fakes.surveys import healthy

ROOT = Path(__file__).parents[2]
PERSONS = {
    "ana": ("system-owner",),
    "olu": ("system-owner", "security"),
    "sam": ("security",),
    "ben": ("migration-engineer", "system-owner"),
    "dan": ("migration-engineer", "system-owner"),
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in (*PERSONS, "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    return folder


class Office:
    """A plan by ben, persons with keys, and the parts that approving needs."""

    parts: dict[str, Any]

    def __init__(self, keys, tmp_path, rule):
        self.keys = keys
        self.people = {
            name: Person(id=name, roles=roles, keys=((keys / f"{name}.pub").read_text().strip(),))
            for name, roles in PERSONS.items()
        }
        self.parts = {"judge": SshApprovalJudge(), "catalogue": MemoryCatalogue(), "clock": SetClock()}
        self.plan = self.planned(tmp_path, rule, "lab-1")

    def planned(self, tmp_path, rule, wave):
        lab = load_inventory(ROOT / "inventories" / "lab", home=tmp_path)
        archive = lab.systems["archive"].model_copy(update={"approval": rule})
        lab = lab.model_copy(update={"systems": {"archive": archive}})
        runbook = parse_runbook((ROOT / "runbooks" / "migrate.yml").read_bytes(), "migrate.yml")
        plan = compile_plan(runbook, lab, healthy(lab), systems=["archive"], wave=wave, author="ben", closure={})
        self.parts["catalogue"].put("plan", plan.digest, plan.model_dump(mode="json"))
        return plan

    def approve(self, person, role="system-owner", *, key=None, plan=None, **named):
        return approve(
            plan or self.plan,
            person=person,
            role=role,
            key_file=str(self.keys / (key or person)),
            people=self.people,
            signer=SshApprovalSigner(),
            **self.parts,
            **named,
        )

    def standing(self, operator="ben", **named):
        return standing(self.plan, people=self.people, operator=operator, **self.parts, **named)

    def ensure(self, operator="ben", **named):
        return ensure_approved(self.plan, operator, people=self.people, **self.parts, **named)


@pytest.fixture
def office(keys, tmp_path):
    return Office(keys, tmp_path, ApprovalRule(persons_min=1, roles=("system-owner",)))


@pytest.fixture
def four_eyes(keys, tmp_path):
    return Office(keys, tmp_path, ApprovalRule(persons_min=2, roles=("system-owner", "security")))


def test_the_number_of_the_change_is_signed_with_the_word(office):
    signed = office.approve("ana", change_ticket="CHG-4711")
    told = Envelope.parse(signed.envelope).statement().predicate
    assert told["changeTicket"] == "CHG-4711"
    other = signed.statement.model_copy(update={"change_ticket": "CHG-1"})
    forged = signed.model_copy(update={"statement": other})
    with pytest.raises(ApprovalInvalid, match="what was signed is not what is shown"):
        SshApprovalJudge().check(forged, plan=office.plan.digest, people=office.people, now=signed.statement.at)


def test_an_approved_plan_may_run(office):
    office.approve("ana")
    assert office.ensure().approved


def test_a_plan_that_nobody_approved_may_not(office):
    with pytest.raises(ApprovalMissing, match="archive: nobody approved as system-owner; archive: 0 of 1") as caught:
        office.ensure()
    assert caught.value.exit_code == 41


def test_two_persons_in_two_roles_are_asked_for_and_one_in_both_is_not_enough(four_eyes):
    four_eyes.approve("olu")
    four_eyes.approve("olu", "security")
    assert four_eyes.standing().missing == ("archive: 1 of 2 persons approved",)
    four_eyes.approve("sam", "security")
    assert four_eyes.standing().approved


def test_two_words_of_one_person_are_one(four_eyes):
    four_eyes.approve("olu")
    four_eyes.approve("olu")
    assert len(four_eyes.standing().valid) == 1


def test_the_author_cannot_approve_but_can_withdraw(office):
    with pytest.raises(ApprovalInvalid, match="ben made this plan"):
        office.approve("ben")
    office.approve("ana")
    office.approve("ben", decision="reject", comment="wrong window")
    with pytest.raises(GateClosed, match="ben .* rejected plan .*: wrong window"):
        office.ensure()


def test_who_runs_it_does_not_count(office):
    office.approve("dan")
    assert office.standing(operator="ben").approved
    with pytest.raises(ApprovalInvalid, match="dan as system-owner: runs the plan") as caught:
        office.ensure(operator="dan")
    assert caught.value.exit_code == 42


@pytest.mark.parametrize(
    ("person", "role", "key", "words"),
    [
        ("nobody", "system-owner", "ana", "nobody in people.yml is called nobody"),
        ("sam", "system-owner", "sam", r"sam is not system-owner \(is: security\)"),
        ("ana", "system-owner", "stranger", "key"),
        ("ana", "system-owner", "olu", "key"),
    ],
)
def test_a_word_that_could_not_count_is_refused_at_once(office, person, role, key, words):
    with pytest.raises(ApprovalInvalid, match=words):
        office.approve(person, role, key=key)
    assert office.standing().valid == ()


def test_an_approval_runs_out(office):
    office.approve("ana", valid_for=timedelta(hours=1))
    assert office.standing().approved
    office.parts["clock"].pass_time(timedelta(hours=2))
    with pytest.raises(ApprovalInvalid, match="expired"):
        office.ensure()


@pytest.mark.parametrize("first", ["approve", "reject"])
def test_a_word_that_ran_out_leaves_what_the_same_person_said_before_silenced(office, first):
    office.approve("ana", decision=first)
    office.parts["clock"].pass_time(timedelta(minutes=1))
    office.approve("ana", valid_for=timedelta(hours=1))
    assert office.standing().approved
    office.parts["clock"].pass_time(timedelta(hours=2))
    with pytest.raises(ApprovalInvalid, match="expired"):
        office.ensure()
    assert not office.standing().rejected


@pytest.mark.parametrize("days", [0, -1, 91])
def test_an_approval_for_ever_or_for_no_time_is_refused(office, days):
    with pytest.raises(ApprovalInvalid, match="at most 90 days"):
        office.approve("ana", valid_for=timedelta(days=days))


def test_a_rejection_closes_until_the_same_person_approves(office):
    office.approve("ana")
    office.parts["clock"].pass_time(timedelta(minutes=1))
    office.approve("olu", "security", decision="reject", comment="no window")
    with pytest.raises(GateClosed, match=r"olu \(security\) rejected"):
        office.ensure()
    office.parts["clock"].pass_time(timedelta(minutes=1))
    office.approve("olu", "security")
    assert office.ensure().approved


def test_an_old_approval_put_back_does_not_undo_a_rejection(office):
    first = office.approve("ana")
    office.parts["clock"].pass_time(timedelta(minutes=1))
    office.approve("ana", decision="reject")
    replayed = first.model_dump(mode="json")
    office.parts["catalogue"].put("approval", f"{office.plan.digest}/ana/system-owner/again", replayed)
    assert not office.standing().approved


def test_an_approval_of_another_plan_does_not_count_and_is_named(office, tmp_path):
    rule = ApprovalRule(persons_min=1, roles=("security", "system-owner"))
    edited = office.planned(tmp_path, rule, "lab-1")
    office.approve("ana", plan=edited)
    with pytest.raises(ApprovalMissing, match=f"wave lab-1 was approved as {edited.digest}, which is another plan"):
        office.ensure()


def test_an_approval_moved_to_another_plan_is_refused(office, tmp_path):
    edited = office.planned(tmp_path, ApprovalRule(persons_min=2), "lab-1")
    moved = office.approve("ana", plan=edited).model_dump(mode="json")
    office.parts["catalogue"].put("approval", f"{office.plan.digest}/ana/system-owner/moved", moved)
    with pytest.raises(ApprovalInvalid, match="for another plan"):
        office.ensure()


def test_a_forged_statement_is_refused(office):
    signed = office.approve("ana", valid_for=timedelta(hours=1)).model_dump(mode="json")
    signed["statement"]["expires_at"] = "2036-11-21T22:00:00.000Z"
    office.parts["catalogue"].put("approval", f"{office.plan.digest}/ana/system-owner/forged", signed)
    refused = office.standing().refused
    assert [item.why for item in refused] == ["the approval by ana: what was signed is not what is shown"]


def test_a_person_who_left_or_changed_keys_counts_no_more(office):
    office.approve("ana")
    del office.people["ana"]
    with pytest.raises(ApprovalInvalid, match="knows nobody of that name"):
        office.ensure()


def test_an_approval_for_one_run_is_used_up_by_it(office):
    begun = "2026-11-22T12:00:00.000Z"
    office.approve("ana", max_runs=1)
    at = office.standing().valid[0].statement.at
    assert office.standing(runs_begun=["2020-01-01T00:00:00.000Z"]).approved, "a run of before used none of it"
    found = office.standing(runs_begun=[max(begun, at)])
    assert (found.approved, found.refused[0].why) == (False, "it was for 1 run, and 1 began since")
    with pytest.raises(ApprovalInvalid, match="it was for 1 run"):
        office.ensure(runs_begun=[max(begun, at)])
