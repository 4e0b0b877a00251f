"""A caretaker: a process that carries what waits in this home for as long as nobody else does.

Where the state is a file, whoever gives a command carries the runs, and ends with it. What waits for its commit needs
somebody who keeps its way back open, and takes it back when its deadline passes. Where a database is shared, that is
what workers are for.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from orchestrator.engine.orphan_guard import MARK
from orchestrator.foundation.database_name import named_database
from orchestrator.foundation.errors import RunInProgress
from orchestrator.foundation.places import skerry_home, state_database

# A shell in between, that ends at once: the caretaker is no child of ours. `setsid`: Ctrl-C here is not meant for it.
_BEHIND = 'log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!'


def leave_caretaker(estate: Path | None) -> int:
    """Start one, and give its process id. It ends by itself once nothing waits any more, and when it is not alone.

    0, and none is started, where a database is shared, and where the estate lies in no folder.
    """
    if estate is None or named_database():
        return 0
    log = skerry_home() / "run" / "caretaker.log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = [sys.executable, "-m", "orchestrator.cli.app", "worker", "--caretaker"]
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    started = subprocess.run(
        ["/bin/sh", "-c", _BEHIND, "sh", str(log), *words],
        stdout=subprocess.PIPE,
        env=environment | {"SKERRY_INVENTORY": str(estate.resolve())},
        check=True,
    )
    return int(started.stdout)


def end_caretaker() -> None:
    """End it, where there is one; any other process that carries runs here is left alone."""
    from orchestrator.engine.worker import refuse_second_worker

    if state_database().exists():
        with contextlib.suppress(RunInProgress):
            refuse_second_worker(f"sqlite:///{state_database()}")
