"""Holds an application still for a moment, and sees to it on the host itself that it is let go in time.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only.

`hold` first leaves a guard behind, a process of its own that no broken connection ends, then runs the command that
holds the application. `let_go` runs the command that lets it go on, and tells whether that was in time by this host's
clock. Where nobody comes to let go, because whoever asked died or the link is cut, the guard does it at the limit.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

POLL_SECONDS = 0.05
TRIES = 5
TRY_AGAIN_SECONDS = 1.0
TOLD_SECONDS = 600.0  # so long what the guard did can be asked for


def say(value: dict[str, Any]) -> None:
    sys.stdout.write("result " + json.dumps(value) + "\n")
    sys.stdout.flush()


def run(words: list[str], seconds: float) -> tuple[int, str]:
    """Exit code and last words; 124 when it did not end in time."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return 124, "did not end within %g s" % seconds
    except OSError as error:
        return 127, "%s: %s" % (words[0], error.strerror)
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return done.returncode, lines[-1] if lines else "exit code %d" % done.returncode


def mark(folder: str, name: str) -> str:
    return os.path.join(folder, name)


def leave_guard(folder: str, words: list[str], deadline: float, seconds: float) -> None:
    """Start the guard: a grandchild in a session of its own, with nothing of ours open."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        os.closerange(3, 256)
        os.chdir("/")
        watch(folder, words, deadline, seconds)
    finally:
        os._exit(0)


def watch(folder: str, words: list[str], deadline: float, seconds: float) -> None:
    while time.monotonic() < deadline:
        if os.path.exists(mark(folder, "let_go")):
            shutil.rmtree(folder, ignore_errors=True)
            return
        time.sleep(POLL_SECONDS)
    for _ in range(TRIES):
        exit_code, _said = run(words, seconds)
        if exit_code == 0:
            break
        time.sleep(TRY_AGAIN_SECONDS)
    told_until = time.monotonic() + TOLD_SECONDS
    while time.monotonic() < told_until and not os.path.exists(mark(folder, "let_go")):
        time.sleep(1.0)
    shutil.rmtree(folder, ignore_errors=True)


def hold(request: dict[str, Any]) -> None:
    """The limit runs from before the application is asked: the guard must never let go later than was promised."""
    seconds = request["seconds"]
    deadline = time.monotonic() + seconds
    folder = tempfile.mkdtemp(prefix="skerry-quiesce-")
    with open(mark(folder, "deadline"), "w", encoding="ascii") as stream:
        stream.write(repr(deadline))
    leave_guard(folder, request["leave"], deadline, seconds)
    exit_code, said = run(request["enter"], seconds)
    if exit_code:
        # It may have begun to hold before it failed.
        run(request["leave"], seconds)
        open(mark(folder, "let_go"), "w").close()
        say({"refused": said, "exit_code": exit_code})
        return
    say({"folder": folder})


def let_go(request: dict[str, Any]) -> None:
    """In time means: when it was asked here, the guard had not begun to let go."""
    folder = request["folder"]
    try:
        with open(mark(folder, "deadline"), encoding="ascii") as stream:
            in_time = time.monotonic() < float(stream.read())
    except FileNotFoundError:
        in_time = False
    exit_code, said = run(request["leave"], request["seconds"])
    if exit_code:
        say({"refused": said, "exit_code": exit_code})
        return
    if os.path.isdir(folder):
        open(mark(folder, "let_go"), "w").close()
    say({"in_time": in_time})


def main() -> None:
    request = json.loads(sys.argv[1])
    if request["do"] == "hold":
        hold(request)
    else:
        let_go(request)


if __name__ == "__main__":
    main()
