"""contracts.playbooks.Playbooks: shipped playbooks on hosts that are reached by SSH.

A play runs in a process of its own (`play`), which ends with this one and takes all its children along. It goes over
the connections that commands use, so that a host costs a play no new login.
"""

import contextlib
import hashlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator.contracts.playbooks import PlaybookEvent, PlaybookResult
from orchestrator.foundation.errors import PlaybookFailed, UsageError
from orchestrator.hosts.ansible.inventory_file import inventory_of, play_environment
from orchestrator.hosts.ssh import SshTransports
from orchestrator.hosts.ssh_connection import SshConnection
from orchestrator.model.host import Host

_STOP_SECONDS_MAX = 15.0
_SAID_OF_THE_WHOLE = ("verbose", "error")
_SAID_LINES_SHOWN = 8
_ITEMS_FAILED = "One or more items failed"  # a loop's own word; its items have said why


@dataclass
class _Heard:
    """What the play's process has told so far."""

    on_event: Callable[[PlaybookEvent], None] | None
    events: int = 0
    failures: list[str] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    unreachable: set[str] = field(default_factory=set)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)  # by Ansible itself, of no host: why a play could not even begin
    end: dict[str, Any] | None = None

    def take(self, line: dict[str, Any]) -> None:
        if "end" in line:
            self.end = line["end"]
            return
        told = line["event"]
        event = PlaybookEvent(**told["plain"])
        self.events += 1
        if event.event in _SAID_OF_THE_WHOLE and event.stdout.strip():
            self.said = [*self.said, event.stdout.strip()][-_SAID_LINES_SHOWN:]
        if event.host:
            self.reached.add(event.host)
        if event.unreachable:
            self.unreachable.add(event.host)
        if event.failed:
            self.failed.add(event.host)
        if event.unreachable or (event.failed and event.message != _ITEMS_FAILED):
            self.failures.append(f"{event.host}: {event.task}: {event.message or 'failed without a message'}")
        reported = told.get("reported", {}).get("skerry_result")
        if isinstance(reported, dict):
            self.results[event.host] = {**self.results.get(event.host, {}), **reported}
        if "stats" in told:
            self.failed = set(told["stats"]["failures"])
            self.unreachable = set(told["stats"]["dark"])
        if self.on_event is not None:
            self.on_event(event)


class AnsiblePlaybooks:
    """contracts.playbooks.Playbooks. Any number of threads may run plays at once."""

    def __init__(self, transports: SshTransports, folder: Path, run_dir: Path) -> None:
        """`folder` holds `<name>.yml`; below `run_dir` each play has a folder of its own, only while it runs."""
        self._transports = transports
        self._folder = folder
        self._run_dir = run_dir

    def path(self, playbook: str) -> str:
        file = self._folder / f"{playbook}.yml"
        if not file.is_file():
            raise UsageError(f"no playbook is called {playbook}: {file} does not exist")
        return str(file)

    def run(
        self,
        playbook: str,
        *,
        hosts: Sequence[Host],
        variables: Mapping[str, Any],
        timeout_seconds: float,
        on_event: Callable[[PlaybookEvent], None] | None = None,
    ) -> PlaybookResult:
        """See the contract. A host that cannot be reached raises its HostError before anything is done on any host."""
        file = Path(self.path(playbook))
        digest = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
        started = time.monotonic()
        heard = _Heard(on_event)
        with contextlib.ExitStack() as stack:
            connections = {host: stack.enter_context(self._transports.pool(host).session()) for host in hosts}
            folder = self._play_folder()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            spec = _specification(folder, file, connections, variables, seconds_max=timeout_seconds)
            outcome = _play(spec, heard, started + timeout_seconds)
        rc = int(heard.end["rc"]) if heard.end is not None else 254
        status: Literal["successful", "failed", "timed_out"] = "successful" if rc == 0 else "failed"
        if outcome == "timed_out":
            status = "timed_out"
        return PlaybookResult(
            playbook=playbook,
            digest=digest,
            status=status,
            rc=rc,
            hosts_ok=tuple(sorted(heard.reached - heard.failed - heard.unreachable)) if status != "timed_out" else (),
            hosts_failed=tuple(sorted(heard.failed)),
            hosts_unreachable=tuple(sorted(heard.unreachable)),
            events=heard.events,
            seconds=round(time.monotonic() - started, 3),
            failures=tuple(heard.failures) or ((" ".join(heard.said),) if rc and heard.said else ()),
            results=heard.results,
            versions=dict(heard.end["versions"]) if heard.end is not None else {},
        )

    def _play_folder(self) -> Path:
        self._run_dir.mkdir(parents=True, exist_ok=True)
        for leaving in self._run_dir.glob("play-*"):
            owner = leaving.name.split("-")[1]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(leaving, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"play-{os.getpid()}-", dir=self._run_dir))


def _specification(
    folder: Path,
    file: Path,
    connections: Mapping[Host, SshConnection],
    variables: Mapping[str, Any],
    *,
    seconds_max: float,
) -> dict[str, Any]:
    inventory, values = folder / "hosts.json", folder / "variables.json"
    inventory.write_text(json.dumps(inventory_of(connections)))
    values.write_text(json.dumps(dict(variables)))
    (folder / "ansible.cfg").write_text("")
    for name in ("home", "tmp"):
        (folder / name).mkdir(mode=0o700)
    return {
        "folder": str(folder),
        "arguments": ["-i", str(inventory), "-e", f"@{values}", str(file)],
        "environment": play_environment(folder, seconds_max=seconds_max),
    }


def _play(spec: dict[str, Any], heard: _Heard, deadline: float) -> Literal["ended", "timed_out"]:
    """Run the play's process until it ends or the deadline has passed; nothing of it is left either way."""
    folder = Path(spec["folder"])
    environment = {**spec["environment"], "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.hosts.ansible.play"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        try:
            if process.stdin is None or process.stdout is None:
                raise PlaybookFailed("the play's process has no pipes")
            process.stdin.write(json.dumps(spec).encode() + b"\n")
            process.stdin.flush()
            outcome = _listen(process, heard, deadline)
            if outcome == "ended" and heard.end is None:
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().splitlines()
                why = " | ".join(said[-5:]) or "its process said nothing"
                raise PlaybookFailed(f"the play could not be run: {why}")
            return outcome
        finally:
            _stop(process)


def _listen(process: subprocess.Popen[bytes], heard: _Heard, deadline: float) -> Literal["ended", "timed_out"]:
    if process.stdout is None:
        return "ended"
    held = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return "timed_out"
            if not selector.select(left):
                continue
            piece = os.read(process.stdout.fileno(), 65_536)
            if not piece:
                return "ended"
            *lines, held = (held + piece).split(b"\n")
            for line in lines:
                heard.take(json.loads(line))
            if heard.end is not None:
                return "ended"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe that keeps the play alive; its process then ends everything, itself last."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    if process.stdout is not None:
        process.stdout.close()
    try:
        process.wait(timeout=_STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
