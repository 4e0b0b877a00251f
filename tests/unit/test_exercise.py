"""Tabletops and walkthroughs: led from a runbook, approved and recorded as any run, no host touched."""

from pathlib import Path

import pytest

from orchestrator.evidence.review import record_review
from orchestrator.evidence.signed_words import Signing, finished_run
from orchestrator.foundation.errors import ApprovalMissing, UsageError
from orchestrator.foundation.places import ledger_folder
from orchestrator.operations.exercise import Answer, answers_in, lead, plan_exercise
from tests.fakes.surveys import healthy
from tests.fakes.wave_desk import wave_desk_fixtures

RUNBOOK = Path(__file__).resolve().parents[2] / "runbooks" / "drill.yml"
STEPS = ["preflight", "check_before", "replicate_to_dr", "recovery_point"]


keys, estate, desk = wave_desk_fixtures(1)


@pytest.fixture
def plan(desk):
    return plan_exercise(desk, RUNBOOK, kind="tabletop", systems=("s0",), author="ben", facts=healthy(desk.inventory))


def approve(desk, plan, keys) -> None:
    desk.approve(plan, person="ana", role="system-owner", key_file=str(keys / "ana"))


def test_every_step_is_put_to_the_people_in_order_and_what_they_say_is_on_record(desk, plan, keys):
    approve(desk, plan, keys)
    asked = []

    def answer(step):
        asked.append(step)
        in_doubt = step.step == "recovery_point"
        return Answer(works=not in_doubt, comment="who has the password of the vault?" if in_doubt else "")

    status, findings = lead(desk, plan, operator="ben", answer=answer)
    assert [system.state for system in status.systems] == ["committed"]
    assert [each.step for each in asked][:4] == STEPS
    assert asked[2].text.startswith("replicate (source source, replica dr, ")
    assert "(side dr, point latest, way back, pass within 120)" in asked[4].text
    assert asked[-1].success_criteria == ("the evaluator, who did not run the drill, says yes",)
    assert asked[2].success_criteria == ("DR has replayed all that the source had written",)
    [doubt] = findings
    assert doubt.text.endswith(": who has the password of the vault?")
    assert desk.site.deeds("s0") == []
    story = finished_run(ledger_folder(), status.run).story
    assert (story.kind, story.result) == ("tabletop", "passed")
    assert list(desk.papers.files(plan.digest)) == list(plan.closure), "its runbook goes on record though none ships it"
    told = [row.observed["reason"] for row in status.systems[0].steps if row.step == "recovery_point"]
    assert told == ["in doubt: who has the password of the vault?"]
    with pytest.raises(UsageError, match="is a tabletop that ended passed, and closes no finding"):
        carla = Signing(person="carla", role="auditor", key_file=str(keys / "carla"))
        record_review(ledger_folder(), status.run, conclusion="talked over", closes=[doubt.id], **carla)


def test_nobody_leads_an_exercise_that_was_not_approved(desk, plan):
    with pytest.raises(ApprovalMissing):
        lead(desk, plan, operator="ben", answer=lambda step: Answer(works=True))
    assert desk.runs.list() == []


def test_a_plan_that_does_something_is_not_led_as_an_exercise(desk, keys):
    plan = desk.make_plan(RUNBOOK, wave="s0", author="ben", facts=healthy(desk.inventory), systems=["s0"])
    approve(desk, plan, keys)
    with pytest.raises(UsageError, match="is no exercise: its runbook is drill"):
        lead(desk, plan, operator="ben", answer=lambda step: Answer(works=True))
    assert desk.runs.list() == []


def test_answers_come_from_a_file_and_a_step_without_one_ends_it_with_its_name(desk, plan, keys, tmp_path):
    approve(desk, plan, keys)
    file = tmp_path / "answers.yml"
    file.write_text("preflight: yes\ncheck_before: nobody knows the front's name\n")
    with pytest.raises(UsageError, match="does not answer step replicate_to_dr"):
        lead(desk, plan, operator="ben", answer=answers_in(file))
    all_steps = [step.id for step in plan.systems[0].steps]
    file.write_text("".join(f"{step}: yes\n" for step in all_steps))
    status, findings = lead(desk, plan, operator="ben", answer=answers_in(file))
    assert [system.state for system in status.systems] == ["committed"]
    [doubt] = findings
    assert doubt.text.endswith(": nobody knows the front's name"), "said before it was broken off"
    assert len(desk.runs.list()) == 1, "it went on where it was broken off"


def test_a_file_of_answers_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        answers_in(tmp_path / "none.yml")
