"""Commands on a host by a process that stands ready there: no session, no shell and no interpreter is started for them.

While clients wait, what it costs to begin a command is most of what a command costs. A hand is begun before, over the
host's connection, one for each user; whatever is run as that user goes through it from then on. Nothing depends on it:
where there is none, commands go the long way.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from orchestrator.contracts.programs import PYTHON_WORDS, TELL_WORDS, program_text
from orchestrator.hosts.bounded_command import KILL_AFTER_SECONDS, as_user
from orchestrator.hosts.process_pump import Pumped
from orchestrator.hosts.shell_words import shell_line
from orchestrator.hosts.ssh_connection import SshConnection

PROGRAM = Path(__file__).parent / "host_programs" / "ready_hand.py"
READY_SECONDS_MAX = 20.0
ENDING_SECONDS = KILL_AFTER_SECONDS + 1.5
ANSWER_SECONDS = ENDING_SECONDS + 2.0  # after a command's time: the host ends it first, and may need that long
IDLE_SECONDS_MAX = 900.0  # the host ends one that was idle twice as long: it is not asked any more by then
STDIN_BYTES_MAX = 256 * 1024  # more goes the long way, lest others wait behind it
_LOADER = "import sys\nexec(compile(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())), 'hand', 'exec'))"
WORDS = (*PYTHON_WORDS[:-1], "-c", _LOADER)


class HandGone(Exception):
    """The hand ended. `may_have_run`: it had been given the command before."""

    def __init__(self, *, may_have_run: bool) -> None:
        super().__init__("the hand ended")
        self.may_have_run = may_have_run


class ReadyHand:
    """One such process, reached by `words`. Any thread may `run` commands; `close` it once."""

    def __init__(self, words: Sequence[str]) -> None:
        """Returns when it stands ready. OSError where it does not come to that."""
        self._process = subprocess.Popen(
            list(words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._lock = threading.Lock()
        self._number = 0
        self._waiting: dict[int, Future[Pumped]] = {}
        self._asked_at = time.monotonic()
        self._gone = False
        self._ready = threading.Event()
        self._hearing = threading.Thread(target=self._hear, name="ready-hand", daemon=True)
        self._hearing.start()
        text = program_text(PROGRAM)
        try:
            self._send(f"{len(text)}\n".encode() + text)
        except HandGone:
            pass  # it is seen below
        if not self._ready.wait(READY_SECONDS_MAX) or self._gone:
            self.close()
            raise OSError("no hand stands ready there")

    @property
    def alive(self) -> bool:
        """It may be asked."""
        with self._lock:
            is_in_use = bool(self._waiting) or time.monotonic() < self._asked_at + IDLE_SECONDS_MAX
            return not self._gone and is_in_use

    def run(
        self, words: Sequence[str], *, stdin: bytes, timeout_seconds: float, environment: Mapping[str, str] | None
    ) -> Pumped:
        """How the command ended; HandGone where nobody can say."""
        program = tuple(words[: len(PYTHON_WORDS)]) == PYTHON_WORDS and bool(stdin) and not environment
        tells = tuple(words[:-1]) == TELL_WORDS and not environment
        answer: Future[Pumped] = Future()
        with self._lock:
            if self._gone:
                raise HandGone(may_have_run=False)
            self._asked_at = time.monotonic()
            self._number += 1
            number = self._number
            self._waiting[number] = answer
        request = {
            "id": number,
            "words": list(words[len(PYTHON_WORDS) :] if program else words),
            "seconds": timeout_seconds,
            "environment": dict(environment or {}),
            "stdin": len(stdin),
            "kind": "program" if program else "tell" if tells else "command",
        }
        self._send(json.dumps(request).encode() + b"\n" + stdin)
        try:
            return answer.result(timeout_seconds + ANSWER_SECONDS)
        except NoAnswer:
            self.close()  # not even its own bound answered: it is not to be trusted with another command
            return Pumped(-9, b"", b"", timeout_seconds + ANSWER_SECONDS, overran=True, overflowed=False)

    def learn(self, text: bytes) -> None:
        """Have it read the text of a program that is to be run soon; it is not waited for."""
        request = {"kind": "learn", "stdin": len(text)}
        try:
            self._send(json.dumps(request).encode() + b"\n" + text)
        except HandGone:
            pass  # who runs something next is told

    def close(self) -> None:
        """End it, and what it runs."""
        self._end()
        try:
            self._process.wait(timeout=ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._hearing.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _send(self, request: bytes) -> None:
        stdin = self._process.stdin
        try:
            with self._lock:
                if stdin is None or stdin.closed:
                    raise BrokenPipeError
                stdin.write(request)
                stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            self._end()
            raise HandGone(may_have_run=True) from error

    def _hear(self) -> None:
        stdout = self._process.stdout
        try:
            if stdout is not None and _skip_to_ready(stdout.readline):
                self._ready.set()
                while line := stdout.readline():
                    told = json.loads(line)
                    out, err = stdout.read(told["out"]), stdout.read(told["err"])
                    if len(out) + len(err) < told["out"] + told["err"]:
                        break
                    ended = Pumped(
                        told["code"], out, err, told["seconds"], overran=False, overflowed=told["overflowed"]
                    )
                    with self._lock:
                        answer = self._waiting.pop(told["id"], None)
                    if answer is not None:
                        answer.set_result(ended)
        except (OSError, ValueError):
            pass  # what it says cannot be understood: it is of no more use
        finally:
            self._end()
            self._ready.set()

    def _end(self) -> None:
        with self._lock:
            self._gone = True
            left, self._waiting = self._waiting, {}
            if self._process.stdin is not None:
                try:
                    self._process.stdin.close()
                except BrokenPipeError:
                    pass
        for answer in left.values():
            answer.set_exception(HandGone(may_have_run=True))


@dataclass(frozen=True)
class Standing:
    """A hand, and what it stands on."""

    hand: ReadyHand
    connection: SshConnection
    opened: ExitStack


class ReadyHands:
    """The hands on one host, by user (None: the login user). Safe for any number of threads."""

    def __init__(self, session: Callable[[], AbstractContextManager[SshConnection]]) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._beginning = threading.Lock()
        self._standing: dict[str | None, Standing] = {}

    def begin(self, user: str | None, texts: Sequence[bytes] = ()) -> None:
        """See that one stands ready for `user`, and has read these programs, if that can be. Raises what opening a
        connection raises.
        """
        with self._beginning, ExitStack() as opened:
            if self.of(user) is not None:
                return  # also where another thread began it meanwhile: what stands is in use
            connection = opened.enter_context(self._session())
            try:
                hand = ReadyHand(connection.session_words(shell_line([*as_user(user), *WORDS])))
            except OSError:
                return  # no Python there, or no room for one more session
            opened.callback(hand.close)
            for text in texts:
                hand.learn(text)
            with self._lock:
                before = self._standing.get(user)
                self._standing[user] = Standing(hand, connection, opened.pop_all())
        if before is not None:
            before.opened.close()

    def of(self, user: str | None) -> Standing | None:
        with self._lock:
            found = self._standing.get(user)
        return found if found is not None and found.hand.alive else None

    def close(self) -> None:
        with self._lock:
            standing, self._standing = self._standing, {}
        for each in standing.values():
            each.opened.close()


def _skip_to_ready(read_line: Callable[[], bytes]) -> bool:
    """Past what a login shell says; False where the output ends before."""
    return any(line == b"ready\n" for line in iter(read_line, b""))
