"""Work in several processes at once, and the words for whoever asked."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

from orchestrator.movers.host_programs.block_delta.leaves import Broken

PR_SET_PDEATHSIG = 1


def processes() -> int:
    return max(1, len(os.sched_getaffinity(0)))


def spread(total: int, deed: Callable[[int, int], Any], watch: Callable[[], None] | None = None) -> list[Any]:
    """Do `deed(number, total)` in as many processes; the answers, or the first trouble of any."""
    children: dict[int, tuple[int, int]] = {}
    for number in range(total):
        ours, theirs = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(ours)
            follow_parent()
            os._exit(report(theirs, deed, number, total))
        os.close(theirs)
        children[ours] = (process, number)
    answers: dict[int, Any] = {}
    trouble: dict[str, str] | None = None
    while children:
        for descriptor in select.select(list(children), [], [], 0.5)[0]:
            process, number = children.pop(descriptor)
            with os.fdopen(descriptor, "rb") as stream:
                said = stream.read()
            os.waitpid(process, 0)
            answer = json.loads(said) if said else {"kind": "killed", "why": "a process was killed on the host"}
            if "kind" in answer and trouble is None:
                trouble = answer
                for other, _ in children.values():
                    os.kill(other, signal.SIGTERM)
            answers[number] = answer.get("answer")
        if watch is not None:
            watch()
    if trouble is not None:
        raise Broken(trouble["kind"], trouble["why"])
    return [answers[number] for number in sorted(answers)]


def report(descriptor: int, deed: Callable[[int, int], Any], number: int, total: int) -> int:
    try:
        answer = {"answer": deed(number, total)}
    except Broken as error:
        answer = {"kind": error.kind, "why": str(error)}
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        answer = {"kind": "full" if full else "target", "why": os.strerror(error.errno or 0)}
    os.write(descriptor, json.dumps(answer).encode())
    return 0


def say(kind: str, value: dict[str, Any]) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


def lead_group() -> None:
    """For a program that we start: it ends with us, and can be ended with all that it starts."""
    follow_parent()
    os.setpgid(0, 0)


def follow_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
