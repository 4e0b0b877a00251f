"""Keeps a line from the replica's host to the source's open, and pulls named entries over it by rsync when asked.

Joined with rsync_pull.py, obeyed.py and answering.py, sent to hosts and run by their own Python (3.9 or newer). The
line is one OpenSSH connection under a certificate that allows one command: read exactly this tree. A pull over it costs
no login; and where an rsync was let stand ready, it costs no start of rsync, here or at the source, for that one has
greeted the source and waits for names. It writes nothing before they come, so nobody's turn is taken until then.

Usage: python3 - REQUEST, a JSON object {ssh, destination, words, target, seconds}: `words` are rsync's, which reads
names from its standard input; {shell} stands for the way over the line. Answers {do: stand ready} with {}, and
{do: pull, names, order} as rsync_pull does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

from orchestrator.movers.host_programs.answering import Asked, say, stay
from orchestrator.movers.host_programs.obeyed import why_open
from orchestrator.movers.host_programs.rsync_pull import begin, die_with_parent, lock, pull

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Callable
    from typing import Any

OPEN_SECONDS_MAX = 20.0
LIVED_SECONDS_MIN = 5.0  # one that ends sooner is not replaced: the next would end as soon


class NoLine(Exception):
    """ssh did not get through."""


class Line:
    """The connection, and rsync over it."""

    def __init__(self, request: dict[str, Any], folder: str) -> None:
        self.request = request
        self.socket = folder + "/line"
        shell = [*request["ssh"], "-S", self.socket]
        self.words = [" ".join(shell) if word == "{shell}" else word for word in request["words"]]
        self.ready: subprocess.Popen[bytes] | None = None
        self.ready_since = 0.0
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
        if question["do"] == "stand ready":
            self.stand_ready()
            return {}
        try:
            held = lock(self.request["target"])
        except BlockingIOError:
            return {"busy": True}
        try:
            why = why_open(question["order"])
            return {"open": why} if why else self.pull(question["names"])
        finally:
            os.close(held)

    def stand_ready(self) -> None:
        if self.ready is None or self.ready.poll() is not None:
            self.let_go()
            self.ready = begin(self.words, subprocess.PIPE)
            self.ready_since = time.monotonic()

    def look_after(self) -> None:
        """One that hears nothing for long gives up; until it was used, another one stands ready in its place."""
        if self.ready is not None and self.ready.poll() is not None:
            lived = time.monotonic() - self.ready_since
            self.let_go()
            if lived >= LIVED_SECONDS_MIN:
                self.stand_ready()

    def let_go(self) -> None:
        """End the rsync that stands ready."""
        child, self.ready = self.ready, None
        if child is not None:
            child.kill()
            child.communicate()

    def pull(self, names: list[str]) -> dict[str, Any]:
        if self.ready is not None and self.ready.poll() is not None:
            self.let_go()
        child, self.ready = self.ready or begin(self.words, subprocess.PIPE), None
        telling = threading.Thread(target=tell, args=(child, names), daemon=True)  # more than a pipe holds, perhaps
        telling.start()
        result = pull(self.words, self.request["target"], begun=child)
        telling.join()
        return result


def tell(child: subprocess.Popen[bytes], names: list[str]) -> None:
    try:
        if child.stdin is not None:
            with child.stdin as stream:
                stream.write(b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in names))
    except BrokenPipeError:
        pass  # it ended, and says why


def main() -> None:
    request = json.loads(sys.argv[1])
    lines: list[Line] = []

    def prepare(folder: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        lines.append(Line(request, folder))
        return lines[0].answer

    def asked_of(asked: Asked) -> None:
        asked.idle = lines[0].look_after

    try:
        stay(prepare, asked_of, request["seconds"])
    except NoLine as error:
        say("failed", {"why": str(error)})
    except FileNotFoundError as error:
        say("failed", {"why": "%s: not found" % error.filename})
    finally:
        for line in lines:
            line.let_go()
            line.master.terminate()
            line.master.wait()


if __name__ == "__main__":
    main()
