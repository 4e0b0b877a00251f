"""The process that runs one play: ansible-runner inside, JSON lines outside. Started by `playbooks`, never by hand.

It reads one line of JSON from standard input and then waits for that input to end: while its starter lives and wants
the play, the pipe stays open. When the pipe closes, this process kills everything that came of the play, removes the
play's folder and goes. ansible-runner alone leaves Ansible's workers (they have sessions of their own) and its folder.
"""

import ctypes
import json
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ansible_runner

_TEXT_CHARACTERS_MAX = 4000  # of one event's output; all of it stays on no disk
_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans below us become our children, so that none is lost
_ENDING_SECONDS = 5.0
_FAILED = ("runner_on_failed", "runner_item_on_failed", "runner_on_async_failed")


def main() -> int:
    spec: dict[str, Any] = json.loads(_first_line())
    folder = Path(spec["folder"])
    ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    abandoned = threading.Event()
    threading.Thread(target=_end_with_starter, args=(abandoned,), daemon=True).start()
    try:
        return _run(spec, folder, abandoned)
    finally:
        _end_all()
        shutil.rmtree(folder, ignore_errors=True)


def _first_line() -> bytes:
    """Up to the first line end, and nothing after it."""
    line = b""
    while not line.endswith(b"\n") and (piece := os.read(0, 65_536)):
        line += piece
    return line


def _run(spec: dict[str, Any], folder: Path, abandoned: threading.Event) -> int:
    def on_event(event: dict[str, Any]) -> bool:
        _tell({"event": _plain(event)})
        return False  # ansible-runner writes no file of it

    def on_status(status: dict[str, Any], **_: object) -> None:
        # It writes the whole environment into this file before it starts the play.
        if status["status"] == "running":
            (folder / "artifacts" / "play" / "command").unlink(missing_ok=True)

    runner_outcome = ansible_runner.run_command(
        executable_cmd=sys.executable,
        cmdline_args=["-m", "orchestrator.hosts.ansible.bounded_play", *spec["arguments"]],
        private_data_dir=str(folder),
        ident="play",
        host_cwd=str(folder),
        envvars=spec["environment"],
        settings={"suppress_output_file": True, "suppress_ansible_output": True, "pexpect_timeout": 1},
        suppress_env_files=True,
        quiet=True,
        event_handler=on_event,
        status_handler=on_status,
    )
    rc = runner_outcome[2] if isinstance(runner_outcome, tuple) else runner_outcome.rc
    if not abandoned.is_set():
        versions = {name: version(name) for name in ("ansible-core", "ansible-runner")}
        _tell({"end": {"rc": rc, "versions": {**versions, "python": platform.python_version()}}})
    return 0


def _plain(event: dict[str, Any]) -> dict[str, Any]:
    """One event of ansible-runner in the words of contracts.playbooks.PlaybookEvent, with what a play reported."""
    data = event.get("event_data") or {}
    res = data.get("res") or {}
    kind = event["event"]
    # A program's own complaint says more than Ansible's "non-zero return code".
    message = res.get("stderr") if res.get("rc") and res.get("stderr") else res.get("msg", "")
    # Ansible 2.19 prints the error of a failed task with no_log, though it takes it out of the result.
    said = "" if "censored" in res else event.get("stdout") or ""
    plain: dict[str, Any] = {
        "counter": event["counter"],
        "event": kind,
        "uuid": event.get("uuid", ""),
        "parent_uuid": event.get("parent_uuid") or "",
        "host": data.get("host") or "",
        "task": data.get("task") or "",
        "action": data.get("resolved_action") or data.get("task_action") or "",
        "changed": bool(res.get("changed", False)),
        "failed": kind in _FAILED and not data.get("ignore_errors"),
        "unreachable": kind == "runner_on_unreachable",
        "rc": res.get("rc") if isinstance(res.get("rc"), int) else None,
        "stdout": said[:_TEXT_CHARACTERS_MAX],
        "message": (message if isinstance(message, str) else json.dumps(message))[:_TEXT_CHARACTERS_MAX],
        "duration_seconds": data.get("duration"),
    }
    reported = (res.get("ansible_stats") or {}).get("data")
    outer: dict[str, Any] = {"plain": plain}
    if kind == "runner_on_ok" and reported:
        outer["reported"] = reported
    if kind == "playbook_on_stats":
        outer["stats"] = {name: sorted(data.get(name) or {}) for name in ("processed", "failures", "dark")}
    return outer


_telling = threading.Lock()


def _tell(line: dict[str, Any]) -> None:
    try:
        with _telling:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        # The starter is gone; the end of standard input says so too and ends the play.
        return


def _end_with_starter(abandoned: threading.Event) -> None:
    # Not through sys.stdin: a lock held at the interpreter's end would be a fatal error of its own.
    while os.read(0, 4096):
        continue
    abandoned.set()
    _end_all()


def _descendants() -> Iterator[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    own = {os.getpid()}
    found: set[int] = set()
    while new := {pid for pid, parent in parents.items() if parent in own | found} - found:
        found |= new
    yield from found


def _end_all() -> None:
    """Kill what descends from this process until nothing does; a process may fork while it is looked at."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while (left := list(_descendants())) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
