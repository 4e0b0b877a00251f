"""The cells of the crash matrix are all there are, and hosts know each of their troubles; no lab is needed."""

from pathlib import Path
from typing import cast

import pytest

from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import ProgressSink
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.lab.faults import Fault
from orchestrator.model.action import Replicate
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from tests.crash import matrix_table
from tests.crash.matrix_cells import (
    AT_STEPS_THAT_WAIT,
    ON_POSTGRESQL,
    TROUBLES,
    WAYS,
    Case,
    all_cells,
    shipped_runbooks,
)
from tests.crash.real_lab import INPUTS, STARTS_AT, SYSTEM_OF
from tests.crash.real_worker import AT_DEEDS, AT_RECORDS, Troubled, TroubledDesk
from tests.fakes.drivers import a_deed

# Of each shipped runbook: steps with a deed, steps that wait, and deeds that are undone when the last step before the
# commit fails. Whoever changes a runbook changes this, and sees what is tried.
BOUNDARIES = {
    "cutover": (23, 0, 10),
    "drill": (7, 2, 0),
    "drill-at-cloud": (8, 2, 0),
    "drill-on-machine": (9, 2, 1),
    "failback": (25, 0, 10),
    "failover": (15, 0, 0),
    "migrate": (28, 0, 11),
    "rollback": (13, 0, 0),
    "seed": (6, 1, 0),
}


def test_the_cells_are_the_product_of_boundaries_troubles_and_ways():
    at_deeds = len(TROUBLES) + len(ON_POSTGRESQL)
    assert (at_deeds, len(AT_STEPS_THAT_WAIT), len(WAYS)) == (20, 6, 2)
    assert set(BOUNDARIES) == set(shipped_runbooks())
    cells = all_cells()
    for runbook, (deeds, waiting, undone) in BOUNDARIES.items():
        chosen = [case for case in cells if case.runbook == runbook]
        assert len(chosen) == (deeds * 2 + undone) * at_deeds + waiting * 2 * 6, runbook
    assert len(set(cells)) == len(cells) == 6084


@pytest.mark.parametrize("where", ["--real", "--simulated"])
def test_the_command_tries_the_same_cells_on_hosts_and_on_the_simulated_site(where, tmp_path, capsys):
    """`--seconds 0` begins none on hosts; a word that names no cell chooses none."""
    words = ["--seconds", "0", "--kept", str(tmp_path / "kept.jsonl")] if where == "--real" else ["no-such-runbook"]
    assert matrix_table.main([where, *words]) == 0
    said = capsys.readouterr().out
    if where == "--real":
        assert f"{len(all_cells())} cells on hosts" in said
        assert f"on hosts: 0 cells, 0 failed, {len(all_cells())} not tried" in said
        assert "kill before evidence, on PostgreSQL: whoever takes over sees the same" in said
    else:
        assert "0 cells on the simulated site" in said


def test_hosts_know_where_each_runbook_begins_and_every_trouble():
    assert {*STARTS_AT, *INPUTS, *SYSTEM_OF} <= set(shipped_runbooks())
    assert {*AT_DEEDS, *AT_RECORDS} == {case.strikes for case in all_cells()}


class Desk:
    """What a handler in trouble asks of its desk, written down."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.came, self.failing = case, folder / "came", ""
        self.trail: list[str] = []

    def put(self, fault: Fault) -> None:
        self.trail.append(fault.kind)

    def heal(self) -> None:
        self.trail.append("healed")

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        self.trail.append("deed")
        return Outcome.done()


# What comes of the deed in each trouble that leaves the process alive, and of the same deed when it is tried again.
STRUCK: dict[str, tuple[list[str], str, list[str]]] = {
    "host unreachable once": (["cut-cable", "deed", "healed"], "", ["deed"]),
    "host unreachable after the deed": (["deed", "cut-cable"], "HostUnreachable", ["healed", "deed"]),
    "host unreachable for good": (["cut-cable", "deed"], "", ["deed"]),
    "site cut off": (["partition", "deed"], "", ["deed"]),
    "site cut off after the deed": (["deed", "partition"], "HostUnreachable", ["deed"]),
    "host disk full": (["disk-full", "deed"], "", ["deed"]),
    "host disk full after the deed": (["deed", "disk-full"], "NoSpace", ["deed"]),
    "timeout before the deed": ([], "CommandTimedOut", ["deed"]),
    "timeout, unknown": (["deed"], "CommandTimedOut", ["deed"]),
    "timeout, absent": (["deed"], "CommandTimedOut", ["deed"]),
}


@pytest.mark.parametrize("trouble", STRUCK)
def test_a_trouble_meets_the_deed_of_its_cell_once_and_no_other(trouble, tmp_path):
    desk = Desk(Case("migrate", "copy", "do", trouble, "go on"), tmp_path)
    handler = Troubled(desk, cast(TroubledDesk, desk))
    expected, error, again = STRUCK[trouble]
    assert tried(handler, desk, "other") == (["deed"], "")
    assert tried(handler, desk, "copy") == (expected, error)
    verdict = handler.probe(a_deed(REPLICATE, step="copy"))
    assert verdict is (Probe.UNKNOWN if trouble == "timeout, unknown" else Probe.ABSENT)
    assert tried(handler, desk, "copy") == (again, "")


def test_those_are_all_troubles_of_deeds_that_leave_the_process_alive():
    assert set(STRUCK) == {trouble for trouble in AT_DEEDS if not trouble.startswith("kill")}


REPLICATE = Replicate(source=Side.SOURCE, replica=Side.DR)


def tried(handler: Troubled, desk: Desk, step: str) -> tuple[list[str], str]:
    """What happened meanwhile, and the error that it ended in."""
    desk.trail.clear()
    error = ""
    try:
        handler.act(a_deed(REPLICATE, step=step), lambda _: None, lambda _kind, _data: None)
    except OrchestratorError as raised:
        error = type(raised).__name__
    return list(desk.trail), error
