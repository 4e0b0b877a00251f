"""When transfers may take how much of the links: windows of the week, each with its limit and its time zone."""

import re
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from orchestrator.model.frozen import Frozen

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_OF_A_DAY = 24 * 60
LIMIT_BYTES_PER_SECOND_MIN = 1024  # what rsync can be told

_TIME = re.compile(r"(\d\d?):(\d\d)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)/s")
_RATE_UNITS = {
    "B": 1.0, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3, "kB": 1e3, "MB": 1e6, "GB": 1e9,
    "kbit": 1e3 / 8, "Mbit": 1e6 / 8, "Gbit": 1e9 / 8,
}  # fmt: skip


def _days(value: Any) -> Any:
    """`mon-fri`, `sat`, or a list of such words; a range may go over the end of the week."""
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not words:
        raise ValueError(f"must be days such as mon-fri or [sat, sun], not {value!r}")
    days: list[str] = []
    for word in words:
        first, dash, last = str(word).partition("-")
        if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
            raise ValueError(f"must be days ({', '.join(WEEKDAYS)}) or a range such as mon-fri, not {word!r}")
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last if dash else first)
        days += [WEEKDAYS[(begin + step) % 7] for step in range((end - begin) % 7 + 1)]
    return tuple(day for day in WEEKDAYS if day in days)


def _minutes(value: Any) -> Any:
    """Minutes since midnight from `08:00`; unquoted, YAML itself makes 1320 of 22:00, which means the same."""
    if isinstance(value, str):
        match = _TIME.fullmatch(value.strip())
        if not match or int(match[2]) > 59:
            raise ValueError(f"must be a time of day such as 08:00, not {value!r}")
        return int(match[1]) * 60 + int(match[2])
    return value


def _rate(value: Any) -> Any:
    """Bytes per second from `20 MiB/s` or `200 Mbit/s`; a number is taken as bytes per second."""
    if isinstance(value, str):
        match = _RATE.fullmatch(value.strip())
        if not match or match[2] not in _RATE_UNITS:
            raise ValueError(f"must be a rate such as 20 MiB/s or 200 Mbit/s, not {value!r}")
        return int(float(match[1]) * _RATE_UNITS[match[2]])
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"no time zone is called {value!r}; names are those of the IANA, as Europe/Berlin") from None
    return value


Minutes = Annotated[int, BeforeValidator(_minutes), Field(ge=0, le=MINUTES_OF_A_DAY)]


class BandwidthWindow(Frozen):
    """From one time of day to another, on some days of the week, by the clocks of a time zone.

    A window that ends before it begins goes over midnight, and belongs to the day on which it begins. `limit` is for
    all transfers of this estate together. Where windows overlap, the smallest limit holds; outside of all, none does.
    """

    model_config = ConfigDict(populate_by_name=True)

    days: Annotated[tuple[Weekday, ...], BeforeValidator(_days)] = WEEKDAYS
    begin_minutes: Minutes = Field(alias="from")
    end_minutes: Minutes = Field(alias="to")
    limit_bytes_per_second: Annotated[int, BeforeValidator(_rate), Field(ge=LIMIT_BYTES_PER_SECOND_MIN)] = Field(
        alias="limit"
    )
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"

    @model_validator(mode="after")
    def _lasts(self) -> "BandwidthWindow":
        if self.begin_minutes == self.end_minutes:
            raise ValueError("from and to are the same time; for a whole day write from 00:00 to 24:00")
        return self
