"""Windows and freezes: local times of a calendar as moments, and what is left of a window at a moment. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestrator.foundation.clock import timestamp
from orchestrator.model.step import Criterion, Gate, Phase, Step
from orchestrator.model.wave import Freeze, Period, WaveTerms

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WINDOW_HOURS_MAX = 7 * 24
FACTS = "window"  # the name under which gates find what is known of the window

_OPEN = Criterion(id="window_is_open", step=FACTS, observed="open", comparison="equal", expected=True)
_SPARE = Criterion(
    id="time_for_the_way_back", step=FACTS, observed="spare_seconds", comparison="at_least", expected=0
)


def zone(name: str) -> tzinfo:
    """The time zone of that name. ValueError where this machine knows none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"no time zone is called {name!r} on this machine (such as Europe/Zurich; package tzdata)"
        ) from error


def period(start: datetime, end: datetime, time_zone: str) -> Period:
    """Local times as moments. ValueError for a time that the zone does not have, or an end that is not after the start.

    Where the clocks are set back a time has two moments: the one that makes the period shorter is taken.
    """
    here = zone(time_zone)
    moments = _moment(start, here, fold=1), _moment(end, here, fold=0)
    if moments[1] <= moments[0]:
        raise ValueError(f"ends at {end:%Y-%m-%d %H:%M}, which is not after its start at {start:%Y-%m-%d %H:%M}")
    if moments[1] - moments[0] > timedelta(hours=WINDOW_HOURS_MAX * 52):
        raise ValueError("is longer than a year")
    return Period(start=timestamp(moments[0]), end=timestamp(moments[1]), time_zone=time_zone)


def _moment(local: datetime, here: tzinfo, *, fold: int) -> datetime:
    moment = local.replace(tzinfo=here, fold=fold).astimezone(UTC)
    if moment.astimezone(here).replace(tzinfo=None, fold=0) != local.replace(fold=0):
        raise ValueError(f"{local:%Y-%m-%d %H:%M} does not exist in that time zone: the clocks are set forward there")
    return moment


def recurring_period(day: date, days: Sequence[str], start: time, end: time, time_zone: str) -> Period:
    """The period of a weekly calendar that begins on `day`; over midnight where `end` is not after `start`.

    ValueError where the calendar has none that day.
    """
    if _weekday(day) not in days:
        week = [day + timedelta(days=number) for number in range(1, 8)]
        later = next(other for other in week if _weekday(other) in days)
        raise ValueError(f"{day} is a {_weekday(day)}, and the calendar opens on {', '.join(days)}; next {later}")
    last = day if end > start else day + timedelta(days=1)
    return period(datetime.combine(day, start), datetime.combine(last, end), time_zone)


def _weekday(day: date) -> str:
    return WEEKDAYS[day.weekday()]


def moment_of(text: str) -> datetime:
    """A period's end as a moment."""
    return datetime.fromisoformat(text)


def overlap(one: Period, other: Period) -> bool:
    return moment_of(one.start) < moment_of(other.end) and moment_of(other.start) < moment_of(one.end)


def length_seconds(one: Period) -> float:
    return (moment_of(one.end) - moment_of(one.start)).total_seconds()


def freeze_at(freezes: Iterable[Freeze], moment: datetime) -> Freeze | None:
    """The freeze that is in force at `moment`."""
    for freeze in freezes:
        if moment_of(freeze.period.start) <= moment < moment_of(freeze.period.end):
            return freeze
    return None


def window_facts(terms: WaveTerms | None, moment: datetime) -> dict[str, Any]:
    """What gates may ask of a wave's window at `moment`; nothing for a wave without one.

    `spare_seconds` is what is left of the window beyond the way back and its reserve: below zero it is too late.
    """
    if terms is None or terms.window is None:
        return {}
    start, end = moment_of(terms.window.start), moment_of(terms.window.end)
    freeze = freeze_at(terms.freezes, moment)
    remaining = (end - moment).total_seconds() if start <= moment < end else 0.0
    return {
        "open": start <= moment < end and freeze is None,
        "remaining_seconds": round(remaining, 3),
        "rollback_seconds": terms.rollback_seconds,
        "reserve_seconds": terms.reserve_seconds,
        "spare_seconds": round(remaining - terms.rollback_seconds - terms.reserve_seconds, 3),
        "freeze": freeze.name if freeze is not None else "",
        "at": timestamp(moment),
    }


def facts_of_terms(terms: WaveTerms | None) -> Callable[[float], Mapping[str, Mapping[str, Any]]]:
    """What is known at a moment (seconds since the epoch) beside what steps observed: see contracts.engine.KnownAt."""

    def known_at(at: float) -> Mapping[str, Mapping[str, Any]]:
        facts = window_facts(terms, datetime.fromtimestamp(at, UTC))
        return {FACTS: facts} if facts else {}

    return known_at


def within_window(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps of a wave that has a window: service is interrupted, and clients are sent elsewhere, only within it,
    and only while there is time for the way back.

    The first step that interrupts has a gate G4 where it had none; every G5 asks for the time as well.
    """
    found: list[Step] = []
    for step in steps:
        gate = step.gate
        if gate is None and step.phase is Phase.QUIESCE and step.inverse.action is not None:
            gate = Gate(id="G4", title="Within the window, with time for the way back")
        if gate is not None and (gate.id == "G5" or step.phase is Phase.QUIESCE):
            held = {criterion.id for criterion in gate.criteria}
            more = tuple(criterion for criterion in (_OPEN, _SPARE) if criterion.id not in held)
            gate = gate.model_copy(update={"criteria": (*gate.criteria, *more)})
        found.append(step if gate is step.gate else step.model_copy(update={"gate": gate}))
    return tuple(found)
