"""Waves as they run: promoted after a soak, stopped by the first that fails, left alone where they are done."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.evidence.run_result import WARNED, result_of
from orchestrator.evidence.signed_words import finished_run
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import ApprovalInvalid, ApprovalMissing, GateClosed, PlanningError, UsageError
from orchestrator.foundation.places import ledger_folder
from orchestrator.model.plan import Plan
from orchestrator.operations.wave import ask_wave, commit_wave, run_wave
from orchestrator.operations.wave_status import plan_of_wave, wave_status
from orchestrator.operations.wave_words import decide, waive
from tests.fakes.wave_desk import approved_plan, wave_desk_fixtures, waves_of

TWO_WAVES = """\
waves:
  order:
    - {wave: pilot, systems: [s0, s1], soak: 1h}
    - {wave: rest, systems: [s2, s3]}
"""
GATED = """\
waves:
  gates:
    G4:
      persons_min: 2
      valid_for: 2h
      criteria:
        - {id: checklist, step: said, observed: checklist_done, comparison: equal, expected: true}
        - {id: approved, step: plan, observed: approved, comparison: equal, expected: true}
    G7:
      criteria:
        - {id: unchanged, step: members, observed: changed, comparison: at_most, expected: 0}
        - {id: no_open_problem, step: said, observed: problems, comparison: at_most, expected: 0}
  order:
    - {wave: pilot, systems: [s0, s1], entry: [G4], exit: [G7]}
"""


keys, estate, desk = wave_desk_fixtures(4)


def later(desk, **span) -> None:
    desk.clock.ahead += timedelta(**span)


def plan_of(desk) -> Plan:
    plan = plan_of_wave(desk, "pilot")
    assert plan is not None
    return plan


def states(status) -> dict[str, str]:
    return {member.system: member.state for member in status.members}


def ledger_is_whole() -> bool:
    return verify_log(ledger_folder(), vkeys=own_keys(ledger_folder())).verified


def told(desk, kind: str) -> list[str]:
    import sqlite3

    with sqlite3.connect(ledger_folder() / "ledger.db") as connection:
        rows = connection.execute("select * from entries").fetchall()
    return [str(row) for row in rows if f"skerry.{kind}.v1" in str(row)]


class TestPromotion:
    def test_a_wave_goes_to_its_new_side_soaks_is_committed_and_lets_the_next_one_begin(self, desk, estate, keys):
        waves = waves_of(TWO_WAVES, estate)
        approved_plan(desk, waves, "pilot", keys)
        approved_plan(desk, waves, "rest", keys)
        with pytest.raises(GateClosed, match="wave rest comes after wave pilot, which is not begun"):
            run_wave(desk, waves, "rest", operator="ben")
        status = run_wave(desk, waves, "pilot", operator="ben")
        assert (status.state, states(status)) == ("soaking", {"s0": "paused", "s1": "paused"})
        with pytest.raises(GateClosed, match="wave rest comes after wave pilot, which is soaking until 20"):
            run_wave(desk, waves, "rest", operator="ben")
        with pytest.raises(GateClosed, match="wave pilot is soaking until 20.* so it cannot be committed"):
            commit_wave(desk, waves, "pilot", operator="ben")
        later(desk, hours=2)
        assert wave_status(desk, waves, "pilot").state == "soaked"
        assert commit_wave(desk, waves, "pilot", operator="ben").state == "passed"
        assert run_wave(desk, waves, "rest", operator="ben").state == "soaked"
        assert desk.site.violations() == []
        assert ledger_is_whole()

    def test_a_wave_that_is_there_is_left_alone_and_looked_at(self, desk, estate, keys):
        waves = waves_of(TWO_WAVES, estate)
        approved_plan(desk, waves, "pilot", keys)
        first = run_wave(desk, waves, "pilot", operator="ben")
        again = run_wave(desk, waves, "pilot", operator="ben")
        assert (again.runs, again.state) == (first.runs, "soaking")
        assert (first.left_alone, again.left_alone) == ((), tuple(member.system for member in first.members))
        with desk.site.changing("s1") as system:
            system.state["front"] = "source"
        with pytest.raises(GateClosed, match=r"no longer what they were: s1: clients are sent to 192.0.2.\d+, they"):
            run_wave(desk, waves, "pilot", operator="ben")
        later(desk, hours=2)
        with pytest.raises(GateClosed, match="no longer what they were: s1"):
            commit_wave(desk, waves, "pilot", operator="ben")

    def test_what_waves_yml_says_otherwise_since_is_refused(self, desk, estate, keys):
        waves = waves_of(TWO_WAVES, estate)
        approved_plan(desk, waves, "pilot", keys)
        edited = waves_of(TWO_WAVES.replace("soak: 1h", "soak: 1m"), estate)
        with pytest.raises(PlanningError, match="waves.yml says something else of it now"):
            run_wave(desk, edited, "pilot", operator="ben")
        other_wave = waves_of(TWO_WAVES.replace("{wave: rest, systems", "{wave: rest, soak: 9h, systems"), estate)
        assert run_wave(desk, other_wave, "pilot", operator="ben").state == "soaking"

    def test_a_wave_that_was_not_planned_or_approved_does_not_begin(self, desk, estate, keys):
        waves = waves_of(TWO_WAVES, estate)
        with pytest.raises(UsageError, match="wave pilot has no plan"):
            run_wave(desk, waves, "pilot", operator="ben")
        approved_plan(desk, waves, "pilot", keys)
        with pytest.raises(ApprovalInvalid, match="runs the plan"):
            run_wave(desk, waves, "pilot", operator="ana")
        assert wave_status(desk, waves, "pilot").runs == ()


class TestTrouble:
    def test_the_first_that_fails_stops_those_that_interrupted_nothing_yet(self, desk, estate, keys):
        text = "waves:\n  limits: {per_site: 1}\n  order:\n    - {wave: pilot, systems: [s0, s1, s2]}\n"
        waves = waves_of(text, estate)
        approved_plan(desk, waves, "pilot", keys)
        desk.faults.failures["check_front"] = 1
        status = run_wave(desk, waves, "pilot", operator="ben")
        assert status.state == "stopped"
        assert sorted(states(status).values()) == ["paused", "paused", "rolled_back"]
        for member in status.members:
            if member.state == "paused":
                assert not member.is_there
                assert desk.site.system(member.system).takes_writes("source")
        assert desk.site.violations() == []
        with pytest.raises(GateClosed, match="wave pilot is stopped, so it cannot be committed"):
            commit_wave(desk, waves, "pilot", operator="ben")

    def test_the_rest_is_done_by_another_run_and_finished_members_are_left_alone(self, desk, estate, keys):
        waves = waves_of("waves:\n  order:\n    - {wave: pilot, systems: [s0, s1]}\n", estate)
        approved_plan(desk, waves, "pilot", keys)
        desk.faults.failures["check_front"] = 1
        first = run_wave(desk, waves, "pilot", operator="ben")
        (back,) = [member.system for member in first.members if member.state == "rolled_back"]
        other = "s1" if back == "s0" else "s0"
        waive(
            desk, waves, "pilot", back, person="ana", role="system-owner", key_file=str(keys / "ana"), because="later"
        )
        run_wave(desk, waves, "pilot", operator="ben")
        assert commit_wave(desk, waves, "pilot", operator="ben").state == "passed_with_waivers"
        later(desk, days=31)  # the waiver is over
        assert wave_status(desk, waves, "pilot").state == "stopped"
        deeds = desk.site.deeds(other)
        desk.approve(
            plan_of(desk), person="ana", role="system-owner", key_file=str(keys / "ana")
        )  # so is the approval
        again = run_wave(desk, waves, "pilot", operator="ben")
        assert (again.state, states(again)) == ("soaked", {back: "paused", other: "committed"})
        assert len(again.runs) == 2
        assert again.left_alone == (other,)
        assert [system.system for system in desk.runs.status(again.runs[1]).systems] == [back]
        assert desk.site.deeds(other) == deeds
        assert desk.site.violations() == []
        assert ledger_is_whole()

    def test_an_approval_that_was_taken_back_leaves_only_the_way_back(self, desk, estate, keys):
        waves = waves_of("waves:\n  order:\n    - {wave: pilot, systems: [s0]}\n", estate)
        plan = approved_plan(desk, waves, "pilot", keys)
        run_wave(desk, waves, "pilot", operator="ben")
        desk.revoke(plan, person="ana", role="system-owner", key_file=str(keys / "ana"), because="an audit begins")
        for go_on in (
            lambda: commit_wave(desk, waves, "pilot", operator="ben"),
            lambda: ask_wave(desk, waves, "pilot", "resume", operator="ben", because="all is well"),
        ):
            with pytest.raises(GateClosed, match="wave pilot does not go on: ana revoked .*an audit begins"):
                go_on()
        back = ask_wave(desk, waves, "pilot", "rollback", operator="ben", because="it was revoked")
        assert states(back) == {"s0": "rolled_back"}
        assert desk.site.violations() == []

    def test_a_wave_is_taken_back_as_a_whole(self, desk, estate, keys):
        waves = waves_of(TWO_WAVES, estate)
        approved_plan(desk, waves, "pilot", keys)
        run_wave(desk, waves, "pilot", operator="ben")
        status = ask_wave(desk, waves, "pilot", "rollback", operator="ben", because="the owner wants it back")
        assert (status.state, set(states(status).values())) == ("stopped", {"rolled_back"})
        assert all(desk.site.system(name).takes_writes("source") for name in ("s0", "s1"))
        with pytest.raises(GateClosed, match="nothing of wave pilot is under way"):
            ask_wave(desk, waves, "pilot", "pause", operator="ben", because="lunch")
        # It may be tried again, from the start, under the same approval.
        assert run_wave(desk, waves, "pilot", operator="ben").state == "soaking"
        assert desk.site.violations() == []
        assert ledger_is_whole()

    def test_a_waived_member_lets_the_wave_go_on_and_never_counts_as_passed(self, desk, estate, keys):
        waves = waves_of(TWO_WAVES, estate)
        plan = approved_plan(desk, waves, "pilot", keys)
        desk.faults.failures["check_front"] = 1
        status = run_wave(desk, waves, "pilot", operator="ben")
        (back,) = [member.system for member in status.members if member.state == "rolled_back"]
        with pytest.raises(ApprovalInvalid, match="ben made this plan"):
            waive(desk, waves, "pilot", back, person="ben", role="migration-engineer", key_file="", because="no")
        by_ana = {"person": "ana", "role": "system-owner", "key_file": str(keys / "ana")}
        waive(desk, waves, "pilot", back, because="moves next year", **by_ana)
        status = run_wave(desk, waves, "pilot", operator="ben")
        assert status.state == "soaking"
        with pytest.raises(GateClosed, match="is paused: it cannot be gone without"):
            waive(desk, waves, "pilot", "s1" if back == "s0" else "s0", because="too", **by_ana)
        waive(desk, waves, "pilot", None, because="the owner is content", **by_ana)
        status = commit_wave(desk, waves, "pilot", operator="ben")
        assert status.state == "passed_with_waivers"
        assert [waiver.because for waiver in status.waivers] == ["moves next year", "the owner is content"]
        assert plan.digest == status.plan
        assert len(told(desk, "waiver.given")) == 2


def begun(step: str):
    """Once some member has begun that step."""
    return lambda status: any(row.step == step for system in status.systems for row in system.steps)


class TestCtrlC:
    TEXT = "waves:\n  limits: {per_site: 1}\n  order:\n    - {wave: pilot, systems: [s0, s1]}\n"

    def test_it_leaves_the_wave_as_it_stands_and_the_same_command_goes_on(self, desk, estate, keys):
        waves = waves_of(self.TEXT, estate)
        approved_plan(desk, waves, "pilot", keys)
        desk.interrupted_when = begun("replicate_to_dr")
        with pytest.raises(KeyboardInterrupt):
            run_wave(desk, waves, "pilot", operator="ben")
        desk.interrupted_when = lambda _status: False
        status = run_wave(desk, waves, "pilot", operator="ben")
        assert (status.state, len(status.runs)) == ("soaked", 1)
        assert desk.site.violations() == []

    def test_asked_to_pause_it_stops_where_nothing_is_interrupted(self, desk, estate, keys):
        waves = waves_of(self.TEXT, estate)
        approved_plan(desk, waves, "pilot", keys)
        desk.interrupted_when = begun("drain")
        status = run_wave(desk, waves, "pilot", operator="ben", on_interrupt="pause")
        there = [member for member in status.members if member.is_there]
        held = [member for member in status.members if not member.is_there]
        assert [len(there), len(held)] == [1, 1], "one was past its drain, and went on to its end"
        assert held[0].state == "paused"
        assert desk.site.system(held[0].system).takes_writes("source")
        desk.interrupted_when = lambda _status: False
        assert ask_wave(desk, waves, "pilot", "resume", operator="ben", because="go on").state == "soaked"
        assert desk.site.violations() == []

    def test_asked_to_go_back_it_takes_all_members_home(self, desk, estate, keys):
        waves = waves_of(self.TEXT, estate)
        approved_plan(desk, waves, "pilot", keys)
        desk.interrupted_when = begun("drain")
        status = run_wave(desk, waves, "pilot", operator="ben", on_interrupt="rollback")
        assert set(states(status).values()) <= {"rolled_back", "cancelled"}
        assert all(desk.site.system(name).takes_writes("source") for name in ("s0", "s1"))
        assert desk.site.violations() == []


class TestWindows:
    def text(self, desk, start_minutes: float, end_minutes: float, rollback: str = "10m") -> str:
        now = datetime.now(UTC) + desk.clock.ahead
        start, end = (f"{now + timedelta(minutes=each):%Y-%m-%dT%H:%M:%S}" for each in (start_minutes, end_minutes))
        window = f"{{start: '{start}', end: '{end}', time_zone: UTC}}"
        return f"waves:\n  order:\n    - {{wave: pilot, systems: [s0], rollback: {rollback}, window: {window}}}\n"

    def test_before_its_window_a_wave_is_prepared_and_interrupts_nothing(self, desk, estate, keys):
        waves = waves_of(self.text(desk, 60, 240), estate)
        approved_plan(desk, waves, "pilot", keys)
        status = run_wave(desk, waves, "pilot", operator="ben")
        assert status.state == "paused"
        assert desk.site.system("s0").takes_writes("source")
        assert "seed_cloud" in desk.site.deeds("s0")
        assert "drain" not in desk.site.deeds("s0")
        later(desk, minutes=61)
        assert run_wave(desk, waves, "pilot", operator="ben").state == "soaked"

    def test_too_late_for_the_way_back_nothing_is_interrupted(self, desk, estate, keys):
        waves = waves_of(self.text(desk, -60, 60), estate)
        approved_plan(desk, waves, "pilot", keys)
        later(desk, minutes=55)
        status = run_wave(desk, waves, "pilot", operator="ben")
        assert status.state == "stopped"
        assert "time_for_the_way_back" in status.members[0].reason
        assert "drain" not in desk.site.deeds("s0")
        assert desk.site.system("s0").takes_writes("source")
        assert status.window["spare_seconds"] < 0

    def test_after_its_window_a_wave_does_not_begin(self, desk, estate, keys):
        waves = waves_of(self.text(desk, -60, 60), estate)
        approved_plan(desk, waves, "pilot", keys)
        later(desk, minutes=61)
        with pytest.raises(GateClosed, match="the window of wave pilot was over at"):
            run_wave(desk, waves, "pilot", operator="ben")
        with pytest.raises(PlanningError, match="was over at .*; give it another"):
            approved_plan(desk, waves, "pilot", keys)


class TestGates:
    def go(self, desk, waves, keys, person, gate="G4", *, key="", decision="go", role="system-owner", **said):
        said = said or {"checklist_done": True}
        key_file = str(keys / (key or person))
        return decide(
            desk, waves, "pilot", gate, person=person, role=role, key_file=key_file, decision=decision, said=said
        )

    def test_a_gate_opens_when_enough_persons_said_go_on_what_they_observed(self, desk, estate, keys):
        waves = waves_of(GATED, estate)
        plan = approved_plan(desk, waves, "pilot", keys)
        with pytest.raises(ApprovalMissing, match="gate G4 is closed: nobody said go as system-owner; 0 of 2 persons"):
            run_wave(desk, waves, "pilot", operator="ben")
        self.go(desk, waves, keys, "ana")
        with pytest.raises(ApprovalMissing, match="1 of 2 persons said go"):
            run_wave(desk, waves, "pilot", operator="ben")
        self.go(desk, waves, keys, "eve")
        status = run_wave(desk, waves, "pilot", operator="ben")
        entry, leave = status.gates
        assert (entry.open, leave.open, status.state) == (True, False, "soaked")
        seen = [(each.id, each.observed) for each in entry.verdict.criteria]
        assert seen == [("checklist", True), ("approved", True)]
        with pytest.raises(ApprovalMissing, match="gate G7 is closed: nobody said go as system-owner"):
            commit_wave(desk, waves, "pilot", operator="ben")
        self.go(desk, waves, keys, "eve", "G7", problems=0)
        assert commit_wave(desk, waves, "pilot", operator="ben").state == "passed"
        assert len(told(desk, "gate.decided")) == 3
        assert ledger_is_whole()
        assert plan.digest == status.plan

    def test_words_that_cannot_count_are_refused(self, desk, estate, keys):
        waves = waves_of(GATED, estate)
        approved_plan(desk, waves, "pilot", keys)
        with pytest.raises(ApprovalInvalid, match="asks what you observed of checklist_done"):
            self.go(desk, waves, keys, "ana", problems=0)
        with pytest.raises(ApprovalInvalid, match="asks for system-owner, not auditor"):
            self.go(desk, waves, keys, "ana", role="auditor")
        with pytest.raises(ApprovalInvalid, match="the word of ana: "):
            self.go(desk, waves, keys, "ana", key="eve")
        with pytest.raises(UsageError, match=r"wave pilot has no gate G2 \(there are: G4, G7\)"):
            self.go(desk, waves, keys, "ana", "G2")

    def test_words_that_do_not_count_now_keep_the_gate_closed_and_say_why(self, desk, estate, keys):
        waves = waves_of(GATED, estate)
        approved_plan(desk, waves, "pilot", keys)
        self.go(desk, waves, keys, "ana", checklist_done=False)
        self.go(desk, waves, keys, "eve")
        with pytest.raises(GateClosed, match="ana as system-owner: said go, but checklist: said.checklist_done is F"):
            run_wave(desk, waves, "pilot", operator="ben")
        self.go(desk, waves, keys, "ana")
        with pytest.raises(GateClosed, match="eve as system-owner: runs the wave"):
            run_wave(desk, waves, "pilot", operator="eve")
        later(desk, hours=3)
        with pytest.raises(GateClosed, match="eve as system-owner: it expired at"):
            run_wave(desk, waves, "pilot", operator="ben")

    def test_a_no_closes_the_gate_until_the_same_person_says_go(self, desk, estate, keys):
        waves = waves_of(GATED, estate)
        approved_plan(desk, waves, "pilot", keys)
        self.go(desk, waves, keys, "ana")
        self.go(desk, waves, keys, "eve")
        later(desk, seconds=1)
        self.go(desk, waves, keys, "eve", decision="no_go")
        with pytest.raises(GateClosed, match=r"eve \(system-owner\) said no"):
            run_wave(desk, waves, "pilot", operator="ben")

    def test_a_word_for_another_plan_is_no_word(self, desk, estate, keys):
        waves = waves_of(GATED, estate)
        old = approved_plan(desk, waves, "pilot", keys)
        self.go(desk, waves, keys, "ana")
        self.go(desk, waves, keys, "eve")
        edited = waves_of(GATED.replace("valid_for: 2h", "valid_for: 3h"), estate)
        new = approved_plan(desk, edited, "pilot", keys)
        for key, document in desk.catalogue.list("wave_word", prefix=old.digest):
            desk.catalogue.put("wave_word", key.replace(old.digest, new.digest), document)
        with pytest.raises(GateClosed, match="ana as system-owner: it is for another plan"):
            run_wave(desk, edited, "pilot", operator="ben")

    def test_the_door_round_a_gate_is_on_record_and_shows(self, desk, estate, keys):
        waves = waves_of(GATED, estate)
        approved_plan(desk, waves, "pilot", keys)
        with pytest.raises(UsageError, match="say why gate G4 is skipped"):
            run_wave(desk, waves, "pilot", operator="ben", skip={"G4": " "})
        status = run_wave(desk, waves, "pilot", operator="ben", skip={"G4": "the owner is on a plane"})
        assert [(each.gate, each.person, each.because) for each in status.skipped] == [
            ("G4", "ben", "the owner is on a plane")
        ]
        entry = status.gates[0]
        assert (entry.open, entry.skipped is not None) == (False, True)
        (event,) = told(desk, "gate.skipped")
        assert "the owner is on a plane" in event
        ended = commit_wave(desk, waves, "pilot", operator="ben", skip={"G7": "still on the plane"})
        assert [each.gate for each in ended.skipped] == ["G4", "G7"]
        run = finished_run(ledger_folder(), ended.runs[0])
        assert result_of(run.story)["result"] == WARNED, "whoever goes round a gate has not simply passed"


def test_times_of_a_status_are_times(desk, estate, keys):
    waves = waves_of(TWO_WAVES, estate)
    approved_plan(desk, waves, "pilot", keys)
    status = run_wave(desk, waves, "pilot", operator="ben")
    assert status.soak_ends_at > timestamp(datetime.now(UTC))
    assert all(member.since and member.left is not None and member.left.side == "cloud" for member in status.members)
