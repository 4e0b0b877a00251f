"""How long evidence is kept, and what is held longer: read out of the log, where every change is an event.

`retention.set` {years, by, because} and, for the whole log, `hold.placed` {hold, by, because} and `hold.lifted` are
events of the log itself; those of one run are events of that run, so that its bundle shows them. Pure.

Rules: ten years unless the log says otherwise; a run keeps the longest time that was promised since it ended, for a
shorter one binds later runs alone; what is held, or has not ended, is never due.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.evidence.envelope import LOG_RUN, LoggedEvent
from orchestrator.evidence.story import as_logged, moment
from orchestrator.foundation.clock import timestamp

YEARS_DEFAULT = 10
YEARS_MAX = 100
SET, PLACED, LIFTED = "retention.set", "hold.placed", "hold.lifted"
KINDS = (SET, PLACED, LIFTED)


@dataclass(frozen=True)
class Hold:
    """A legal hold on one run, or on the whole log (`run` empty), that nobody has lifted."""

    id: str
    run: str
    by: str
    because: str
    since: str


@dataclass(frozen=True)
class YearsSet:
    years: int
    by: str
    since: str


@dataclass
class Retention:
    """What the log promises: `settings` oldest first, and open holds."""

    settings: list[YearsSet] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)

    @property
    def years(self) -> int:
        """For runs that end from now on."""
        return self.settings[-1].years if self.settings else YEARS_DEFAULT

    def years_of(self, ended: str) -> int:
        """For a run that ended then: the longest that was in force since."""
        at = moment(ended)
        then = [each.years for each in self.settings if moment(each.since) <= at]
        later = [each.years for each in self.settings if moment(each.since) > at]
        return max([then[-1] if then else YEARS_DEFAULT, *later])

    def holds_on(self, run: str) -> list[Hold]:
        return [each for each in self.holds if each.run in ("", run)]

    def as_data(self) -> dict[str, Any]:
        return {"years": self.years, "holds": [asdict(each) for each in self.holds]}


@dataclass(frozen=True)
class KeptRun:
    """Until when one run is kept. `due`: nothing asks any more that it be kept."""

    run: str
    ended: str
    kept_until: str
    held_by: tuple[str, ...]
    due: bool
    why: str


def read_retention(events: Iterable[LoggedEvent]) -> Retention:
    """The promises in force after `events`, in order. Lifting what was never placed changes nothing."""
    found = Retention()
    for event in events:
        data = event.data
        match event.type:
            case "retention.set" if event.run == LOG_RUN and _is_years(data.get("years")):
                found.settings.append(YearsSet(data["years"], str(data.get("by", "")), event.time))
            case "hold.placed":
                run = "" if event.run == LOG_RUN else event.run
                words = {name: str(data.get(name, "")) for name in ("by", "because")}
                found.holds.append(Hold(str(data.get("hold", "")), run, since=event.time, **words))
            case "hold.lifted":
                found.holds = [each for each in found.holds if each.id != str(data.get("hold", ""))]
    return found


def _is_years(value: Any) -> bool:
    return type(value) is int and 1 <= value <= YEARS_MAX


def kept_runs(retention: Retention, runs: Sequence[tuple[str, str]], now: datetime) -> list[KeptRun]:
    """What each run (id and time of its end, empty while it goes on) is kept for, and whether it is due."""
    found = []
    for run, ended in runs:
        held = tuple(f"{each.id} by {each.by}: {each.because}" for each in retention.holds_on(run))
        with as_logged():  # a run that ends with the calendar
            until = years_later(moment(ended), retention.years_of(ended)) if ended else None
        why = "held" if held else "not finished" if until is None else "kept" if until > now else ""
        found.append(KeptRun(run, ended, timestamp(until) if until else "", held, not why, why or "its time is over"))
    return found


def years_later(at: datetime, years: int) -> datetime:
    """The same day in so many years; of 29 February, 1 March."""
    try:
        return at.replace(year=at.year + years)
    except ValueError:
        return at.replace(year=at.year + years, month=3, day=1)


def in_words(retention: Retention) -> list[str]:
    """For a verification: what is promised."""
    lines = [f"kept for {retention.years} years after a run's end" + ("" if retention.settings else " (the default)")]
    lines += [
        f"legal hold {each.id} on {each.run or 'the whole log'} since {each.since[:10]} by {each.by}: {each.because}"
        for each in retention.holds
    ]
    return lines
