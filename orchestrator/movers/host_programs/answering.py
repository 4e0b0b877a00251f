"""For programs that stay on a host and answer questions: they are asked through a FIFO and answer on standard output.

Joined with the program that it serves, sent to hosts and run by their own Python (3.9 or newer): standard library only.
A question is one line of JSON with a `number`; its answer is the line `answer {…}` with the same number. The program
ends when it is told `end`, when its time is over, and, since its host bounds it, with the connection of who asks.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import sys
import tempfile
import time

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Callable
    from typing import Any

IDLE_SECONDS = 0.2  # so often what is better done before a question is done
IDLE_SHARE = 5  # and of the time, at most one part of so many
PART_CHARACTERS = 20_000  # a longer line would be heard in pieces
PLACES = ("/run", "/dev/shm", tempfile.gettempdir())  # noqa: S108 - the folder is made for us alone


def say(kind: str, value: dict[str, Any]) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


def end_in_order(_number: int, _frame: Any) -> None:
    raise SystemExit(0)


def private_folder() -> str:
    """A folder of our own, in memory where there is such a place."""
    for place in PLACES:
        try:
            return tempfile.mkdtemp(prefix="skerry-ask-", dir=place)
        except OSError:
            continue
    raise SystemExit("no folder can be made in " + ", ".join(PLACES))


class Asked:
    """Takes questions until the end. `besides` are descriptors whose callbacks are served meanwhile; `idle` is called
    now and then while nobody asks.
    """

    idle: Callable[[], None] | None = None

    def __init__(self, folder: str, seconds: float) -> None:
        self.path = folder + "/ask"
        os.mkfifo(self.path, 0o600)
        self.until = time.monotonic() + seconds
        self.inlet = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # Held open by us as well, or the FIFO would be at its end after every question.
        self.outlet = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.pending = b""
        self.chooser = selectors.DefaultSelector()
        self.chooser.register(self.inlet, selectors.EVENT_READ, None)

    def besides(self, descriptor: int, call: Callable[[], None]) -> None:
        self.chooser.register(descriptor, selectors.EVENT_READ, call)

    def serve(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        rests_until = 0.0
        while time.monotonic() < self.until:
            for key, _ in self.chooser.select(timeout=5.0 if self.idle is None else IDLE_SECONDS):
                if key.data is not None:
                    key.data()
                elif self.answer_all(answer):
                    return
            began = time.monotonic()
            if self.idle is not None and began >= rests_until:
                self.idle()
                ended = time.monotonic()
                rests_until = ended + max(IDLE_SECONDS, IDLE_SHARE * (ended - began))

    def answer_all(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> bool:
        """Whether the end was asked for."""
        self.pending += os.read(self.inlet, 1 << 20)
        *lines, self.pending = self.pending.split(b"\n")
        for line in lines:
            question = json.loads(line)
            if question["do"] == "end":
                return True
            say_answer(question["number"], answer(question))
        return False


def say_answer(number: int, answer: dict[str, Any]) -> None:
    """Lists go before it, in parts, so that no line is long."""
    for key in [key for key, value in answer.items() if isinstance(value, list)]:
        part: list[Any] = []
        characters = 0
        for each in answer.pop(key):
            part.append(each)
            characters += len(each) + 8
            if characters > PART_CHARACTERS:
                say("part", {"number": number, "key": key, "values": part})
                part, characters = [], 0
        say("part", {"number": number, "key": key, "values": part})
    say("answer", dict(answer, number=number))


def stay(prepare: Callable[[str], Callable[[dict[str, Any]], dict[str, Any]]], asked_of: Callable[[Asked], None],
         seconds: float) -> None:  # fmt: skip
    """Prepare, say `ready`, answer until the end; the folder goes whatever ends it."""
    signal.signal(signal.SIGTERM, end_in_order)
    folder = private_folder()
    try:
        answer = prepare(folder)
        asked = Asked(folder, seconds)
        asked_of(asked)
        say("ready", {"ask": asked.path})
        asked.serve(answer)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
