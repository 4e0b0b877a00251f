"""Keeps a line from the replica's host to the source's open, and pulls named entries over it by rsync when asked.

Joined with rsync_pull.py, obeyed.py and answering.py, sent to hosts and run by their own Python (3.9 or newer). The
line is one OpenSSH connection under a certificate that allows one command: read exactly this tree. A pull over it costs
no login.

Usage: python3 - REQUEST, a JSON object {ssh, destination, words, target, seconds}: `words` are rsync's, {shell} stands
for the way over the line and {list} for the file of names. Answers {do: pull, names, order} as rsync_pull does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from orchestrator.movers.host_programs.answering import say, stay
from orchestrator.movers.host_programs.obeyed import why_open
from orchestrator.movers.host_programs.rsync_pull import die_with_parent, lock, pull

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Callable
    from typing import Any

OPEN_SECONDS_MAX = 20.0


class NoLine(Exception):
    """ssh did not get through."""


class Line:
    """The connection, and rsync over it."""

    def __init__(self, request: dict[str, Any], folder: str) -> None:
        self.request = request
        self.socket = folder + "/line"
        self.list = folder + "/names"
        shell = [*request["ssh"], "-S", self.socket]
        replaced = {"{shell}": " ".join(shell), "--files-from={list}": "--files-from=" + self.list}
        self.words = [replaced.get(word, word) for word in request["words"]]
        self.master = subprocess.Popen(
            [*shell, "-M", "-N", request["destination"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,  # no other thread runs yet
        )
        self.await_open()

    def await_open(self) -> None:
        until = time.monotonic() + OPEN_SECONDS_MAX
        while not os.path.exists(self.socket):
            if self.master.poll() is not None or time.monotonic() > until:
                self.master.kill()
                said = self.master.stderr.read().decode(errors="replace") if self.master.stderr else ""
                raise NoLine(said.strip().splitlines()[-1] if said.strip() else "it did not open in time")
            time.sleep(0.01)

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        with open(self.list, "wb") as stream:
            stream.write(b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in question["names"]))
        try:
            held = lock(self.request["target"])
        except BlockingIOError:
            return {"busy": True}
        try:
            why = why_open(question["order"])
            return {"open": why} if why else pull(self.words, self.request["target"])
        finally:
            os.close(held)


def main() -> None:
    request = json.loads(sys.argv[1])
    lines: list[Line] = []

    def prepare(folder: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        lines.append(Line(request, folder))
        return lines[0].answer

    try:
        stay(prepare, lambda _asked: None, request["seconds"])
    except NoLine as error:
        say("failed", {"why": str(error)})
    except FileNotFoundError as error:
        say("failed", {"why": "%s: not found" % error.filename})
    finally:
        for line in lines:
            line.master.terminate()
            line.master.wait()


if __name__ == "__main__":
    main()
