"""Keeps a lock on a host for as long as somebody there is at work on one cluster, whoever sent him.

Joined with answering.py, sent to hosts and run by their own Python (3.9 or newer): standard library only. The kernel
takes the lock back when this program ends, and it ends with the connection of who asked for it.

Usage: python3 - REQUEST, a JSON object {file, seconds}. Says `failed {"why": "busy"}` where the lock is another's; any
question gives it back.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys

from orchestrator.movers.host_programs.answering import say, stay

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Callable
    from typing import Any


def main() -> None:
    request = json.loads(sys.argv[1])
    try:
        descriptor = os.open(request["file"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("failed", {"why": "busy"})
        return
    except OSError as error:
        say("failed", {"why": "%s: %s" % (error.filename, error.strerror)})
        return

    def prepare(_folder: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def give_back(_question: dict[str, Any]) -> dict[str, Any]:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            return {"held": False}

        return give_back

    stay(prepare, lambda _asked: None, request["seconds"])


if __name__ == "__main__":
    main()
