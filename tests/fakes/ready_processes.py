"""Processes that begin at once: copies of one in which the modules are loaded already, each a process of its own.

Starting an interpreter and loading what a worker needs takes longer than most of what tests have workers do.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

LOADED = (
    "orchestrator.cli.app",
    "orchestrator.cli.lab",
    "orchestrator.cli.run",
    "orchestrator.engine.worker",
    "orchestrator.evidence.recorder",
    "orchestrator.hosts.ansible.playbooks",
    "orchestrator.hosts.ssh",
    "orchestrator.lab.estate_town",
    "orchestrator.operations.desk",
    "orchestrator.wiring.drivers",
    "pytest",
    "tests.crash.crash_walks",
    "tests.crash.matrix_live",
    "tests.crash.real_worker",
)


class ReadyProcess:
    """What `target` returns is its exit code. `stdout` and `stderr` are files that it appends to."""

    def __init__(
        self,
        target: Callable[..., int],
        *arguments: Any,
        environment: Mapping[str, str],
        folder: Path,
        stdout: Path = Path(os.devnull),
        stderr: Path = Path(os.devnull),
    ) -> None:
        words = (target, arguments, dict(environment), folder, (stdout, stderr))
        self._process: BaseProcess = _context().Process(target=_be, args=words)
        self._process.start()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    def poll(self) -> int | None:
        """The exit code, below zero where a signal ended it; None while it lives."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    return context


def _be(
    target: Callable[..., int],
    arguments: tuple[Any, ...],
    environment: dict[str, str],
    folder: Path,
    streams: tuple[Path, Path],
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.exit(target(*arguments))
