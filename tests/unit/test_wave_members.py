"""Members of a wave that is run again under another plan: what is finished is left alone, and must be what it was."""

import pytest

from orchestrator.foundation.errors import GateClosed
from orchestrator.operations.wave import commit_wave, run_wave
from tests.fakes.wave_desk import approved_plan, waves_of
from tests.unit.test_wave_runs import desk, estate, keys, states

__all__ = ["desk", "estate", "keys"]  # fixtures


def test_members_that_an_earlier_plan_committed_are_left_alone_and_must_be_what_they_were(desk, estate, keys):
    one = waves_of("waves:\n  order:\n    - {wave: pilot, systems: [s0]}\n", estate)
    approved_plan(desk, one, "pilot", keys)
    run_wave(desk, one, "pilot", operator="ben")
    assert commit_wave(desk, one, "pilot", operator="ben").state == "passed"
    two = waves_of("waves:\n  order:\n    - {wave: pilot, systems: [s0, s1]}\n", estate)
    approved_plan(desk, two, "pilot", keys)
    deeds = desk.site.deeds("s0")
    with desk.site.changing("s0") as system:
        system.state["front"] = "source"
    with pytest.raises(GateClosed, match="are no longer what they were: s0: clients are sent to"):
        run_wave(desk, two, "pilot", operator="ben")
    assert desk.site.deeds("s1") == []
    with desk.site.changing("s0") as system:
        system.state["front"] = "cloud"
    assert states(run_wave(desk, two, "pilot", operator="ben")) == {"s0": "committed", "s1": "paused"}
    assert desk.site.deeds("s0") == deeds, "nothing was done to it"
    assert commit_wave(desk, two, "pilot", operator="ben").state == "passed"
