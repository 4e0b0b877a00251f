"""Stops one PostgreSQL cluster cleanly on its host, and says where its log ends. One program, because clients wait.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only, and little of
it. It runs as root, or as whoever may stop the unit.

Usage: python3 - REQUEST, a JSON object {data, binaries, service, seconds}. Says `result {…}`, one of
  {missing: true}                       there is no data directory
  {state, checkpoint, timeline}         it is stopped; the words of pg_controldata
  {running: true}                       it did not stop in time
Running it again gives the same answer and changes nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

MYPY = False  # true for the type checker alone
if MYPY:
    from typing import Any

POLL_SECONDS = 0.004
WANTED = {
    b"Database cluster state": "state",
    b"Latest checkpoint location": "checkpoint",
    b"Latest checkpoint's TimeLineID": "timeline",
}


def main() -> None:
    request = json.loads(sys.argv[1])
    sys.stdout.write("result " + json.dumps(stop(request)) + "\n")


def stop(request: dict[str, Any]) -> dict[str, Any]:
    data = request["data"]
    if not os.path.exists(data + "/PG_VERSION"):
        return {"missing": True}
    server = server_of(data)
    if server:
        # The server's own fast shutdown: clients are sent away, standbys get every byte, a last checkpoint is written.
        try:
            os.kill(server, signal.SIGINT)
        except ProcessLookupError:
            pass  # it ended by itself
    deadline = time.monotonic() + request["seconds"]
    while server_of(data):
        if time.monotonic() > deadline:
            return {"running": True}
        time.sleep(POLL_SECONDS)
    unit = Child(["systemctl", "stop", request["service"]])
    control = Child([request["binaries"] + "/pg_controldata", "-D", data])
    answer: dict[str, Any] = {}
    for line in control.output().splitlines():
        name, _, value = line.partition(b":")
        if name in WANTED:
            answer[WANTED[name]] = value.strip().decode()
    said = unit.output()
    if unit.code:
        raise SystemExit("systemctl stop %s: %s" % (request["service"], said.decode(errors="replace").strip()))
    if len(answer) != len(WANTED):
        raise SystemExit("pg_controldata of %s ended with %s and did not tell all" % (data, control.code))
    return answer


def server_of(data: str) -> int:
    """The process that serves this data directory, 0 when there is none: a stale lock file names a stranger at most."""
    try:
        with open(data + "/postmaster.pid", encoding="utf-8") as stream:
            pid = int(stream.readline())
        os.kill(pid, 0)
        here, there = os.stat(data), os.stat("/proc/%d/cwd" % pid)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0
    except PermissionError:
        return pid  # not ours to look at, but there; the lock file is believed, as pg_ctl does
    return pid if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) else 0


class Child:
    """A program that is run beside this one; its words are taken when it is waited for."""

    def __init__(self, words: list[str]) -> None:
        self.code = 0
        self.said, told = os.pipe()
        streams = [(os.POSIX_SPAWN_DUP2, told, 1), (os.POSIX_SPAWN_DUP2, told, 2)]
        environment = dict(os.environ, LC_ALL="C.UTF-8")
        try:
            self.process = os.posix_spawnp(words[0], words, environment, file_actions=streams)
        except FileNotFoundError:
            raise SystemExit(words[0] + ": not found") from None
        finally:
            os.close(told)

    def output(self) -> bytes:
        with os.fdopen(self.said, "rb") as stream:
            said = stream.read()
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return said


if __name__ == "__main__":
    main()
