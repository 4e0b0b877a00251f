"""Commands of skerry as people give them, each a process of its own, and how they ended."""

import json
import os
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.app import main
from tests.crash.real_estate import ROOT, SKERRY
from tests.fakes.ready_processes import ReadyProcess

LIVE_SECONDS_MAX = 120.0


@dataclass
class Told:
    """How a command ended. `error` is what `--json` says of it on stderr; events of a run come before its answer."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def answer(self) -> dict[str, Any]:
        text = self.stdout if self.stdout.count("\n{") == 0 else self.stdout.splitlines()[-1]
        found: dict[str, Any] = json.loads(text)
        return found

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stderr.splitlines()[-1])
        return found


@dataclass
class Begun:
    """A command under way. Its words go to files: a pipe that nobody reads would hold it up."""

    process: "ReadyProcess | subprocess.Popen[bytes]"
    streams: tuple[Path, Path]

    def end(self) -> Told:
        code = self.process.wait(timeout=LIVE_SECONDS_MAX)
        texts = []
        for stream in self.streams:
            texts.append(stream.read_text())
            stream.unlink()
        return Told(code, *texts)


def begin(home: Path, *words: str, folder: Path = ROOT) -> Begun:
    """Start a command. `folder` is the checkout whose skerry it is."""
    stdout, stderr = (Path(tempfile.mkstemp()[1]) for _ in range(2))
    environment = {**os.environ, "SKERRY_HOME": str(home)}
    if folder == ROOT:
        ready = ReadyProcess(
            main, list(words), environment=environment, folder=folder, stdout=stdout, stderr=stderr
        )
        return Begun(ready, (stdout, stderr))
    line = [*SKERRY, *words]
    with stdout.open("wb") as said, stderr.open("wb") as complained:
        process = subprocess.Popen(line, cwd=folder, env=environment, stdout=said, stderr=complained)
    return Begun(process, (stdout, stderr))


def skerry(home: Path, *words: str, folder: Path = ROOT) -> Told:
    return begin(home, *words, folder=folder).end()


def refused(told: Told, exit_code: int, kind: str, *said: str) -> dict[str, Any]:
    assert told.exit_code == exit_code, told.stdout + told.stderr
    assert told.error["error"] == kind
    assert told.error["exit_code"] == exit_code
    assert told.error["hint"]
    for words in said:
        assert words in told.error["message"], told.error["message"]
    return told.error


def await_step(home: Path, system: str, step: str) -> None:
    """Until the step has begun. Read from the store: a command would take as long as the step."""
    deadline = time.monotonic() + LIVE_SECONDS_MAX
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(f"file:{home}/state.db?mode=ro", uri=True)) as connection:
            query = "select count(*) from steps where system = ? and step = ? and mode = 'do'"
            if connection.execute(query, (system, step)).fetchone()[0]:
                return
        time.sleep(0.05)
    pytest.fail(f"{step} of {system} did not begin in {LIVE_SECONDS_MAX:g} s: {skerry(home, 'runs', 'list').stdout}")


def fingerprint(line: str) -> str:
    """Of a host key, from its line in known_hosts."""
    told = subprocess.run(["ssh-keygen", "-lf", "-"], input=line, capture_output=True, text=True, check=True)
    return told.stdout.split()[1]
