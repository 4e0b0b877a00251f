"""When drills are due: lines of cron as moments, and what is to be done about each at a moment. Pure."""

import hashlib
from collections.abc import Container, Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from croniter import CroniterBadCronError, CroniterBadDateError, croniter

from orchestrator.foundation.clock import timestamp
from orchestrator.model.drill import Fire, ScheduledDrill
from orchestrator.model.wave import Freeze
from orchestrator.planning.windows import freeze_at, zone

FIELDS_OF_CRON = 5
# Clocks are set back by no more, so a search that begins so much earlier misses no time.
SET_BACK_MAX = timedelta(hours=3)
# Whoever was away for longer is told of this many times that were missed, and no more.
MISSED_TOLD_MAX = 100


def cron_problem(line: str) -> str | None:
    """What is wrong with a line of cron, or None."""
    if len(line.split()) != FIELDS_OF_CRON:
        return f"{line!r} must have five fields: minute, hour, day of month, month, day of week"
    try:
        next(_local_times(line, datetime(2026, 1, 1)))  # noqa: DTZ001 local times of no zone
    except StopIteration:
        return f"{line!r} names a day that never comes"
    except CroniterBadCronError as error:
        return f"{line!r} is no line of cron: {error}"
    return None


def _local_times(line: str, after: datetime) -> Iterator[datetime]:
    """Times of the calendar, of no zone, each once and rising."""
    times = croniter(line, after, max_years_between_matches=8)  # 29 February comes every eight years at worst
    while True:
        try:
            yield times.get_next(datetime)
        except CroniterBadDateError:
            return


def due_moments(drill: ScheduledDrill, after: datetime) -> Iterator[datetime]:
    """The moments after `after` at which the drill is due, in UTC, each once and rising; without end."""
    here = zone(drill.time_zone)
    last = after
    for local in _local_times(drill.cron, _local(after, here) - SET_BACK_MAX):
        moment = _moment(local, here)
        if moment > last:
            last = moment
            yield moment


def _local(moment: datetime, here: tzinfo) -> datetime:
    return moment.astimezone(here).replace(tzinfo=None, fold=0)


def _moment(local: datetime, here: tzinfo) -> datetime:
    """The moment of a local time: the first of two; where the clocks skip it, the moment at which they are set."""
    moment = local.replace(tzinfo=here, fold=0).astimezone(UTC)
    if _local(moment, here) == local:
        return moment
    # `moment` reads the skipped time by the offset before the change, the other by the one after: the gap lies between.
    early, late = local.replace(tzinfo=here, fold=1).astimezone(UTC), moment
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) / 2
        changed = middle.astimezone(here).utcoffset() == late.astimezone(here).utcoffset()
        early, late = (early, middle) if changed else (middle, late)
    return late.replace(microsecond=0)


def start_of(drill: ScheduledDrill, due: datetime) -> datetime:
    """`due` with its jitter: spread over drills and times, and the same on every machine that asks."""
    if drill.jitter_seconds < 1:
        return due
    drawn = hashlib.sha256(f"{drill.name}@{timestamp(due)}".encode()).digest()
    return due + timedelta(seconds=int.from_bytes(drawn[:8]) % int(drill.jitter_seconds + 1))


def next_fires(
    drill: ScheduledDrill, after: datetime, blackouts: Iterable[Freeze], *, count: int = 1
) -> list[Fire]:
    """The next times of the drill; those in a blackout are among them, and say so."""
    kept = tuple(blackouts)
    found: list[Fire] = []
    for due in due_moments(drill, after):
        if len(found) == count:
            break
        fire = _fire(drill, due, kept)
        found.append(fire.model_copy(update={"state": "coming"}) if fire.state == "due" else fire)
    return found


def _fire(drill: ScheduledDrill, due: datetime, blackouts: tuple[Freeze, ...]) -> Fire:
    start = start_of(drill, due)
    concerns = [each for each in blackouts if not each.systems or set(each.systems) & set(drill.systems)]
    freeze = freeze_at(concerns, start)
    fire = Fire(drill=drill.name, due=timestamp(due), start=timestamp(start), state="due")
    if freeze is None:
        return fire
    return fire.model_copy(update={"state": "blacked_out", "because": f"{freeze.name}: {freeze.because}"})


def fires_until(
    drill: ScheduledDrill, *, since: datetime, now: datetime, known: Container[str], blackouts: Iterable[Freeze]
) -> list[Fire]:
    """Every time after `since` that has come by `now` and is not `known` by its id, with what is to be made of it.

    At most one of them is `due`: the newest that is not too late. Older ones are missed. A clock that was set back
    brings no time up again, for it is known; one that was set forward makes times missed, not doubled.
    """
    kept = tuple(blackouts)
    found: list[Fire] = []
    for due in due_moments(drill, _told_since(drill, since, now)):
        if due > now:
            break
        if start_of(drill, due) <= now:
            found = [*found[-MISSED_TOLD_MAX:], _fire(drill, due, kept)]
    newest = next((fire for fire in reversed(found) if fire.state == "due"), None)
    return [_judged(drill, fire, newest, now) for fire in found if fire.id not in known]


def _told_since(drill: ScheduledDrill, since: datetime, now: datetime) -> datetime:
    """`since`, or a later moment where at `now` nobody is told of what lies before: however old the drill is."""
    here = zone(drill.time_zone)
    surely = now - timedelta(seconds=drill.jitter_seconds)
    times = croniter(drill.cron, _local(surely, here), max_years_between_matches=8)
    first = _local(since, here) - SET_BACK_MAX
    local = first
    for _ in range(2 * MISSED_TOLD_MAX):  # several may be one moment: the clocks skip them
        try:
            local = times.get_prev(datetime)
        except CroniterBadDateError:
            return since
        if local <= first:
            return since
    return max(since, _moment(local, here))


def _judged(drill: ScheduledDrill, fire: Fire, newest: Fire | None, now: datetime) -> Fire:
    if fire.state != "due":
        return fire
    if newest is not None and fire.id != newest.id:
        return missed(fire, f"the one of {newest.due} makes up for it")
    return late(drill, fire, now)


def late(drill: ScheduledDrill, fire: Fire, now: datetime) -> Fire:
    """The fire as it is, or missed because it may not begin any more at `now`."""
    over = (now - datetime.fromisoformat(fire.start)).total_seconds()
    if over > drill.late_seconds:
        return missed(fire, f"nobody could begin it within {drill.late_seconds:g} s of {fire.start}")
    if drill.missed == "report" and over > ON_TIME_SECONDS and not fire.because:
        return missed(fire, f"nobody was there at {fire.start}, and times that were missed are not made up for")
    return fire


# Whoever looks every minute, or is started by a timer, is on time.
ON_TIME_SECONDS = 120.0


def missed(fire: Fire, because: str) -> Fire:
    return fire.model_copy(update={"state": "missed", "because": because})
