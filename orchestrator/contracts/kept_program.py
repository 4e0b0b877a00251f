"""Programs of ours that stay on a host and answer questions, over any transport.

While clients wait, starting a program and letting it read what it must know is too slow; one that stays has read it.
It is asked through a FIFO of its own and answers on its standard output, which is heard as it comes. Nothing of it
outlives this process: its command has a bound on the host, and ends with the connection.
"""

import json
import threading
from types import TracebackType
from typing import Any, Self

from orchestrator.contracts.programs import PYTHON_WORDS, TELL_WORDS
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.errors import CommandFailed, CommandTimedOut, HostError

READY_SECONDS_MAX = 3600.0  # it may have to read terabytes first
ASK_SECONDS_MAX = 10.0


class KeptProgram:
    """One such program. `open` it, `ask` it any number of times, `close` it; one question at a time.

    Fails with a HostError: also when the program ended, in its own last words.
    """

    def __init__(
        self, transport: Transport, text: bytes, request: dict[str, Any], *, user: str | None, seconds_max: float
    ) -> None:
        """`seconds_max` bounds the whole life of the program. The request must hold no secret: it is a word."""
        self._transport = transport
        self._text = text
        self._request = {**request, "seconds": seconds_max}
        self._user = user
        self._seconds_max = seconds_max
        self._changed = threading.Condition()
        self._asking = threading.Lock()
        self._way = ""  # the FIFO, once it is ready
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._parts: dict[str, list[Any]] = {}  # lists of the answer that is on its way
        self._ended: str | None = None

    @property
    def alive(self) -> bool:
        with self._changed:
            return self._ended is None and bool(self._way)

    def open(self) -> None:
        threading.Thread(target=self._run, name=f"kept-{self._transport.host.name}", daemon=True).start()
        with self._changed:
            if not self._changed.wait_for(lambda: self._way or self._ended is not None, READY_SECONDS_MAX):
                raise CommandTimedOut(f"{self._transport.host.name}: a program was not ready in time")
            self._complain()

    def ask(self, question: dict[str, Any], *, timeout_seconds: float = 60.0) -> dict[str, Any]:
        with self._asking:
            with self._changed:
                self._complain()
                self._number += 1
                number = self._number
            self._tell(self._way, {**question, "number": number})
            with self._changed:
                self._changed.wait_for(lambda: number in self._answers or self._ended is not None, timeout_seconds)
                if number in self._answers:
                    return self._answers.pop(number)
                self._complain()
            raise CommandTimedOut(f"{self._transport.host.name}: no answer within {timeout_seconds:g} s")

    def close(self) -> None:
        """Tell it to end; it does at once, and at the latest with the connection."""
        with self._asking, self._changed:
            if self._ended is not None or not self._way:
                return
            way = self._way
        try:
            self._tell(way, {"do": "end", "number": 0})
        except HostError:
            return  # it ends with the connection

    def _tell(self, way: str, question: dict[str, Any]) -> None:
        line = json.dumps(question) + "\n"
        words = [*TELL_WORDS, way]
        self._transport.run(words, stdin=line.encode(), user=self._user, timeout_seconds=ASK_SECONDS_MAX)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        why = "what it said could not be understood"
        try:
            done = self._transport.run(
                [*PYTHON_WORDS, json.dumps(self._request)],
                stdin=self._text,
                user=self._user,
                timeout_seconds=self._seconds_max + 30,
                check=False,
                on_line=self._hear,
            )
            said = done.stderr.decode(errors="replace").strip().splitlines()
            why = said[-1] if said else f"it ended with {done.exit_code}"
        except HostError as error:
            why = error.message
        finally:
            # Whatever broke: nobody must wait for an answer that cannot come.
            with self._changed:
                self._ended = self._ended or why
                self._changed.notify_all()

    def _hear(self, line: str) -> None:
        kind, _, text = line.partition(" ")
        if kind not in ("ready", "part", "answer", "failed"):
            return
        value = json.loads(text)
        with self._changed:
            if kind == "ready":
                self._way = value["ask"]
            elif kind == "part":
                self._parts.setdefault(value["key"], []).extend(value["values"])
            elif kind == "answer":
                self._answers[value["number"]] = {**value, **self._parts}
                self._parts = {}
            else:
                self._ended = value["why"]
            self._changed.notify_all()

    def _complain(self) -> None:
        if self._ended is not None:
            raise CommandFailed(f"{self._transport.host.name}: a program that stays ended: {self._ended}")
