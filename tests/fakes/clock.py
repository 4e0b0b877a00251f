"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta
from math import ceil


class SetClock:
    """Obeys foundation.clock.Clock; sleeping moves it."""

    def __init__(self, moment: datetime = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)) -> None:
        self._start = self._moment = moment

    def now(self) -> datetime:
        return self._moment

    def monotonic_seconds(self) -> float:
        return (self._moment - self._start).total_seconds()

    def sleep(self, seconds: float) -> None:
        # Never shorter than asked for: a remainder below the clock's resolution would be slept for ever.
        self.pass_time(timedelta(microseconds=ceil(seconds * 1_000_000)))

    def pass_time(self, time: timedelta) -> None:
        self._moment += time
