"""Runs one command on its host, unless the host obeyed a newer order than the one by which it was sent.

Joined with obeyed.py, sent to hosts and run by their own Python (3.9 or newer): standard library only, and little of
it, for clients wait. It runs as whoever may run the command; what the host obeyed is for everybody to read.

Usage: python3 - REQUEST, a JSON object {folder, system, number, ticket, words, input}:
  folder          where playbooks/files/fence.py keeps what the host obeyed
  number, ticket  the order; higher ones are newer, the number first
  words, input    the command and what it reads; neither may be secret
Says `result {…}`, one of
  {newest: [number, ticket]}                a newer order was obeyed before: the command was not run
  {code, said, complained, seconds}         how the command ended, and both its streams
It looks and runs the command under the lock under which hosts are fenced and unfenced: no other order comes in between.
It leaves no mark of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time

from orchestrator.movers.host_programs.obeyed import as_order, newest_of

MYPY = False  # true for the type checker alone
if MYPY:
    from typing import Any


def main() -> None:
    asked = json.loads(sys.argv[1])
    alone = lock(asked)
    newest = newest_of(asked)
    if newest > as_order(asked):
        answer: dict[str, Any] = {"newest": newest}
    else:
        answer = ended(asked["words"], asked["input"].encode())
    if alone is not None:
        os.close(alone)
    sys.stdout.write("result " + json.dumps(answer) + "\n")


def lock(asked: dict[str, Any]) -> int | None:
    """Held until the descriptor is closed. None where nobody has ever fenced the system on this host."""
    try:
        descriptor = os.open(asked["folder"] + "/" + asked["system"] + ".lock", os.O_RDONLY)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise SystemExit("what this host obeyed cannot be read: %s" % error) from None
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def ended(words: list[str], given: bytes) -> dict[str, Any]:
    began = time.monotonic()
    streams = [os.memfd_create(name) for name in ("input", "said", "complained")]
    os.write(streams[0], given)
    os.lseek(streams[0], 0, os.SEEK_SET)
    actions = [(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams)]
    environment = dict(os.environ, LC_ALL="C.UTF-8")
    try:  # Python ignores broken pipes; what it starts should not
        process = os.posix_spawnp(words[0], words, environment, file_actions=actions, setsigdef=[signal.SIGPIPE])
    except FileNotFoundError:
        raise SystemExit(words[0] + ": not found") from None
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    said, complained = (text_of(stream) for stream in streams[1:])
    return {"code": code, "said": said, "complained": complained, "seconds": round(time.monotonic() - began, 3)}


def text_of(stream: int) -> str:
    os.lseek(stream, 0, os.SEEK_SET)
    with os.fdopen(stream, "rb") as opened:
        return opened.read().decode(errors="replace")


if __name__ == "__main__":
    main()
