"""What is under way stands on one line of a terminal, and nowhere else."""

import io
import time

import pytest
from rich.console import Console

from orchestrator.cli.under_way import under_way
from orchestrator.contracts.progress import Progress

MOMENT = Progress(
    dataset="documents", text="onprem-a → dr-a", bytes_done=5 << 20, bytes_total=20 << 20, bytes_per_second=1 << 20
)
SHOW_SECONDS_MAX = 30.0


def test_a_terminal_shows_share_rate_and_time_to_go_and_is_clean_afterwards():
    written = io.StringIO()
    screen = Console(file=written, force_terminal=True, width=120)
    with under_way(screen, shown=True) as show:
        show("archive", MOMENT)
        until = time.monotonic() + SHOW_SECONDS_MAX
        while "ETA" not in written.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
    assert "archive  onprem-a → dr-a  5.0 MiB of 20.0 MiB (25%)  1.0 MiB/s  ETA 15 s" in written.getvalue()
    assert written.getvalue().rstrip().endswith("\x1b[2K")  # the line is wiped


@pytest.mark.parametrize(("is_terminal", "shown"), [(False, True), (True, False)])
def test_a_pipe_and_who_does_not_ask_see_nothing(is_terminal, shown):
    written = io.StringIO()
    with under_way(Console(file=written, force_terminal=is_terminal), shown=shown) as show:
        show("archive", MOMENT)
    assert written.getvalue() == ""
