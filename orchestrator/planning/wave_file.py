"""waves.yml as people write it: parsed, judged key by key, its local times turned into moments. Bytes in, values out.

Whether the waves fit the estate is judged by planning.waves.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date as calendar_date
from datetime import datetime, time
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from orchestrator.foundation.written_file import Finding, Location, WrittenFile, did_you_mean, written_section
from orchestrator.foundation.written_model import judge
from orchestrator.model.frozen import Frozen
from orchestrator.model.names import HostName, Name, Seconds, SystemName
from orchestrator.model.step import Criterion
from orchestrator.model.wave import Freeze, GateName, Period, WaveGate, WaveLimits
from orchestrator.planning.windows import WINDOW_HOURS_MAX, length_seconds, period, recurring_period, zone

SECTION = "waves"
OBSERVERS = ("said", "plan", "window", "drill", "previous", "members", "soak", "scope", "release", "replica")
_ENTRY_GATES = ("G0", "G1", "G2", "G3", "G4")
_EXIT_GATES = ("G6", "G7")
_RETIRE_GATES = ("G8",)
MINUTES_PER_HOUR = 60


def _local_time(value: Any) -> Any:
    """YAML reads a time with seconds as a moment, and one without as text; both are meant as local time."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"must be a local time such as 2026-11-28T22:00, not {value!r}") from None
    if isinstance(value, datetime) and value.tzinfo is not None:
        raise ValueError("must be a local time, without an offset; the offset follows from time_zone")
    if not isinstance(value, datetime):
        raise ValueError(f"must be a local time such as 2026-11-28T22:00, not {value!r}")  # noqa: TRY004 pydantic's way
    return value


def _time_of_day(value: Any) -> Any:
    """`22:00` without quotes is a number to base sixty in YAML 1.1."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * MINUTES_PER_HOUR:
        return time(value // MINUTES_PER_HOUR, value % MINUTES_PER_HOUR)
    if isinstance(value, str):
        try:
            return time.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"must be a time of day such as 22:00, not {value!r}")


LocalTime = Annotated[datetime, BeforeValidator(_local_time)]
TimeOfDay = Annotated[time, BeforeValidator(_time_of_day)]


class WrittenCalendar(Frozen):
    """Times of the week that are usual for a window."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(min_length=1)
    start: TimeOfDay
    end: TimeOfDay
    time_zone: str


class WrittenWindow(Frozen):
    """Either `start` and `end` with their `time_zone`, or a `calendar` and the `date` on which its window begins."""

    start: LocalTime | None = None
    end: LocalTime | None = None
    time_zone: str = ""
    calendar: Name | None = None
    date: calendar_date | None = None


class WrittenFreeze(Frozen):
    name: Name
    start: LocalTime
    end: LocalTime
    time_zone: str
    because: str = Field(min_length=1)
    systems: tuple[SystemName, ...] = ()


class WrittenBound(Frozen):
    """Systems that move together, whatever else is known of them."""

    name: Name
    systems: tuple[SystemName, ...] = Field(min_length=2)
    because: str = Field(min_length=1)


class WrittenSeparable(Frozen):
    """A host of the source whose systems may move apart, though they share it."""

    host: HostName
    because: str = Field(min_length=1)


class WrittenGate(Frozen):
    title: str = ""
    persons_min: int = Field(default=1, ge=1, le=9)
    roles: tuple[Name, ...] = Field(default=("system-owner",), min_length=1)
    valid_for: Seconds = 7 * 86400.0
    criteria: tuple[Criterion, ...] = ()


class WrittenWave(Frozen):
    wave: Name
    outcome: str = ""
    systems: tuple[SystemName, ...] = Field(min_length=1)
    window: WrittenWindow | None = None
    soak: Seconds = 0.0
    rollback: Seconds | None = None
    reserve: Seconds = 0.0
    limits: WaveLimits = WaveLimits()
    entry: tuple[GateName, ...] = ()
    exit: tuple[GateName, ...] = ()
    retire: tuple[GateName, ...] = ()


class WrittenWaves(Frozen):
    """The file, below its key `waves`."""

    calendars: dict[Name, WrittenCalendar] = {}
    freezes: tuple[WrittenFreeze, ...] = ()
    bound: tuple[WrittenBound, ...] = ()
    separable: tuple[WrittenSeparable, ...] = ()
    limits: WaveLimits = WaveLimits()
    gates: dict[GateName, WrittenGate] = {}
    order: tuple[WrittenWave, ...] = Field(min_length=1)


@dataclass(frozen=True)
class WaveFile:
    """A file whose every part is well formed. `windows` holds the waves that have one, by name."""

    written: WrittenFile
    waves: WrittenWaves
    windows: dict[str, Period]
    freezes: tuple[Freeze, ...]
    gates: dict[str, WaveGate]

    def finding(self, location: Location, message: str) -> Finding:
        return self.written.finding((SECTION, *location), message)


def parse_wave_file(content: bytes, name: str, findings: list[Finding]) -> WaveFile | None:
    """The waves in `content`; None, and findings with file and line, where they are not well formed."""
    found = written_section(content, name, SECTION, findings)
    if found is None:
        return None
    written, section = found
    waves = judge(WrittenWaves, section, written, findings, at=(SECTION,))
    if waves is None or findings:
        return None
    file = WaveFile(
        written=written,
        waves=waves,
        windows={},
        freezes=(),
        gates={gate_id: WaveGate(id=gate_id, **_fields(gate)) for gate_id, gate in waves.gates.items()},
    )
    freezes = freezes_of(waves.freezes, written, (SECTION, "freezes"), findings)
    file.windows.update(_windows(file, findings))
    findings.extend(_calendar_problems(file))
    findings.extend(_gate_problems(file))
    return None if findings else WaveFile(written, waves, file.windows, freezes, file.gates)


def _fields(gate: WrittenGate) -> dict[str, Any]:
    return {name: getattr(gate, name) for name in WrittenGate.model_fields}


def freezes_of(
    freezes: Iterable[WrittenFreeze], written: WrittenFile, at: Location, findings: list[Finding]
) -> tuple[Freeze, ...]:
    """Freezes as moments; `at` is where they stand in the file."""
    found: list[Freeze] = []
    for position, freeze in enumerate(freezes):
        try:
            when = period(freeze.start, freeze.end, freeze.time_zone)
        except ValueError as error:
            findings.append(written.finding((*at, position, "start"), f"freeze {freeze.name} {_of(error)}"))
            continue
        found.append(Freeze(name=freeze.name, period=when, because=freeze.because, systems=freeze.systems))
    return tuple(found)


def _windows(file: WaveFile, findings: list[Finding]) -> Iterator[tuple[str, Period]]:
    for position, wave in enumerate(file.waves.order):
        if wave.window is None:
            continue
        at: Location = ("order", position, "window")
        try:
            when = _window(file, wave.window)
        except ValueError as error:
            findings.append(file.finding(at, f"the window of wave {wave.wave} {_of(error)}"))
            continue
        if length_seconds(when) > WINDOW_HOURS_MAX * 3600:
            findings.append(file.finding(at, f"the window of wave {wave.wave} is longer than a week: is it a window?"))
        yield wave.wave, when


def _window(file: WaveFile, window: WrittenWindow) -> Period:
    if window.calendar is not None:
        calendar = file.waves.calendars.get(window.calendar)
        if window.start or window.end or window.time_zone:
            raise ValueError("names a calendar and times of its own; one of both")
        if calendar is None:
            near = did_you_mean(window.calendar, list(file.waves.calendars))
            raise ValueError(f"names the calendar {window.calendar}, which is not there{near}")
        if window.date is None:
            raise ValueError("names a calendar, but not the date on which it begins (date: 2026-11-28)")
        return recurring_period(window.date, calendar.days, calendar.start, calendar.end, calendar.time_zone)
    if window.start is None or window.end is None or not window.time_zone:
        raise ValueError("needs start, end and time_zone, or a calendar and a date")
    return period(window.start, window.end, window.time_zone)


def _of(error: ValueError) -> str:
    text = str(error)
    return text if text.startswith(("ends", "is ", "names", "needs")) else f"cannot be: {text}"


def _calendar_problems(file: WaveFile) -> Iterator[Finding]:
    for name, calendar in file.waves.calendars.items():
        try:
            zone(calendar.time_zone)
        except ValueError as error:
            yield file.finding(("calendars", name, "time_zone"), str(error))


def _gate_problems(file: WaveFile) -> Iterator[Finding]:
    for gate_id, gate in file.gates.items():
        at: Location = ("gates", gate_id)
        if not gate.criteria:
            yield file.finding(at, f"gate {gate_id} has no criteria, so it could never open")
        ids = [criterion.id for criterion in gate.criteria]
        for position, criterion in enumerate(gate.criteria):
            where: Location = (*at, "criteria", position)
            if criterion.step not in OBSERVERS:
                near = did_you_mean(criterion.step, list(OBSERVERS))
                message = f"criterion {criterion.id} asks {criterion.step}, which observes nothing of a wave{near}"
                yield file.finding((*where, "step"), f"{message} (known: {', '.join(OBSERVERS)})")
            if ids.index(criterion.id) != position:
                yield file.finding((*where, "id"), f"criterion {criterion.id} is there twice")
    for position, wave in enumerate(file.waves.order):
        for key, named, allowed in (
            ("entry", wave.entry, _ENTRY_GATES),
            ("exit", wave.exit, _EXIT_GATES),
            ("retire", wave.retire, _RETIRE_GATES),
        ):
            for index, gate_id in enumerate(named):
                where = ("order", position, key, index)
                if gate_id not in allowed:
                    message = f"gate {gate_id} cannot stand at a wave's {key} (there: {', '.join(allowed)})"
                    yield file.finding(where, message)
                elif gate_id not in file.gates:
                    message = f"gate {gate_id} has no criteria below gates, so it could never open"
                    yield file.finding(where, message)
