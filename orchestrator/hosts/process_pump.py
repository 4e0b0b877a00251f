"""One child process, its three streams pumped by one thread, with bounds on time and output."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_PIECE_BYTES = 65_536
_LINE_BYTES_MAX = 65_536  # a longer piece without a line end is given on as it stands
_LATE_OUTPUT_SECONDS = 0.25  # after the process ended, for what still lies in the pipes


@dataclass(frozen=True)
class Pumped:
    """How a process ended. `exit_code` is negative for a signal."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    overran: bool  # it was still there after its time, and was ended
    overflowed: bool  # it printed more than its bound, and was ended


@dataclass
class _Stream:
    on_line: Callable[[str], None] | None
    held: bytearray = field(default_factory=bytearray)
    told: int = 0  # how far on_line has been told

    def take(self, piece: bytes) -> None:
        self.held += piece
        if self.on_line is not None:
            self._tell(last=False)

    def end(self) -> None:
        if self.on_line is not None:
            self._tell(last=True)

    def _tell(self, *, last: bool) -> None:
        tell = self.on_line
        if tell is None:
            return
        while True:
            ends = [place for mark in (b"\n", b"\r") if (place := self.held.find(mark, self.told)) >= 0]
            if not ends:
                break
            line, self.told = self.held[self.told : min(ends)], min(ends) + 1
            if line:
                tell(line.decode(errors="replace"))
        rest = self.held[self.told :]
        if rest and (last or len(rest) > _LINE_BYTES_MAX):
            self.told = len(self.held)
            tell(rest.decode(errors="replace"))


def pump(
    words: Sequence[str],
    *,
    stdin: bytes,
    seconds_max: float,
    ending_seconds: float,
    output_bytes_max: int,
    on_line: Callable[[str], None] | None = None,
) -> Pumped:
    """Run `words` here. After `seconds_max` its stdin is closed; `ending_seconds` later it is killed.

    The stdin pipe stays open until then, because its end tells the other side that nobody waits any more. Whatever
    ends this call early (Ctrl-C, an error in `on_line`) ends the process too. OSError when it cannot be started.
    """
    started = time.monotonic()
    # A session of its own: Ctrl-C on the terminal reaches this program alone, which then ends its children in order.
    process = subprocess.Popen(
        list(words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    pumping = _Pumping(process, stdin, started + seconds_max, ending_seconds, output_bytes_max, on_line)
    try:
        pumping.run()
        seconds = time.monotonic() - started
    finally:
        pumping.close()
    return Pumped(
        exit_code=process.returncode,
        stdout=bytes(pumping.stdout.held),
        stderr=bytes(pumping.stderr.held),
        seconds=seconds,
        overran=pumping.overran,
        overflowed=pumping.overflowed,
    )


class _Pumping:
    """The loop's state."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        stdin: bytes,
        deadline: float,
        ending_seconds: float,
        output_bytes_max: int,
        on_line: Callable[[str], None] | None,
    ) -> None:
        self.process = process
        self.unsent = memoryview(stdin)
        self.deadline = deadline
        self.ending_seconds = ending_seconds
        self.output_bytes_max = output_bytes_max
        self.stdout = _Stream(on_line)
        self.stderr = _Stream(on_line)
        self.overran = False
        self.overflowed = False
        self.selector = selectors.DefaultSelector()
        self.exit_descriptor = os.pidfd_open(process.pid)
        self.ended_at: float | None = None

    def run(self) -> None:
        process = self.process
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("a pumped process has three pipes")
        for pipe in (process.stdin, process.stdout, process.stderr):
            os.set_blocking(pipe.fileno(), False)
        self.selector.register(process.stdout, selectors.EVENT_READ, self.stdout)
        self.selector.register(process.stderr, selectors.EVENT_READ, self.stderr)
        self.selector.register(self.exit_descriptor, selectors.EVENT_READ, None)
        if self.unsent:
            self.selector.register(process.stdin, selectors.EVENT_WRITE, None)
        reading = 2
        while reading or self.ended_at is None:
            wait = self._seconds_left()
            if wait is None:
                break
            for key, _ in self.selector.select(wait):
                if key.fileobj is self.exit_descriptor:
                    self.selector.unregister(self.exit_descriptor)
                    self.ended_at = time.monotonic()
                elif isinstance(key.data, _Stream):
                    reading -= self._read(key.fd, key.fileobj, key.data)
                else:
                    self._write(key.fd)
        self.stdout.end()
        self.stderr.end()

    def _seconds_left(self) -> float | None:
        """How long to wait for the next event; None when it is over."""
        now = time.monotonic()
        if self.ended_at is not None:
            # Something it left behind may hold the pipes for ever.
            left = self.ended_at + _LATE_OUTPUT_SECONDS - now
            return left if left > 0 else None
        if now < self.deadline:
            return self.deadline - now
        if not self.overran:
            self.overran = True
            self._close_stdin()
            self.deadline = now + self.ending_seconds
            return self.ending_seconds
        return None

    def _read(self, descriptor: int, pipe: object, stream: _Stream) -> int:
        """1 when the stream has ended."""
        try:
            piece = os.read(descriptor, _PIECE_BYTES)
        except BlockingIOError:
            return 0
        if not piece:
            self.selector.unregister(descriptor)
            return 1
        if self.ended_at is not None:
            self.ended_at = time.monotonic()
        if len(stream.held) + len(piece) > self.output_bytes_max:
            self.overflowed = True
            self.process.kill()
            return 0
        stream.take(piece)
        return 0

    def _write(self, descriptor: int) -> None:
        try:
            self.unsent = self.unsent[os.write(descriptor, self.unsent[:_PIECE_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            # It ended without reading all; its exit code tells the rest.
            self.unsent = self.unsent[:0]
        if not self.unsent:
            self.selector.unregister(descriptor)

    def _close_stdin(self) -> None:
        pipe = self.process.stdin
        if pipe is None or pipe.closed:
            return
        if self.unsent:
            self.selector.unregister(pipe)
            self.unsent = self.unsent[:0]
        pipe.close()

    def close(self) -> None:
        """Leave no process, no descriptor."""
        self._close_stdin()
        self.selector.close()
        os.close(self.exit_descriptor)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
