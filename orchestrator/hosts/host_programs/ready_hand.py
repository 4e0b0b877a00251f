"""Runs commands and programs on its host for a caller that waits: one process that has started already.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only.

It reads requests from its standard input and answers on its standard output, each as a line of JSON and then bytes:
  {id, kind, words, seconds, environment, stdin}, then `stdin` bytes, which are by kind
      command  what it reads
      program  its text; it is run in a copy of this process, as `python3 -I -S - WORDS` would run it
      tell     what is written to the path that is the last word; by a copy of this process where it must be waited for
  {kind: learn, stdin}, then the text of a program that will be run soon; it has no answer
  {id, code, seconds, out, err, overflowed}, then `out` bytes of its standard output and `err` of its errors
Any number of requests are under way beside each other. A command leads a process group of its own. It is ended (TERM,
five seconds later KILL) when its time is over and when our input ends, which a cut connection and the death of the
caller bring about; what it left behind in its group ends with it. Where we are killed, it still has a bound of its own.
Our output says `ready` first. Where nobody asks for half an hour, we end.
"""

from __future__ import annotations

import atexit

# Modules that programs need are here before anybody waits for them.
import fcntl  # noqa: F401
import gc
import hashlib  # noqa: F401
import json
import os
import select
import signal
import socket  # noqa: F401
import stat
import subprocess  # noqa: F401
import sys
import tempfile  # noqa: F401
import threading
import time
import types

MYPY = False  # true for the type checker alone
if MYPY:
    from typing import Any, NoReturn

OUTPUT_BYTES_MAX = 64 * 1024 * 1024
PIECE_BYTES = 1 << 16
KILL_AFTER_SECONDS = 5.0
IDLE_SECONDS_MAX = 1800.0  # without a request; who asks stops relying on us long before
LATE_OUTPUT_SECONDS = 0.25  # after a command ended, for what still lies in its pipes
ENDED_BY_TIME = 124  # as timeout(1) says it
NOT_EXECUTABLE = 126


class Command:
    """One request under way. Plain descriptors only: a copy of this process closes them by their numbers."""

    def __init__(self, request: dict[str, Any], pid: int, out: int, err: int) -> None:
        self.id = request["id"]
        self.pid = pid
        self.began = time.monotonic()
        self.ends_at = self.began + request["seconds"]
        self.streams = {out: bytearray(), err: bytearray()}
        self.out, self.err = out, err
        self.open = {out, err}
        self.code: int | None = None
        self.ended_at = 0.0
        self.killed_at = 0.0  # when it was told to end
        self.overflowed = False

    def signal_group(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # it has ended; or what is left of it became somebody else, whom only that user may end

    def look(self, now: float) -> None:
        """Reap it when it has ended, end it when its time is over."""
        if self.code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code
                self.ended_at = now
                self.signal_group(signal.SIGKILL)
            elif not self.killed_at and (now >= self.ends_at or self.overflowed):
                self.killed_at = now
                self.signal_group(signal.SIGTERM)
            elif self.killed_at and now >= self.killed_at + KILL_AFTER_SECONDS:
                self.signal_group(signal.SIGKILL)

    def is_over(self, now: float) -> bool:
        return self.code is not None and (not self.open or now >= self.ended_at + LATE_OUTPUT_SECONDS)

    def wakes_at(self) -> float:
        if self.code is not None:
            return self.ended_at + LATE_OUTPUT_SECONDS
        return self.killed_at + KILL_AFTER_SECONDS if self.killed_at else self.ends_at

    def answer(self) -> bytes:
        for descriptor in self.open:
            os.close(descriptor)
        out, err = bytes(self.streams[self.out]), bytes(self.streams[self.err])
        code = ENDED_BY_TIME if self.killed_at and not self.overflowed else self.code
        return answer_of(self.id, code, time.monotonic() - self.began, out, err, overflowed=self.overflowed)


class Hand:
    def __init__(self) -> None:
        self.under_way: dict[int, Command] = {}
        self.by_descriptor: dict[int, Command] = {}
        self.poll = select.poll()
        self.given = bytearray()
        self.asked_at = time.monotonic()
        self.texts: dict[bytes, types.CodeType] = {}
        self.wake_in, self.wake_out = os.pipe()

    def serve(self) -> types.CodeType | None:
        """None at the end of the input; in a copy of this process, the program that it is to be."""
        os.set_blocking(self.wake_in, False)
        os.set_blocking(self.wake_out, False)
        signal.set_wakeup_fd(self.wake_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it only wakes us
        for ends_us in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ends_us, lambda *_: sys.exit(1))
        self.poll.register(self.wake_in, select.POLLIN)
        self.poll.register(0, select.POLLIN)
        gc.collect()
        gc.freeze()  # copies of us do not look at what they never touch
        send(b"ready\n")
        try:
            while self.under_way or time.monotonic() < self.asked_at + IDLE_SECONDS_MAX:
                for descriptor, _ in self.poll.poll(self.milliseconds()):
                    if descriptor == 0:
                        piece = os.read(0, PIECE_BYTES)
                        if not piece:
                            return None
                        self.given += piece
                        while (request := self.taken()) is not None:
                            code = self.begin(*request)
                            if code is not None:
                                return code
                    elif descriptor == self.wake_in:
                        os.read(self.wake_in, PIECE_BYTES)
                    else:
                        self.read(descriptor)
                self.settle()
            return None
        finally:
            self.end_all()

    def milliseconds(self) -> float:
        ends = self.asked_at + IDLE_SECONDS_MAX
        earliest = min((command.wakes_at() for command in self.under_way.values()), default=ends)
        return max(0.0, earliest - time.monotonic()) * 1000 + 1

    def taken(self) -> tuple[dict[str, Any], bytes] | None:
        """The next whole request of what was given."""
        end = self.given.find(b"\n")
        if end < 0:
            return None
        request = json.loads(self.given[:end])
        whole = end + 1 + request["stdin"]
        if len(self.given) < whole:
            return None
        self.asked_at = time.monotonic()
        stdin = bytes(self.given[end + 1 : whole])
        del self.given[:whole]
        return request, stdin

    def begin(self, request: dict[str, Any], stdin: bytes) -> types.CodeType | None:
        if request["kind"] == "learn":
            self.learn(stdin)
            return None
        if request["kind"] == "tell" and told_at_once(request["words"][-1], stdin):
            send(answer_of(request["id"], 0, 0.0, b"", b""))
            return None
        streams = [os.pipe(), os.pipe()]
        outer, inner = [stream[0] for stream in streams], [stream[1] for stream in streams]
        try:
            if request["kind"] == "command":
                pid = spawned(request, stdin, inner)
            else:
                code = self.compiled(stdin) if request["kind"] == "program" else None
                pid = os.fork()
                if pid == 0:
                    self.become_alone(request, inner)
                    return code or tell(request["words"][-1], stdin)
        except (OSError, SyntaxError) as error:  # the words are too long, there is no room, it is no program
            for descriptor in outer:
                os.close(descriptor)
            send(answer_of(request["id"], NOT_EXECUTABLE, 0.0, b"", ("%r\n" % error).encode()))
            return None
        finally:
            for descriptor in inner:
                os.close(descriptor)
        command = Command(request, pid, *outer)
        self.under_way[pid] = command
        for descriptor in outer:
            self.by_descriptor[descriptor] = command
            self.poll.register(descriptor, select.POLLIN)
        return None

    def compiled(self, text: bytes) -> types.CodeType:
        if text not in self.texts:
            self.texts[text] = compile(text, "<stdin>", "exec", dont_inherit=True)
        return self.texts[text]

    def learn(self, text: bytes) -> None:
        try:
            self.compiled(text)
        except SyntaxError:
            pass  # who runs it is told

    def become_alone(self, request: dict[str, Any], inner: list[int]) -> None:
        """In the copy: it must never answer for us, whatever goes wrong."""
        try:
            self.become(request, inner)
        except OSError:
            os._exit(NOT_EXECUTABLE)

    def become(self, request: dict[str, Any], inner: list[int]) -> None:
        """In the copy: nothing of us is left but what is imported."""
        os.setsid()
        self.under_way = {}  # they are not ours to end
        signal.set_wakeup_fd(-1)
        for handled in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(handled, signal.SIG_DFL)
        signal.alarm(int(request["seconds"] + KILL_AFTER_SECONDS) + 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, descriptor in enumerate(inner, start=1):
            os.dup2(descriptor, number)
        os.closerange(3, 1 + max(int(name) for name in os.listdir("/proc/self/fd")))
        inner.clear()
        sys.argv = ["-", *request["words"]]

    def read(self, descriptor: int) -> None:
        command = self.by_descriptor[descriptor]
        piece = os.read(descriptor, PIECE_BYTES)
        if not piece:
            self.close(command, descriptor)
        elif sum(map(len, command.streams.values())) + len(piece) > OUTPUT_BYTES_MAX:
            command.overflowed = True
        else:
            command.streams[descriptor] += piece

    def close(self, command: Command, descriptor: int) -> None:
        self.poll.unregister(descriptor)
        del self.by_descriptor[descriptor]
        command.open.discard(descriptor)
        os.close(descriptor)

    def settle(self) -> None:
        now = time.monotonic()
        for command in list(self.under_way.values()):
            command.look(now)
            if command.is_over(now):
                del self.under_way[command.pid]
                for descriptor in command.open:
                    self.poll.unregister(descriptor)
                    del self.by_descriptor[descriptor]
                send(command.answer())

    def end_all(self) -> None:
        """Nobody waits any more."""
        deadline = time.monotonic() + KILL_AFTER_SECONDS
        for command in self.under_way.values():
            command.signal_group(signal.SIGTERM)
        while self.under_way:
            now = time.monotonic()
            if now >= deadline:
                for command in self.under_way.values():
                    command.signal_group(signal.SIGKILL)
            for command in list(self.under_way.values()):
                command.look(now)
                if command.code is not None:
                    del self.under_way[command.pid]
            time.sleep(0.01)


def told_at_once(path: str, text: bytes) -> bool:
    """Whether it could be written whole, without waiting, into a FIFO that somebody reads; else nothing was."""
    if len(text) > select.PIPE_BUF:
        return False
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode) and os.write(descriptor, text) == len(text)
    except OSError:
        return False  # it is full, or nobody reads any more
    finally:
        os.close(descriptor)


def tell(path: str, text: bytes) -> NoReturn:
    """In the copy: write it there, as a shell's `cat > "$1"` would."""
    try:
        with open(path, "wb", buffering=0) as stream:
            left = memoryview(text)
            while left:
                left = left[stream.write(left) or 0 :]
    except OSError as error:
        os.write(2, ("%s: %s\n" % (path, os.strerror(error.errno or 0))).encode())
        os._exit(2)
    os._exit(0)


def spawned(request: dict[str, Any], stdin: bytes, inner: list[int]) -> int:
    """A command of this host. timeout(1) leads its group, so that it has a bound also when we are killed."""
    source = os.memfd_create("stdin")
    try:
        left = memoryview(stdin)
        while left:
            left = left[os.write(source, left) :]
        os.lseek(source, 0, os.SEEK_SET)
        words = ["timeout", "-k", str(int(KILL_AFTER_SECONDS)), "%.3f" % (request["seconds"] + 1), *request["words"]]
        actions = [(os.POSIX_SPAWN_DUP2, source, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(inner, start=1)]
        environment = dict(os.environ, **request["environment"])
        defaults = [signal.SIGPIPE]
        return os.posix_spawnp(words[0], words, environment, file_actions=actions, setsigdef=defaults, setpgroup=0)
    finally:
        os.close(source)


def answer_of(
    number: int, code: int | None, seconds: float, out: bytes, err: bytes, *, overflowed: bool = False
) -> bytes:
    told = {"id": number, "code": code, "seconds": round(seconds, 6), "out": len(out), "err": len(err)}
    return json.dumps(dict(told, overflowed=overflowed)).encode() + b"\n" + out + err


def send(answer: bytes) -> None:
    left = memoryview(answer)
    while left:
        left = left[os.write(1, left) :]


def run(program: types.CodeType) -> NoReturn:
    """In the copy: run it and end as Python would, but for taking apart what the copy was made with: that alone would
    take longer than most programs do.
    """
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    code = 0
    try:
        exec(program, module.__dict__)  # noqa: S102 - this is what it was sent for
    except SystemExit as end:
        code = end.code & 0xFF if isinstance(end.code, int) else 0 if end.code is None else 1
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:  # whatever it broke on, it ends here
        sys.excepthook(*sys.exc_info())
        code = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to have it done before the end
    module.__dict__.clear()  # files that it left open are written and closed
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 120  # as Python has it
    os._exit(code)


def main() -> None:
    os.chdir("/")
    program = Hand().serve()
    if program is not None:
        run(program)


if __name__ == "__main__":
    main()
