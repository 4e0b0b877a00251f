"""Threads that share work, and one run at a time in a folder."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time

from orchestrator.targets.host_programs.cloud_data.calls import Refused

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Callable, Iterator
    from typing import Any

TELL_EVERY_SECONDS = 1.0


def say(kind: str, value: dict[str, Any]) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


class Crew:
    """Threads that share work; the first trouble of one ends all."""

    def __init__(self, streams: int, total: int) -> None:
        self.streams = streams
        self.total = total
        self.done = 0
        self.lock = threading.Lock()
        self.finished = 0
        self.trouble: list[Exception] = []

    def work(self, items: Iterator[Any], deed: Callable[[Any], int]) -> None:
        """`deed` for each of `items`; it tells how many bytes that was."""
        threads = [threading.Thread(target=self.worker, args=(items, deed), daemon=True) for _ in range(self.streams)]
        wanted = self.finished + self.streams
        for thread in threads:
            thread.start()
        told = time.monotonic()
        for thread in threads:
            while thread.is_alive():
                thread.join(TELL_EVERY_SECONDS / 4)
                if time.monotonic() - told >= TELL_EVERY_SECONDS:
                    told = time.monotonic()
                    say("progress", {"bytes": self.done, "total": self.total})
        if self.trouble:
            raise self.trouble[0]
        if self.finished != wanted:
            raise Refused("Broken", "a thread of the program died", 0)

    def worker(self, items: Iterator[Any], deed: Callable[[Any], int]) -> None:
        while not self.trouble:
            try:
                with self.lock:
                    item = next(items, None)
                    if item is None:
                        self.finished += 1
                        return
                count = deed(item)
                with self.lock:
                    self.done += count
            except (OSError, Refused, ValueError) as error:
                with self.lock:
                    self.trouble.append(error)


def only_one(work: str) -> Any:
    os.makedirs(work, mode=0o700, exist_ok=True)
    lock = open(os.path.join(work, "lock"), "w")  # noqa: SIM115 - held until the end
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused("Busy", "another run is at this image", 0) from None
    return lock
