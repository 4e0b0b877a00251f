"""How far a long deed has come."""

import time
from collections import deque
from collections.abc import Callable

from orchestrator.model.frozen import Frozen

RATE_SECONDS = 20.0  # a rate is that of the last so many: steady, and yet it shows a line that stalls


class Progress(Frozen):
    """A moment of a transfer, for people; never evidence."""

    dataset: str = ""
    text: str = ""
    bytes_done: int = 0
    bytes_total: int = 0  # 0: not known
    bytes_per_second: float = 0.0


ProgressSink = Callable[[Progress], None]


def out_of(total: int, sink: ProgressSink) -> ProgressSink:
    """A sink for the moments of who reads without knowing how much there is: each is passed on with `total`."""
    return lambda moment: sink(moment if moment.bytes_total else moment.model_copy(update={"bytes_total": total}))


class Rated:
    """A sink for the moments of one deed that tell no rate: each is passed on with that of the last seconds.

    What was there before the first moment, as after a copy that is resumed, counts for nothing. None: nobody listens.
    """

    def __init__(self, sink: ProgressSink | None, seconds: Callable[[], float] = time.monotonic) -> None:
        self._sink, self._seconds = sink, seconds
        self._moments: deque[tuple[float, int]] = deque()

    def __call__(self, progress: Progress) -> None:
        if self._sink is None:
            return
        now = self._seconds()
        while len(self._moments) > 1 and now - self._moments[1][0] >= RATE_SECONDS:
            self._moments.popleft()
        self._moments.append((now, progress.bytes_done))
        began, before = self._moments[0]
        rate = max(0, progress.bytes_done - before) / max(0.001, now - began)
        self._sink(progress.model_copy(update={"bytes_per_second": round(rate, 1)}))
