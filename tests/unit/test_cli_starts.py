"""Guarded starts as people meet them: what skerry starts refuses and shows, and when a run keeps services down."""

from typing import Any

import pytest

from orchestrator.cli.app import main
from orchestrator.cli.starts import _row
from orchestrator.contracts.engine import RunStatus, StepStatus, SystemStatus
from orchestrator.model.site import Side
from orchestrator.operations.starts import is_kept_down, needs_us, starts_document
from orchestrator.steps.starts import HostStarts, SideStarts
from tests.fakes.drivers import the_plan
from tests.fakes.plans import shipped_steps


def side(*hosts: HostStarts, at: Side = Side.SOURCE, holds: bool = True) -> SideStarts:
    return SideStarts(system="filing", side=at, holds=holds, number=3, hosts=hosts)


SHOWN = [
    (HostStarts(host="a", boot="b", guarded=True, permitted=True, running=("app",)), "permitted in this boot"),
    (HostStarts(host="a", boot="b", guarded=True), "wait to be permitted"),
    (HostStarts(host="a", boot="b"), "with the host, unguarded"),
    (HostStarts(host="a", boot="b", guarded=True, fenced_by=4), "fenced by number 4"),
    (HostStarts(host="a", trouble="a (10.0.0.1:22) cannot be reached: no route"), "not known"),
]


@pytest.mark.parametrize(("host", "state"), SHOWN, ids=[state for _, state in SHOWN])
def test_the_state_of_a_host_is_told_in_words(host, state):
    [row] = starts_document([side(host)], {})
    assert _row(row)[3] == state


def test_a_side_that_lost_authority_is_held_back_and_waits_for_nobody():
    back = HostStarts(host="a", boot="b", guarded=True)
    [row] = starts_document([side(back, holds=False)], {})
    assert (row["waits"], _row(row)[3]) == (False, "held back since it booted")
    assert not needs_us(side(back, holds=False))
    assert needs_us(side(back))
    assert needs_us(side(HostStarts(host="a", boot="b"))), "it is to be guarded"
    assert not needs_us(side(HostStarts(host="a", boot="b", fenced_by=2))), "a fence stands: whoever lifts it permits"
    assert not needs_us(side(HostStarts(host="a", trouble="gone")))


def test_what_a_person_said_on_the_host_is_shown():
    told = HostStarts(host="a", boot="b", guarded=True, permitted=True, by_hand=("then ana: old", "now ana: cut off"))
    [row] = starts_document([side(told)], {"filing": "the ledger is full"})
    assert _row(row)[-1] == "the ledger is full; by hand: now ana: cut off"


class Runs:
    """One run of the shipped cutover, of which these steps were begun, in this order."""

    def __init__(self, *rows: tuple[str, str, str]) -> None:
        self.rows = rows

    def plan(self, _run):
        return the_plan(steps=shipped_steps("cutover"))

    def status(self, run):
        steps = [
            StepStatus(system="filing", step=step, mode=mode, state=state, started_at=f"2026-11-23T02:00:0{second}Z")
            for second, (step, mode, state) in enumerate(self.rows)
        ]
        system = SystemStatus(system="filing", state="running", steps=tuple(steps))
        return RunStatus(
            run=run, plan="", wave="", kind="", operator="ben", state="running", created_at="", systems=(system,)
        )


KEPT = [
    ((), Side.SOURCE, False),
    ([("catch_up", "do", "done")], Side.SOURCE, False),
    ([("drain", "do", "done")], Side.SOURCE, True),
    ([("drain", "do", "started")], Side.SOURCE, True),
    ([("drain", "do", "done")], Side.CLOUD, False),
    ([("drain", "do", "done"), ("drain", "undo", "started")], Side.SOURCE, True),
    ([("drain", "do", "done"), ("drain", "undo", "done")], Side.SOURCE, False),
    ([("fence_new", "do", "done")], Side.CLOUD, True),
    ([("fence_new", "do", "done"), ("unfence_new", "do", "done"), ("start_new", "do", "done")], Side.CLOUD, False),
]


@pytest.mark.parametrize(("rows", "at", "kept_down"), KEPT)
def test_a_run_that_stopped_the_services_keeps_them_down_until_it_starts_them(rows, at, kept_down):
    runs: Any = Runs(*rows)
    assert is_kept_down(runs, "run-1", "filing", at) is kept_down


def test_guards_are_not_taken_away_while_the_estate_asks_for_them_nor_without_a_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path))
    monkeypatch.delenv("SKERRY_INVENTORY", raising=False)
    assert main(["starts", "filing", "--unguard"]) == 2
    assert "--as and --because" in capsys.readouterr().err
    assert main(["starts", "filing", "--unguard", "--as", "ana", "--because", "it is quiet"]) == 2
    assert "Take guard_starts out of systems.yml" in capsys.readouterr().err
    assert main(["starts", "filling"]) == 2
    assert "no system is called filling" in capsys.readouterr().err
