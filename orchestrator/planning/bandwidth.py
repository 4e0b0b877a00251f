"""Which limit holds at a moment, and until when. Pure; days and hours are those of each window's time zone.

Rules: where windows overlap, the smallest limit holds. On a day on which clocks are put forward, a time that does not
exist is the moment that clocks would show without the change; on a day on which they are put back, a window begins at
the first and ends at the second of two equal times: in doubt the limit holds.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from orchestrator.contracts.bandwidth import Allowance
from orchestrator.model.bandwidth import MINUTES_OF_A_DAY, WEEKDAYS, BandwidthWindow

DAYS_AHEAD = 8  # every window that ever begins or ends, does so within a week
Span = tuple[datetime, datetime, int]  # begin and end in UTC, limit


def allowance_at(windows: Sequence[BandwidthWindow], moment: datetime) -> Allowance:
    """What holds at `moment`."""
    spans = [span for window in windows for span in _spans(window, moment)]
    now = _limit(spans, moment)
    known_until = moment + timedelta(days=DAYS_AHEAD)
    for border in sorted({edge for begin, end, _ in spans for edge in (begin, end) if moment < edge <= known_until}):
        if _limit(spans, border) != now:
            return Allowance(bytes_per_second=now, seconds_left=(border - moment).total_seconds())
    return Allowance(bytes_per_second=now)


def _limit(spans: Sequence[Span], moment: datetime) -> int | None:
    return min((limit for begin, end, limit in spans if begin <= moment < end), default=None)


def _spans(window: BandwidthWindow, moment: datetime) -> Iterator[Span]:
    """The window's occurrences from the one that began yesterday on."""
    zone = ZoneInfo(window.zone)
    today = moment.astimezone(zone).date()
    over_midnight = window.end_minutes < window.begin_minutes
    for ahead in range(-1, DAYS_AHEAD + 2):
        day = datetime.combine(today, time()) + timedelta(days=ahead)
        if WEEKDAYS[day.weekday()] in window.days:
            end_minutes = window.end_minutes + (MINUTES_OF_A_DAY if over_midnight else 0)
            begin = _in_utc(day + timedelta(minutes=window.begin_minutes), zone, fold=0)
            end = _in_utc(day + timedelta(minutes=end_minutes), zone, fold=1)
            if begin < end:
                yield begin, end, window.limit_bytes_per_second


def _in_utc(wall: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    """A time on the wall as a moment. In a gap, the offset from before it counts, whichever fold is asked for."""
    early = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    late = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return max(early, late) if fold or early > late else early
