"""Standard output while a run is shown: whoever reads it slowly, or no more, holds up nothing."""

import contextlib
import io
import json
import os
import queue
import select
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

PIECES_KEPT_MAX = 5_000  # that nobody has read yet; beyond them the newest are left out, which is then said
INTERRUPTED_WAIT_SECONDS = 1.0


class UnhurriedOutput(io.TextIOBase):
    """Takes text at once and writes it to `stream` on a thread of its own, in order.

    Ctrl-S on a terminal, a pager, or a reader that hangs stops that thread alone. Once the reader is gone, what is
    written leads nowhere, here and in `stream` itself: the command goes on, and ends with its own exit code.
    """

    def __init__(self, stream: TextIO, left_out: Callable[[int], str]) -> None:
        stream.flush()
        self._stream = stream
        self._left_out_line = left_out
        self._descriptor = stream.fileno()
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._left_out = 0
        self._lock = threading.Lock()
        # Not by way of the stream's buffer: a thread that stands there would hold its lock.
        self._thread = threading.Thread(target=self._carry, name="output", daemon=True)
        self._thread.start()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            if self._pieces.qsize() >= PIECES_KEPT_MAX:
                self._left_out += 1
                return len(text)
            self._say_what_was_left_out()
            self._put(text)
        return len(text)

    def close_when_read(self, seconds: float | None) -> None:
        """Take nothing more; return when all is written, or after so long."""
        with self._lock:
            self._say_what_was_left_out()
            self._pieces.put(None)
        self._thread.join(seconds)

    def _say_what_was_left_out(self) -> None:
        if self._left_out:
            self._put(self._left_out_line(self._left_out) + "\n")
            self._left_out = 0

    def _put(self, text: str) -> None:
        self._pieces.put(text.encode(self._stream.encoding, errors=self.errors))

    def _carry(self) -> None:
        while (piece := self._pieces.get()) is not None:
            try:
                while piece:
                    # Whoever shares it may have made it one that does not wait by itself.
                    select.select((), (self._descriptor,), ())
                    piece = piece[os.write(self._descriptor, piece) :]
            except OSError:  # nobody reads any more; the command itself has more to do than to be read
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._descriptor)
                os.close(nowhere)


def _left_out(pieces: int) -> str:
    return f"  ! {pieces} lines, unread, are left out"


def _left_out_as_json(pieces: int) -> str:
    return json.dumps({"left_out": pieces})


@contextlib.contextmanager
def unhurried_output(*, as_json: bool) -> Iterator[None]:
    """While inside, what is printed waits for no reader; at the end all of it has been read, or nobody reads.

    Lines that nobody read in time are left out, which a line says; with `as_json` as JSON. One within another is one.
    """
    stream = sys.stdout
    if isinstance(stream, UnhurriedOutput):
        yield
        return
    try:
        stream.fileno()
    except (OSError, ValueError):  # not a file of the system: it never makes anybody wait
        yield
        return
    output = UnhurriedOutput(stream, _left_out_as_json if as_json else _left_out)
    sys.stdout = output
    seconds: float | None = INTERRUPTED_WAIT_SECONDS
    try:
        yield
        seconds = None
    finally:
        sys.stdout = stream
        output.close_when_read(seconds)
