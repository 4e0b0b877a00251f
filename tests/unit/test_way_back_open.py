"""What keeps the way back open and short, and what is known of it: ends of a watch, measured ways back, accounts."""

import pytest

from orchestrator.cli.accounts import account_lines
from orchestrator.foundation.database_name import VARIABLE
from orchestrator.model.site import Side
from orchestrator.model.system import HttpCheck
from orchestrator.operations.replication import keeps_rounds_to_itself, rests_at_new_side
from orchestrator.operations.wave import ask_wave, commit_wave, run_wave
from orchestrator.operations.ways_back import note_ways_back
from orchestrator.steps.playing import fewer_than_before
from tests.fakes.drivers import FakeWorld, the_plan
from tests.fakes.plans import shipped_steps
from tests.fakes.run_in_hand import RunInHand
from tests.fakes.wave_desk import approved_plan, waves_of
from tests.unit.test_wave_runs import desk, estate, keys

__all__ = ["desk", "estate", "keys"]  # fixtures

WATCHED = {"watch": "1h"}
ONE_WAVE = "waves:\n  order:\n    - {wave: pilot, systems: [s0]}\n"


def watched_run(*, whole: bool = False) -> RunInHand:
    steps = tuple(
        step.model_copy(update={"action": step.action.model_copy(update={"whole": whole})})
        if step.id == "watch"
        else step
        for step in shipped_steps("migrate", inputs=WATCHED)
    )
    return RunInHand(FakeWorld(), the_plan(steps=steps))


def rounds_of(run: RunInHand) -> int:
    state = run.live()
    assert state.status == "committed", state.reason
    return int(state.earlier["watch"]["rounds"])


def test_who_asks_for_the_commit_does_not_wait_for_the_whole_watch():
    run = watched_run()
    run.world.catalogue.put("commit_asked", run.run, {"by": "ana", "at": "now"})
    state = run.live()
    assert (state.status, state.earlier["watch"]["rounds"]) == ("committed", 1)
    assert state.earlier["watch"]["ended_by"] == "ana"
    assert {"asked_by": "ana", "rounds": 1, "wanted_seconds": 3600.0} in [data for _, data in run.world.events]


def test_a_watch_that_the_runbook_wants_whole_is_whole_and_another_run_s_commit_ends_none():
    whole = watched_run(whole=True)
    whole.world.catalogue.put("commit_asked", whole.run, {"by": "ana", "at": "now"})
    other = watched_run()
    other.world.catalogue.put("commit_asked", "another run", {"by": "ana", "at": "now"})
    assert rounds_of(whole) == rounds_of(other) > 100


def test_after_a_migration_everything_is_at_dr_and_at_the_source_and_counted():
    run = RunInHand(FakeWorld(), the_plan())
    state = run.live()
    assert state.status == "committed", state.reason
    account = state.earlier["account"]
    assert (account["transactions"], account["complete"]) == (0, True)
    assert account["paths"] < len(run.world.acknowledged), "but for what was filed since the last pass"
    chains = [data["chain"] for kind, data in run.world.events if kind == "replication.follows"]
    assert chains == [["cloud", "dr", "source"]] * 2


@pytest.mark.parametrize("measured", [0.0, 7200.0])
def test_a_way_back_that_was_measured_longer_than_the_runbook_says_counts(measured):
    world = FakeWorld()
    if measured:
        world.catalogue.put("way_back", "filing", {"seconds": measured, "run": "r-0", "at": "then"})
    state = RunInHand(world, the_plan()).live()
    if not measured:
        assert state.status == "committed"
        return
    assert state.status == "rolled_back"
    assert "G5 is closed: way_back_fits: weigh_window.spare_seconds is -" in state.reason
    assert world.authority.read("filing").side is Side.SOURCE


RECEIPTS = HttpCheck(name="receipts", port=80, grows=("last_id",), notes=("total",), level="business")


def seen(**values):
    return {"host": {"checks": {"receipts": {"observed": values}}}}


def test_what_must_only_grow_is_compared_with_every_step_that_asked_before():
    earlier = {"check_source": {"hosts": seen(last_id=7, total=70)}, "drain": {"hosts": {"host": {}}}}
    assert fewer_than_before((RECEIPTS,), seen(last_id=7, total=1), earlier) == []
    assert fewer_than_before((RECEIPTS,), seen(last_id=6, total=99), earlier) == [
        "receipts: last_id is 6, it was 7 before"
    ]
    assert fewer_than_before((RECEIPTS,), seen(last_id=6), {}) == []


def test_an_account_tells_datasets_and_last_words():
    account = {
        "at": "cloud", "beside": "source", "complete": True,
        "bytes": 4096, "transactions": 3, "paths": 1, "more": False,
        "datasets": {
            "register": {"bytes": 4096, "transactions": 3, "from": "0/1", "to": "0/2"},
            "attachments": {"paths": 1, "named": ["a/1.bin"], "more": False},
            "disk": {"unknown": "no route"},
        },
        "business": {"hosts": seen(last_id=812), "passed": True},
        "last_round": {"result": "failed", "finished_at": "2026-11-22T10:00:00.000Z", "message": "no route"},
    }  # fmt: skip
    assert account_lines(account)[1:] == [
        "  register: 4096 bytes, 3 transactions, log from 0/1 to 0/2",
        "  attachments: 1 files differ: a/1.bin",
        "  disk: not counted: no route",
        "  the last round towards the old side failed at 2026-11-22T10:00:00.000Z: no route",
        "  receipts at cloud: last_id 812",
    ]
    assert account_lines({}) == ["authority is where it was, so nothing was written anywhere else"]


def test_a_run_rests_at_its_new_side_until_it_is_committed_or_goes_back(desk, keys, monkeypatch):
    waves = waves_of(ONE_WAVE, desk.inventory)
    plan = approved_plan(desk, waves, "pilot", keys)
    status = run_wave(desk, waves, "pilot", operator="ben")
    assert rests_at_new_side(desk.runs, status.runs[-1], "s0")
    assert not keeps_rounds_to_itself(desk.runs, status.runs[-1], "s0")
    monkeypatch.setenv(VARIABLE, "postgresql://skerry@db.example/skerry")
    assert keeps_rounds_to_itself(desk.runs, status.runs[-1], "s0")
    monkeypatch.delenv(VARIABLE)
    note_ways_back(plan, desk.runs, desk.catalogue)
    assert desk.catalogue.get("way_back", "s0") is None
    ask_wave(desk, waves, "pilot", "rollback", operator="ben", because="not today")
    assert not rests_at_new_side(desk.runs, status.runs[-1], "s0")
    note_ways_back(plan, desk.runs, desk.catalogue)
    measured = desk.catalogue.get("way_back", "s0")
    assert measured is not None
    assert (measured["run"], measured["seconds"] >= 0.0) == (status.runs[-1], True)
    again = run_wave(desk, waves, "pilot", operator="ben")
    assert commit_wave(desk, waves, "pilot", operator="ben").state == "passed"
    assert not rests_at_new_side(desk.runs, again.runs[-1], "s0")
