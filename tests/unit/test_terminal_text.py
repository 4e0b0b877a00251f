"""What hosts, files and logs say reaches a terminal as text; none of it is obeyed by the terminal."""

import io

import pytest
from rich.console import Console

from orchestrator.cli.app import main
from orchestrator.cli.live import LiveRun, progress_text, step_line
from orchestrator.contracts.progress import Progress
from orchestrator.evidence import stand_alone
from orchestrator.foundation.printable import printable, printable_lines
from orchestrator.model.event import RunEvent

ESCAPES = "\x1b[2J\x1b[1;1Hall is well\x07"
HARMLESS = "\\x1b[2J\\x1b[1;1Hall is well\\x07"


def test_lines_stay_lines_and_nothing_else_is_obeyed():
    assert printable_lines(f"a:1: wrong\nb:2: {ESCAPES}\r") == f"a:1: wrong\nb:2: {HARMLESS}\\r"
    assert printable("two\nlines\u202e") == "two\\nlines\\u202e"
    assert printable("Zürich 東京") == "Zürich 東京"


def test_an_error_that_quotes_a_file_is_shown_and_not_obeyed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    code = main(["evidence", "verify", str(tmp_path / f"no{ESCAPES}such")])
    told = capsys.readouterr().err
    assert code == 52
    assert HARMLESS in told
    assert "\x1b[2J" not in told


def test_the_verifier_by_itself_does_the_same(tmp_path, capsys):
    assert stand_alone.main([str(tmp_path / f"no{ESCAPES}such")]) == 52
    told = capsys.readouterr().err
    assert HARMLESS in told
    assert "\x1b" not in told


def told_by(event: RunEvent, *, as_json: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=200, force_terminal=False)
    LiveRun(console, as_json=as_json, stream=stream).notice(event)
    return stream.getvalue()


ANCHOR_FAILED = RunEvent(
    type="anchor.failed",
    run="log",
    at="2026-11-21T22:18:00.000Z",
    data={"size": 7, "failed": ["witness audit: does not answer", f"bucket worm: {ESCAPES}"], "kept": []},
)


def test_what_was_asked_and_refused_is_told_with_the_reason():
    data = {"operation": "found_absent", "by": "ana", "reason": "I looked", "because": "of no such step is it unknown"}
    told = told_by(RunEvent(type="request.refused", run="r", at=ANCHOR_FAILED.at, system="filing", data=data))
    assert "found absent, asked by ana: of no such step is it unknown" in told


def test_a_place_that_was_not_shown_the_log_is_told_while_the_run_goes_on():
    told = told_by(ANCHOR_FAILED)
    assert "witness audit: does not answer" in told
    assert HARMLESS in told
    assert "\x1b" not in told


def test_programs_are_told_of_it_too():
    assert '"anchor.failed"' in told_by(ANCHOR_FAILED, as_json=True)


@pytest.mark.parametrize("kind", ["step.finished", "rollback.started", "deviation.recorded"])
def test_what_hosts_said_within_a_run_is_shown_and_not_obeyed(kind):
    words = {"message": ESCAPES, "because": ESCAPES, "status": "failed"}
    told = told_by(RunEvent(type=kind, run="r", system="filing", step="drain", at=ANCHOR_FAILED.at, data=words))
    assert HARMLESS in told
    assert "\x1b" not in told


def test_progress_is_shown_and_not_obeyed():
    assert HARMLESS in progress_text(Progress(text=ESCAPES))


def test_a_row_of_a_run_is_told_as_the_live_view_tells_it():
    row = {"system": "filing", "step": "drain", "mode": "do", "result": "", "message": "", "doing": None, "seconds": 0}
    assert step_line(row) == "  … filing     drain"
    moving = {"dataset": "register", "text": "dr → cloud", "bytes_done": 1 << 20, "bytes_total": 1 << 21}
    assert step_line({**row, "doing": moving}) == "    filing     drain: dr → cloud  1.0 MiB of 2.0 MiB (50%)"
    ended = {**row, "mode": "undo", "result": "passed", "message": "start at source", "seconds": 0.25}
    assert step_line(ended) == "  ✓ filing     ↩ drain                  0.25 s  start at source"
