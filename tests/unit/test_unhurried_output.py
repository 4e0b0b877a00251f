"""A run is shown to whoever reads slowly, or no more; the run itself goes on, and loses nothing by it."""

import contextlib
import fcntl
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from rich.console import Console

from orchestrator.cli.live import LiveRun
from orchestrator.cli.unhurried import PIECES_KEPT_MAX, UnhurriedOutput
from orchestrator.foundation.errors import Interrupted
from orchestrator.model.event import RunEvent

SMALL_PIPE_BYTES = 4096
SHOW_MANY = """\
import sys
from orchestrator.cli.live import LiveRun
from orchestrator.cli.console import console
from orchestrator.model.event import RunEvent

live = LiveRun(console(), as_json=sys.argv[1] == "json")
event = RunEvent(type="step.finished", run="r", system="filing", step="drain", at="2026-11-22T18:00:00.000Z",
                 data={"status": "passed", "message": "x" * 500})
with live.shown():
    for _ in range(300):
        live.notice(event)
    print("the run is over", file=sys.stderr, flush=True)
    if sys.argv[2:] == ["interrupted"]:
        raise KeyboardInterrupt
print("all is said")
sys.exit(51)
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, SMALL_PIPE_BYTES)
    yield reads, writes
    for end in (reads, writes):
        with contextlib.suppress(OSError):
            os.close(end)


def begin(out: int, *words: str) -> "subprocess.Popen[str]":
    """A command that shows 300 events on `out`."""
    return subprocess.Popen([sys.executable, "-c", SHOW_MANY, *words], stdout=out, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("form", ["json", "plain"])
def test_a_run_ends_although_nobody_reads_what_it_tells_and_all_of_it_can_be_read_then(pipe, form):
    reads, writes = pipe
    process = begin(writes, form)
    os.close(writes)
    assert process.stderr is not None
    assert process.stderr.readline() == "the run is over\n"
    with os.fdopen(os.dup(reads)) as told:
        lines = told.read().splitlines()
    assert process.wait(30) == 51
    assert len(lines) == 301
    assert lines[-1] == "all is said"
    if form == "json":
        assert {json.loads(line)["event"]["step"] for line in lines[:-1]} == {"drain"}
    process.stderr.close()


def test_a_reader_that_is_gone_ends_no_run_and_hides_no_exit_code(pipe):
    reads, writes = pipe
    process = begin(writes, "json")
    os.close(writes)
    os.read(reads, 100)
    os.close(reads)
    _, complaint = process.communicate(timeout=30)
    assert complaint == "the run is over\n"
    assert process.returncode == 51


def test_who_interrupts_a_run_that_nobody_reads_is_not_made_to_wait_for_a_reader(pipe):
    _, writes = pipe
    _, complaint = begin(writes, "json", "interrupted").communicate(timeout=30)
    assert complaint.splitlines()[-1] == "orchestrator.foundation.errors.Interrupted: interrupted"


def test_who_interrupts_a_run_is_told_where_it_stands():
    live = LiveRun(Console(file=io.StringIO()))
    with pytest.raises(KeyboardInterrupt), live.shown():
        raise KeyboardInterrupt
    with pytest.raises(Interrupted) as found, live.shown():
        live.notice(RunEvent(type="run.started", run="01a2", at="2026-11-22T18:00:00.000Z", data={}))
        raise KeyboardInterrupt
    assert found.value.hint == "Run the same command again to go on. See where it stands: skerry runs show 01a2"


def test_where_another_process_goes_on_the_hint_names_the_run():
    live = LiveRun(Console(file=io.StringIO()))
    with pytest.raises(Interrupted) as found, live.shown():
        live.notice(RunEvent(type="run.started", run="01a2", at="2026-11-22T18:00:00.000Z", data={}))
        raise Interrupted("interrupted; process 7 goes on", hint="Watch it: skerry runs watch RUN")
    assert (found.value.message, found.value.hint) == (
        "interrupted; process 7 goes on",
        "Watch it: skerry runs watch 01a2",
    )


def test_what_nobody_read_in_time_is_counted(pipe):
    (reads, writes), written = pipe, PIECES_KEPT_MAX + 2 * SMALL_PIPE_BYTES
    with os.fdopen(os.dup(writes), "w") as stream, os.fdopen(os.dup(reads)) as told:
        output = UnhurriedOutput(stream, lambda pieces: f"{pieces} left out")
        for _ in range(written):
            output.write("a line\n")
        ends = threading.Thread(target=output.close_when_read, args=(30,))
        ends.start()
        kept = left_out = 0
        while kept + left_out < written:
            line = told.readline()
            kept += line == "a line\n"
            left_out += int(line.split()[0]) if line.endswith("left out\n") else 0
        ends.join()
    assert kept >= PIECES_KEPT_MAX
    assert left_out > 0
    assert kept + left_out == written


SHOW_UNDER_WAY = """\
import sys
from orchestrator.cli.console import console
from orchestrator.cli.under_way import under_way

with under_way(console(), shown=True), under_way(console(), shown=True):
    for _ in range(300):
        print("x" * 500)
    print("all is copied", file=sys.stderr, flush=True)
"""


def test_what_is_under_way_waits_for_no_reader_either(pipe):
    reads, writes = pipe
    words = [sys.executable, "-c", SHOW_UNDER_WAY]
    process = subprocess.Popen(words, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.readline() == "all is copied\n"
        with os.fdopen(os.dup(reads)) as told:
            assert told.read().splitlines() == ["x" * 500] * 300
    assert process.wait(60) == 0
