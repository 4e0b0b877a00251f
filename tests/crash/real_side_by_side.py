"""Cells of the crash matrix on several labs at once: a process for each."""

import multiprocessing
import queue
import time
from collections.abc import Iterator, Sequence
from multiprocessing.queues import Queue

from tests.crash.matrix_cells import Case
from tests.crash.real_lab import try_on_hosts

LOOK_SECONDS = 1.0


def try_on_labs(
    chosen: Sequence[Case], *, labs: int, seconds_max: float = float("inf")
) -> Iterator[tuple[Case, str, float]]:
    """As real_lab.try_on_hosts; no cell is begun after `seconds_max`."""
    until = time.monotonic() + seconds_max
    if labs == 1:
        yield from try_on_hosts(chosen, until=until)
        return
    fresh = multiprocessing.get_context("spawn")
    answers: Queue[tuple[Case, str, float]] = fresh.Queue()
    processes = [
        fresh.Process(target=_try_a_share, args=(chosen[number::labs], until, answers)) for number in range(labs)
    ]
    for process in processes:
        process.start()
    try:
        while True:
            are_at_work = any(process.is_alive() for process in processes)
            try:
                yield answers.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if not are_at_work:
                    return
    finally:
        for process in processes:
            process.join()


def _try_a_share(chosen: Sequence[Case], until: float, answers: "Queue[tuple[Case, str, float]]") -> None:
    for outcome in try_on_hosts(chosen, until=until):
        answers.put(outcome)
