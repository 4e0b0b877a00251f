"""What sending by btrfs and by ZFS share on hosts: their programs run, a stream from the source into them, the lock."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from orchestrator.movers.host_programs.obeyed import why_open

PIECE_BYTES = 1 << 20
FULL = ("No space left on device", "quota exceeded", "out of space")


class Broken(Exception):
    """Something of the world refuses; kind and words go to whoever asked."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def say(kind: str, value: dict[str, Any]) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


def run_tool(*words: str) -> str:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env=dict(os.environ, LC_ALL="C"),
        )
    except FileNotFoundError:
        raise Broken("cannot", f"{words[0]} is not installed there") from None
    if done.returncode:
        raise Broken(*judged("target", done.stderr, words[0]))
    return done.stdout.decode("utf-8", "replace")


def judged(kind: str, said: bytes, program: str) -> tuple[str, str]:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    full = any(word in line.lower() for line in lines for word in map(str.lower, FULL))
    return "full" if full else kind, lines[-1].removeprefix("ERROR: ") if lines else f"{program} ended without a word"


def lock(folder: str) -> int:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Broken("busy", "another run copies to it") from None
    return descriptor


def refuse_open(request: dict[str, Any]) -> None:
    """Once the lock is held: what the system may serve from is not written over."""
    if why := why_open(request["order"]):
        raise Broken("open", why)


def stream(request: dict[str, Any], words: Sequence[str]) -> int:
    """What the source sends, into a program that receives it; the bytes that came."""
    source = subprocess.Popen(
        request["words"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lead_group,
    )
    sink = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ, LC_ALL="C"),
        preexec_fn=follow_parent,
    )
    if source.stdout is None or source.stderr is None or sink.stdin is None or sink.stderr is None:
        raise Broken("link", "programs were started without pipes")
    count = 0
    pace = Pace(request)
    try:
        while True:
            piece = os.read(source.stdout.fileno(), pace.piece_bytes())
            if not piece:
                break
            count += len(piece)
            sink.stdin.write(piece)
            if pace.is_over(count):
                os.killpg(source.pid, signal.SIGKILL)
                break
        sink.stdin.close()
    except BrokenPipeError:
        os.killpg(source.pid, signal.SIGKILL)  # what receives has ended, and says why below
    said, refused = source.stderr.read(), sink.stderr.read()
    codes = source.wait(), sink.wait()
    if pace.over:
        raise Broken("stopped", "another limit holds now")
    raise_for(codes, said, refused, words[0])
    return count


def raise_for(codes: tuple[int, int], said: bytes, refused: bytes, receiver: str) -> None:
    """Whose trouble it was, by the exit codes of both ends of a stream and what they complained of."""
    if codes[1] and judged("target", refused, receiver)[0] == "full":
        raise Broken(*judged("target", refused, receiver))
    if codes[0] > 0:
        kind = "link" if codes[0] == 255 else "source"
        raise Broken(kind, said.decode("utf-8", "replace").strip().splitlines()[-1] if said.strip() else "ssh ended")
    if codes[1]:
        raise Broken(*judged("target", refused, receiver))
    if codes[0]:
        raise Broken("link", "the other side ended")


class Pace:
    """Keeps a stream below its limit and tells how far it is; over when its time is.

    The limit is that of the request, or stands in a file that it names, where it may change at any moment.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self.rate = float(request.get("bytes_per_second") or 0)
        self.file = request.get("limit_file")
        self.count = 0
        self.next_look = self.free_at = began = time.monotonic()
        self.next_word = began + 0.5
        seconds = request.get("stop_after_seconds")
        self.until = began + seconds if seconds is not None else None
        self.over = False

    def piece_bytes(self) -> int:
        """Short enough that no piece is waited for long."""
        now = time.monotonic()
        if self.file and now >= self.next_look:
            self.next_look = now + 0.2
            try:
                with open(self.file) as stream:
                    self.rate = float(stream.read())
            except (OSError, ValueError):
                pass  # what it said last holds
        return max(1024, min(PIECE_BYTES, int(self.rate / 8))) if self.rate else PIECE_BYTES

    def is_over(self, count: int) -> bool:
        now = time.monotonic()
        self.free_at = max(now, self.free_at) + (count - self.count) / self.rate if self.rate else now
        self.count = count
        time.sleep(max(0.0, self.free_at - now))
        if now >= self.next_word:
            self.next_word = now + 0.5
            say("progress", {"bytes": count})
        self.over = self.until is not None and time.monotonic() >= self.until
        return self.over


def lead_group() -> None:
    """It ends with us, and can be ended with all that it starts."""
    follow_parent()
    os.setpgid(0, 0)


def follow_parent() -> None:
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
