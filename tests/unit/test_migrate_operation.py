"""What a run's end means, and which run a plan goes on with."""

import re

import pytest

from orchestrator.contracts.engine import RunStatus, StepStatus, SystemState, SystemStatus
from orchestrator.foundation.errors import OrchestratorError, RolledBack, RunFailed
from orchestrator.operations.migrate import complain, new_run_id

UUID_7 = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


def ended(**states: SystemState) -> RunStatus:
    return RunStatus(
        run="r1",
        plan="sha256:" + "0" * 64,
        wave="w",
        kind="migrate",
        operator="ben",
        state="finished",
        created_at="2026-11-21T00:00:00.000Z",
        systems=tuple(SystemStatus(system=name, state=state, reason="because") for name, state in states.items()),
    )


def test_a_run_whose_systems_are_committed_is_a_good_end() -> None:
    complain(ended(filing="committed", archive="committed"))


def test_a_rolled_back_system_is_told_with_its_own_exit_code() -> None:
    with pytest.raises(RolledBack, match="archive: because") as told:
        complain(ended(filing="committed", archive="rolled_back"))
    assert told.value.exit_code == 62


def test_a_failed_system_weighs_more_than_a_rolled_back_one() -> None:
    with pytest.raises(RunFailed, match="filing is rollback_failed"):
        complain(ended(filing="rollback_failed", archive="rolled_back"))


@pytest.mark.parametrize("state", ["failed", "rolled_back"])
def test_what_can_be_done_about_the_step_that_failed_is_said_first_and_once(state: SystemState) -> None:
    steps = tuple(
        StepStatus(system="filing", step=name, mode="do", state=ended_as, hint=hint)
        for name, ended_as, hint in [
            ("look", "done", "never mind"),
            ("seize_authority", "failed", "skerry word filing --down source"),
            ("promote", "unknown", "skerry word filing --down source"),
        ]
    )
    status = ended(filing=state)
    system = status.systems[0].model_copy(update={"steps": steps, "over": True})
    with pytest.raises(OrchestratorError) as told:
        complain(status.model_copy(update={"systems": (system,)}))
    first, *others = told.value.hint.splitlines()
    assert first == "skerry word filing --down source"
    assert len(others) == 1


@pytest.mark.parametrize(
    ("state", "mode", "step_state", "way"),
    [
        ("rollback_failed", "undo", "failed", "skerry rollback filing --as"),
        ("failed", "do", "failed", "skerry runs ask retry r1 --system filing --step promote --as"),
        ("failed", "do", "unknown", "skerry runs ask found_applied|found_absent r1 --system filing --step promote"),
        ("rollback_failed", "undo", "unknown", "skerry runs ask found_applied|found_absent r1"),
    ],
)
def test_a_run_that_stands_at_what_failed_says_how_it_goes_on(state, mode, step_state, way) -> None:
    """The command that began it would find it standing there."""
    step = StepStatus(system="filing", step="promote", mode=mode, state=step_state, hint="Look at the host.")
    system = ended(filing=state).systems[0].model_copy(update={"steps": (step,)})
    with pytest.raises(RunFailed) as told:
        complain(ended(filing=state).model_copy(update={"systems": (system,)}))
    assert way in told.value.hint
    with pytest.raises(RunFailed) as over:
        complain(ended(filing=state).model_copy(update={"systems": (system.model_copy(update={"over": True}),)}))
    assert way not in over.value.hint, "a run that is over is begun anew"


def test_run_ids_are_version_7_sort_by_time_and_do_not_repeat() -> None:
    earlier, later = new_run_id(1_700_000_000_000), new_run_id(1_700_000_000_001)
    assert UUID_7.match(earlier)
    assert UUID_7.match(later)
    assert earlier < later
    assert len({new_run_id(5) for _ in range(1000)}) == 1000
