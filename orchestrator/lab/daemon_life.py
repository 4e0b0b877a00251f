"""How the lab's daemon is started so that it outlives its starter, and ended so that nothing of it is left.

`daemon.json` in the lab's folder names the processes that the lab stands on, from before the first answer to the end.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import LabError
from orchestrator.lab import machine, wire

START_SECONDS_MAX = 30.0
END_SECONDS_MAX = 20.0
RECORD = "daemon.json"


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Two commands must not start or end one lab together."""
    with (folder / "starting.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start_daemon(folder: Path, kind: Literal["namespaces", "loopback"], is_up: Callable[[], bool]) -> None:
    """Start the lab's daemon and return when it answers. Raises LabError with its last words."""
    log = folder / "daemon.log"
    with wire.short_path(folder) as path, socket.socket(socket.AF_UNIX) as listener:
        # Bound out here, before there is a daemon: whoever connects early waits instead of failing.
        (folder / wire.CONTROL_SOCKET).unlink(missing_ok=True)
        listener.bind(path)
        listener.listen(64)
        # A shell between us and the lab: it ends at once, so the lab is no child of ours and outlives us.
        # `setsid`: Ctrl-C in this terminal is not meant for the lab.
        started = subprocess.run(
            [
                *("/bin/sh", "-c", 'log=$1; shift; setsid "$@" >>"$log" 2>&1 & echo $!', "sh", str(log)),
                *machine.daemon_words(kind, folder, listener.fileno()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            env=machine.bare_environment(),
            check=True,
        )
    launcher = machine.Process.of(int(started.stdout))
    # Twice: should we be killed while it starts, the next command still knows what to end.
    _remember(folder, kind, [launcher])
    _await_answer(launcher, is_up, log)
    _remember(folder, kind, [launcher, *launcher.children()[:1]])


def recorded_kind(folder: Path) -> Literal["namespaces", "loopback"] | None:
    """The kind of the lab that was started last and not ended."""
    kind = _record(folder).get("kind")
    return kind if kind in ("namespaces", "loopback") else None


def is_dying(folder: Path) -> bool:
    """Whether a process that the lab stands on was killed: the rest may still answer, but not for long."""
    record = _record(folder)
    if record.get("numbered_in") != _where_we_number():
        return False
    return not all(machine.Process(**process).lives() for process in record["processes"])


def end_daemon(folder: Path) -> None:
    """Kill what runs, sweep what a killed lab left, and return when both are gone."""
    record = _record(folder)
    if record and record["numbered_in"] != _where_we_number():
        raise LabError("a lab cannot be ended from within", hint="Run the command outside of the lab")
    # The innermost first: where it is the first process of a pid namespace, everything within dies with it.
    _kill([machine.Process(**process) for process in reversed(record.get("processes", []))])
    while leftovers := machine.leftovers(folder):
        _kill(leftovers)
    (folder / wire.CONTROL_SOCKET).unlink(missing_ok=True)
    (folder / RECORD).unlink(missing_ok=True)


def _remember(folder: Path, kind: str, processes: Sequence[machine.Process]) -> None:
    record = {"kind": kind, "numbered_in": _where_we_number(), "processes": [vars(each) for each in processes]}
    replace_file(folder / RECORD, json.dumps(record).encode(), mode=0o600)


def _record(folder: Path) -> dict[str, Any]:
    """What was written when the daemon started; empty where none was, or it ended in order."""
    path = folder / RECORD
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _where_we_number() -> str:
    """The pid namespace: within the lab, processes have other numbers than outside."""
    return os.readlink("/proc/self/ns/pid")


def _await_answer(launcher: machine.Process, is_up: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while launcher.lives() and time.monotonic() < deadline:
        if is_up():
            return
        time.sleep(0.005)
    _kill([launcher])
    tail = log.read_text(errors="replace").strip().splitlines()[-5:]
    raise LabError(f"the lab's daemon did not start: {' / '.join(tail)}", hint=f"All it said is in {log}")


def _kill(processes: Sequence[machine.Process]) -> None:
    for process in processes:
        process.signal(signal.SIGKILL)
    deadline = time.monotonic() + END_SECONDS_MAX
    while living := [process for process in processes if process.lives()]:
        if time.monotonic() > deadline:
            raise LabError(f"processes of the lab do not end: {', '.join(str(each.pid) for each in living)}")
        time.sleep(0.002)
