"""What is asked of a run that another process carries: that one obeys it, and is waited for."""

import time
from collections.abc import Callable

from orchestrator.contracts.engine import Runs
from orchestrator.foundation.errors import RunInProgress
from orchestrator.operations.migrate import OnRun, Rests, is_at_rest
from orchestrator.wiring.state import nobody_carries

LOOK_SECONDS = 0.2


def here_or_elsewhere(
    run: str,
    runs: Runs,
    *,
    ask: Callable[[], None],
    carry: Callable[[Callable[[], None]], None],
    on_run: OnRun,
    rests: Rests = is_at_rest,
) -> None:
    """Ask, and have the run come to rest: by `carry` in this process or, while another one carries runs, by that.

    `carry` is given what asks, and calls it once this process is alone and before it begins: a caretaker that makes
    room would begin what was asked before, where nobody sees it. Where another one ends before it has obeyed, or was at
    something else, such as a round, this one goes on. `rests`: what is waited for; by default that the whole run rests.
    """
    waits_for, asked = "", False

    def ask_once() -> None:
        nonlocal asked
        if not asked:
            ask()
            asked = True

    while True:
        try:
            carry(ask_once)
            return
        except RunInProgress as error:
            ask_once()
            if error.message != waits_for:
                on_run(f"{run}, asked and waiting: {error.message}")
            waits_for = error.message
        time.sleep(LOOK_SECONDS)
        while not nobody_carries():
            if rests(runs.status(run)):
                return
            time.sleep(LOOK_SECONDS)
