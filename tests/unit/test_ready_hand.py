"""The process that runs commands on a host for a caller that waits: here on this machine, without a connection."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.contracts.programs import PYTHON_WORDS, TELL_WORDS
from orchestrator.hosts.host_programs.ready_hand import Hand
from orchestrator.hosts.process_pump import Pumped
from orchestrator.hosts.ready_hands import IDLE_SECONDS_MAX, WORDS, HandGone, ReadyHand

SECONDS_MAX = 30.0


@pytest.fixture
def hand() -> Iterator[ReadyHand]:
    opened = ReadyHand([sys.executable, *WORDS[1:]])
    yield opened
    opened.close()


def asked(hand: ReadyHand, *words: str, stdin: bytes = b"", seconds: float = SECONDS_MAX) -> Pumped:
    return hand.run(words, stdin=stdin, timeout_seconds=seconds, environment=None)


def program(hand: ReadyHand, text: str, request: str = "{}", *, seconds: float = SECONDS_MAX) -> Pumped:
    return asked(hand, *PYTHON_WORDS, request, stdin=text.encode(), seconds=seconds)


def await_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_there(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_program_runs_as_python_would_run_it(hand: ReadyHand) -> None:
    text = (
        "from __future__ import annotations\nimport atexit, sys, dataclasses\n"
        "@dataclasses.dataclass\nclass One:\n    number: int\n"
        "atexit.register(lambda: print('at its end'))\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv, One(3), repr(sys.stdin.read()), sys.flags.isolated)\n"
        "    print('complaint', file=sys.stderr)\n    sys.exit(3)\n"
    )
    ended = program(hand, text, '{"a": 1}')
    assert ended.stdout.decode() == "['-', '{\"a\": 1}'] One(number=3) '' 1\nat its end\n"
    assert (ended.stderr, ended.exit_code) == (b"complaint\n", 3)


def test_what_one_program_leaves_behind_the_next_does_not_see(hand: ReadyHand) -> None:
    first = "import os, sys\nos.environ['LEFT'] = 'x'\nos.chdir('/tmp')\nsys.modules['left'] = 1\nmark = 1\n"
    assert program(hand, first).exit_code == 0
    second = (
        "import os, sys\nopened = sorted(os.listdir('/proc/self/fd'), key=int)\n"
        "print(os.environ.get('LEFT'), os.getcwd(), 'left' in sys.modules, 'mark' in globals(), opened)\n"
    )
    # The fourth descriptor is that of the folder which is listed.
    assert program(hand, second).stdout.decode() == "None / False False ['0', '1', '2', '3']\n"


def test_a_program_that_breaks_says_so_and_the_next_runs(hand: ReadyHand) -> None:
    ended = program(hand, "raise ValueError('broken')")
    assert ended.exit_code == 1
    assert ended.stderr.decode().splitlines()[-1] == "ValueError: broken"
    assert program(hand, "raise SystemExit('no')").stderr == b"no\n"
    assert program(hand, "print('on')").stdout == b"on\n"


def test_commands_get_their_words_input_and_environment(hand: ReadyHand) -> None:
    content = bytes(range(256)) * 512
    assert asked(hand, "cat", stdin=content).stdout == content
    assert asked(hand, "printf", "[%s]", "a b", "$HOME").stdout == b"[a b][$HOME]"
    given = hand.run(["printenv", "LAW"], stdin=b"", timeout_seconds=SECONDS_MAX, environment={"LAW": "a;b"})
    assert given.stdout == b"a;b\n"
    assert asked(hand, "no-such-program").exit_code == 127
    assert asked(hand, "printf", "x" * 200_000).exit_code == 126  # longer than a word may be: it is refused, not fatal
    assert asked(hand, "sh", "-c", "kill -9 $$").exit_code == 137


def test_a_program_that_is_no_python_is_no_end_of_the_hand(hand: ReadyHand) -> None:
    assert b"SyntaxError" in program(hand, "this is no program").stderr
    assert program(hand, "print('on')").stdout == b"on\n"


def test_commands_run_beside_each_other(hand: ReadyHand) -> None:
    answers: dict[int, bytes] = {}

    def ask(number: int) -> None:
        answers[number] = program(hand, f"import time\ntime.sleep(0.2)\nprint({number})").stdout

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"{number}\n".encode() for number in range(12)}
    assert time.monotonic() - began < 12 * 0.2


@pytest.mark.parametrize("kind", ["program", "command"])
def test_what_outlives_its_time_is_ended_with_its_group(hand: ReadyHand, kind: str) -> None:
    if kind == "program":
        text = (
            "import subprocess, sys, time\nchild = subprocess.Popen(['sleep', '60'])\n"
            "print(child.pid, flush=True)\ntime.sleep(60)\n"
        )
        ended = program(hand, text, seconds=0.5)
    else:
        ended = asked(hand, "sh", "-c", "sleep 60 & echo $!; wait", seconds=0.5)
    assert ended.exit_code == 124
    assert ended.seconds >= 0.5
    await_true(lambda: not is_there(int(ended.stdout)))


def test_what_is_left_in_the_group_of_a_command_ends_with_it(hand: ReadyHand) -> None:
    ended = asked(hand, "sh", "-c", "sleep 60 & echo $!")
    assert ended.exit_code == 0
    await_true(lambda: not is_there(int(ended.stdout)))


def test_all_that_runs_ends_with_the_caller(tmp_path: Path) -> None:
    ends_with_its_caller(tmp_path / "pid", "sleep 60")


def ends_with_its_caller(marker: Path, text: str) -> None:
    """A shell that runs `text` is there until the hand is closed, and not after."""
    hand = ReadyHand([sys.executable, *WORDS[1:]])
    caught: list[BaseException] = []

    def run() -> None:
        try:
            asked(hand, "sh", "-c", f"echo $$ > {marker}; {text}")
        except HandGone as gone:
            caught.append(gone)

    thread = threading.Thread(target=run)
    thread.start()
    await_true(lambda: marker.exists() and marker.stat().st_size > 0)
    pid = int(marker.read_text())
    hand.close()
    thread.join(SECONDS_MAX)
    assert [getattr(error, "may_have_run", None) for error in caught] == [True]
    await_true(lambda: not is_there(pid))


def test_a_hand_that_is_gone_is_asked_nothing(hand: ReadyHand) -> None:
    assert program(hand, "pass").exit_code == 0
    hand.close()
    assert not hand.alive
    with pytest.raises(HandGone) as caught:
        asked(hand, "true")
    assert not caught.value.may_have_run


def test_where_there_is_no_python_no_hand_stands_ready() -> None:
    with pytest.raises(OSError, match="no hand"):
        ReadyHand(["sh", "-c", "exit 127"])


def test_a_hand_in_use_stands_and_one_that_nobody_asked_for_long_is_not_asked_again(hand: ReadyHand) -> None:
    thread = threading.Thread(target=lambda: asked(hand, "sleep", "1"))
    thread.start()
    await_true(lambda: bool(hand._waiting))
    hand._asked_at -= IDLE_SECONDS_MAX + 1
    assert hand.alive, "closing it would end what it runs"
    thread.join(SECONDS_MAX)
    assert not hand.alive


def test_what_is_told_is_written_where_a_shell_would_write_it(hand: ReadyHand, tmp_path: Path) -> None:
    way = tmp_path / "a way"
    long = b"x" * 200_000  # more than a pipe holds
    for text in (b"one\n", long, b""):
        ended = asked(hand, *TELL_WORDS, str(way), stdin=text)
        assert (ended.exit_code, ended.stdout, ended.stderr, way.read_bytes()) == (0, b"", b"", text)
    missing = asked(hand, *TELL_WORDS, str(tmp_path / "none" / "way"), stdin=b"x")
    assert missing.exit_code == 2
    assert missing.stderr == f"{tmp_path}/none/way: No such file or directory\n".encode()


def test_what_is_told_where_nobody_reads_ends_with_its_time_and_delays_none(hand: ReadyHand, tmp_path: Path) -> None:
    way = tmp_path / "way"
    os.mkfifo(way)
    ended: list[Pumped] = []
    words = (*TELL_WORDS, str(way))
    waiting = threading.Thread(target=lambda: ended.append(asked(hand, *words, stdin=b"x", seconds=1.0)))
    waiting.start()
    assert program(hand, "print('on')").stdout == b"on\n"
    waiting.join()
    assert ended[0].exit_code == 124


def test_what_somebody_reads_is_told_at_once_until_there_is_no_room(hand: ReadyHand, tmp_path: Path) -> None:
    way = tmp_path / "way"
    os.mkfifo(way)
    reader = os.open(way, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for text in (b"one\n", b"x" * 4096):
            ended = asked(hand, *TELL_WORDS, str(way), stdin=text)
            assert (ended.exit_code, ended.stdout, ended.stderr) == (0, b"", b"")
            assert ended.seconds == 0.0, "no process was begun for it"
            assert os.read(reader, 65536) == text
        room = 65536
        while room and asked(hand, *TELL_WORDS, str(way), stdin=b"x" * 4096, seconds=0.5).exit_code == 0:
            room -= 4096
        assert room == 0
        assert asked(hand, *TELL_WORDS, str(way), stdin=b"late", seconds=0.5).exit_code == 124
        heard = b""
        while piece := os.read(reader, 65536):
            heard += piece
        assert heard == b"x" * 65536
    finally:
        os.close(reader)


def test_a_program_that_was_learned_is_known_before_it_is_run(hand: ReadyHand) -> None:
    host = Hand()
    for text in (b"print('on')", b"this is no program"):
        assert host.begin({"kind": "learn"}, text) is None
    assert list(host.texts) == [b"print('on')"]
    hand.learn(b"this is no program")
    hand.learn(b"print('on')")
    assert program(hand, "print('on')").stdout == b"on\n"


@pytest.mark.parametrize(
    ("text", "code", "out", "err"),
    [
        ("import sys\nsys.exit(-1)", 255, b"", b""),
        ("import sys\nsys.exit(None)", 0, b"", b""),
        ("import sys\nsys.exit(['no'])", 1, b"", b"['no']\n"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", 143, b"", b""),
        (
            (
                "import threading, time\n"
                "threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()\nprint('soon')"
            ),
            0,
            b"soon\nlate\n",
            b"",
        ),
        (
            "class Last:\n    def __del__(self):\n        print('gone')\nlast = Last()\nlast.self = last\n",
            0,
            b"gone\n",
            b"",
        ),
    ],
)
def test_a_program_ends_as_python_would_end_it(hand: ReadyHand, text: str, code: int, out: bytes, err: bytes) -> None:
    ended = program(hand, text)
    assert (ended.exit_code, ended.stdout, ended.stderr) == (code, out, err)
    alone = subprocess.run([sys.executable, *PYTHON_WORDS[1:]], input=text.encode(), capture_output=True, check=False)
    signalled = 128 - alone.returncode if alone.returncode < 0 else alone.returncode
    assert (signalled, alone.stdout, alone.stderr) == (code, out, err)


def test_what_a_program_left_open_is_written(hand: ReadyHand, tmp_path: Path) -> None:
    text = f"left = open({str(tmp_path / 'left')!r}, 'w')\nleft.write('all of it')\n"
    assert program(hand, text).exit_code == 0
    assert (tmp_path / "left").read_text() == "all of it"
