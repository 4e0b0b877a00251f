"""What came of cells on hosts is kept: who goes on does not try again what passed, and the document tells all of it."""

from collections import Counter

import pytest

from tests.crash.matrix_cells import ON_POSTGRESQL, TROUBLES, WAYS, Case, all_cells
from tests.crash.matrix_kept import KeptTrials
from tests.crash.matrix_live import LiveTable
from tests.crash.matrix_order import spread
from tests.crash.matrix_text import document_of

CELLS = [Case("cutover", step, "do", "kill after the deed", "go on") for step in ("drain", "promote", "start_new")]


@pytest.fixture
def kept(tmp_path):
    return KeptTrials(tmp_path / "folder" / "kept.jsonl")


def test_cells_that_passed_are_known_to_the_next_command_and_those_that_failed_are_tried_again(kept, capsys):
    outcomes = [(CELLS[0], "", 20.0), (CELLS[1], "no end", 40.0)]
    assert list(LiveTable(CELLS, []).shown(outcomes, kept)) == [(CELLS[0], ""), (CELLS[1], "no end")]
    assert kept.passed(CELLS) == [CELLS[0]]
    said = capsys.readouterr().out
    assert "1/3, 0 min to go" in said
    assert "2/3, 1 failed" in said
    assert "cutover:promote: kill after the deed, go on: no end" in said
    kept.add(CELLS[1], "", 30.0)  # tried again, it passed
    assert kept.passed(CELLS) == CELLS[:2]
    kept.forget([CELLS[0]])
    assert kept.passed(CELLS) == [CELLS[1]]


def test_the_document_tells_counts_failures_and_how_long_all_of_it_takes(kept):
    kept.add(CELLS[0], "", 20.0)
    kept.add(CELLS[1], "no end", 40.0)
    told = document_of(CELLS * 120, kept.all())
    assert "2 of 360 cells were tried, 1 failed." in told
    assert "A cell took 30 s in the mean; all of them take 3 h on one lab." in told
    assert "* cutover:promote: kill after the deed, go on: no end" in told
    assert told.count("FAIL") == 1


def test_whoever_stops_early_has_seen_every_runbook_trouble_and_way_alike():
    cells = all_cells()
    order = spread(cells)
    assert set(order) == set(cells)
    assert len(order) == len(cells)
    kinds = {(case.runbook, case.column) for case in cells}
    assert {(case.runbook, case.column) for case in order[: len(kinds)]} == kinds
    runbooks = {case.runbook for case in cells}
    for tried in (len(runbooks), 20, 40, 80, 160):
        for said in ("runbook", "trouble", "way"):
            counts = Counter(getattr(case, said) for case in order[:tried])
            possible = {"runbook": runbooks, "trouble": (*TROUBLES, *ON_POSTGRESQL), "way": WAYS}[said]
            assert max(counts.values()) - min(counts[each] for each in possible) <= 2, (tried, said)
