"""All nine gates of a move: each stands somewhere, judged on observed values; one that stands nowhere is closed."""

import pytest

from orchestrator.foundation.errors import ApprovalMissing, GateClosed
from orchestrator.operations.gates import GATES, gates_of
from orchestrator.operations.wave import commit_wave, run_wave
from orchestrator.operations.wave_retire import retire_wave
from orchestrator.operations.wave_status import wave_status
from orchestrator.operations.wave_words import decide
from orchestrator.planning.wave_file import parse_wave_file
from tests.fakes.surveys import changed, healthy
from tests.fakes.wave_desk import RUNBOOK, approved_plan, waves_of
from tests.unit.test_wave_runs import desk, estate, keys

__all__ = ["desk", "estate", "keys"]  # fixtures

LAB = RUNBOOK.parents[1] / "inventories" / "lab" / "group_vars" / "skerry" / "waves.yml"
NINE = """\
waves:
  gates:
    G0: {criteria: [{id: whole, step: scope, observed: hard_dependencies_outside, comparison: at_most, expected: 0}]}
    G1: {criteria: [{id: allowed, step: release, observed: places_not_allowed, comparison: at_most, expected: 0}]}
    G2: {criteria: [{id: near, step: replica, observed: systems_without_locked_copy, comparison: at_most, expected: 9}]}
    G3: {criteria: [{id: drilled, step: said, observed: drilled, comparison: equal, expected: true}]}
    G4: {criteria: [{id: facts, step: scope, observed: facts_unchanged, comparison: equal, expected: true}]}
    G7: {criteria: [{id: same, step: members, observed: changed, comparison: at_most, expected: 0}]}
    G8: {criteria: [{id: erased, step: said, observed: certificate, comparison: not_empty}]}
  order:
    - {wave: pilot, systems: [s0], entry: [G0, G1, G2, G3, G4], exit: [G7], retire: [G8]}
"""
PLAIN = "waves:\n  order:\n    - {wave: pilot, systems: [s0]}\n"


@pytest.fixture
def surveyed(desk, estate):
    """The desk, once its hosts were asked."""
    desk.catalogue.put("facts", estate.digest, healthy(estate).model_dump(mode="json"))
    return desk


def go(desk, waves, keys, gate, **said):
    decide(
        desk, waves, "pilot", gate, person="ana", role="system-owner", key_file=str(keys / "ana"), decision="go",
        said=said,
    )  # fmt: skip


def listed(desk, waves, plan):
    return {row.gate: row for row in gates_of(desk, plan, wave_status(desk, waves, "pilot").gates)}


def test_the_shipped_waves_ask_at_every_gate_that_the_runbook_does_not(tmp_path):
    findings = []
    file = parse_wave_file(LAB.read_bytes(), "waves.yml", findings)
    assert file is not None, findings
    assert {"G0", "G1", "G2", "G4", "G7", "G8"} <= set(file.gates)
    assert all(gate.criteria for gate in file.gates.values())


def test_a_wave_passes_all_nine_gates_each_with_values_and_who_decided(surveyed, estate, keys):
    desk = surveyed
    waves = waves_of(NINE, estate)
    plan = approved_plan(desk, waves, "pilot", keys)
    before = listed(desk, waves, plan)
    assert list(before) == list(GATES)
    assert {row.state for row in before.values()} == {"closed", "not_judged"}
    for gate in ("G0", "G1", "G2", "G4"):
        with pytest.raises(ApprovalMissing, match=f"gate {gate} is closed: nobody said go"):
            run_wave(desk, waves, "pilot", operator="ben")
        go(desk, waves, keys, gate)
    with pytest.raises(ApprovalMissing, match="gate G3 is closed"):
        run_wave(desk, waves, "pilot", operator="ben")
    go(desk, waves, keys, "G3", drilled=True)
    run_wave(desk, waves, "pilot", operator="ben")
    with pytest.raises(GateClosed, match="wave pilot is soaked: nothing of its old side is given up"):
        retire_wave(desk, waves, "pilot", operator="ben")
    with pytest.raises(ApprovalMissing, match="gate G7 is closed"):
        commit_wave(desk, waves, "pilot", operator="ben")
    go(desk, waves, keys, "G7")
    assert commit_wave(desk, waves, "pilot", operator="ben").state == "passed"
    with pytest.raises(ApprovalMissing, match="gate G8 is closed"):
        retire_wave(desk, waves, "pilot", operator="ben")
    assert desk.catalogue.get("retired_source", "s0") is None
    go(desk, waves, keys, "G8", certificate="nr. 7 of the shredder")
    retire_wave(desk, waves, "pilot", operator="ben")
    retired = desk.catalogue.get("retired_source", "s0")
    assert retired is not None
    assert retired["by"] == "ben"
    after = listed(desk, waves, plan)
    assert {row.state for row in after.values()} == {"open"}, after
    for row in after.values():
        assert row.criteria
        assert all(each.passed and not each.missing for each in row.criteria)
        assert row.by == (("ben",) if row.gate in ("G5", "G6") else ("ana (system-owner): go",))
        assert bool(row.expires_at) is (row.gate not in ("G5", "G6"))


def test_a_gate_that_stands_nowhere_is_closed(surveyed, estate, keys):
    desk = surveyed
    waves = waves_of(PLAIN, estate)
    plan = approved_plan(desk, waves, "pilot", keys)
    rows = listed(desk, waves, plan)
    assert {gate for gate, row in rows.items() if row.state == "nowhere"} == {"G0", "G1", "G2", "G3", "G4", "G7", "G8"}
    run_wave(desk, waves, "pilot", operator="ben")
    commit_wave(desk, waves, "pilot", operator="ben")
    with pytest.raises(GateClosed, match="wave pilot has no gate G8, so nothing was judged"):
        retire_wave(desk, waves, "pilot", operator="ben")


def test_facts_that_changed_since_close_a_gate_that_asks_for_them(surveyed, estate, keys):
    desk = surveyed
    waves = waves_of(NINE, estate)
    plan = approved_plan(desk, waves, "pilot", keys)
    go(desk, waves, keys, "G4")
    assert listed(desk, waves, plan)["G4"].state == "open"
    facts = changed(healthy(estate), next(iter(estate.hosts)), cpus=99)
    desk.catalogue.put("facts", estate.digest, facts.model_dump(mode="json"))
    row = listed(desk, waves, plan)["G4"]
    assert row.state == "closed"
    assert "facts: scope.facts_unchanged is False" in row.why
