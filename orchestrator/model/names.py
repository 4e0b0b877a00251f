"""Names of things, and the small value types that everything else is made of."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints, WithJsonSchema

# Names travel into shell words, unit names, DNS labels, SQL identifiers and file names: one small alphabet for all.
_NAME_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
_NAME_LENGTH_MAX = 63  # a DNS label
Name = Annotated[str, StringConstraints(pattern=_NAME_PATTERN, max_length=_NAME_LENGTH_MAX)]
SiteName = Name
HostName = Name
SystemName = Name
DatasetName = Name
StepId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*([_-][a-z0-9]+)*$", max_length=63)]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
PointId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


def is_name(word: str) -> bool:
    """Whether `word` could be a Name."""
    return len(word) <= _NAME_LENGTH_MAX and re.fullmatch(_NAME_PATTERN, word) is not None


def _absolute(value: str) -> str:
    path = PurePosixPath(value)
    if not path.is_absolute():
        raise ValueError(f"must be an absolute path, not {value!r}")
    if ".." in path.parts or str(path) == "/":
        raise ValueError(f"must name a folder below / without '..', not {value!r}")
    if "\0" in value or "\n" in value:
        raise ValueError("must not hold a NUL or a line break")
    return str(path)


AbsolutePath = Annotated[str, AfterValidator(_absolute)]

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|h|d)\s*$")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(value: Any) -> Any:
    """Seconds from `90s`, `15m`, `4h`, `2d`; a number is taken as seconds."""
    if isinstance(value, str):
        match = _DURATION.match(value)
        if not match:
            raise ValueError(f"must be a duration such as 30s, 15m, 4h or 2d, not {value!r}")
        return float(match[1]) * _UNIT_SECONDS[match[2]]
    return value


def _positive(value: float) -> float:
    if value < 0:
        raise ValueError("must not be negative")
    return value


_DURATION_SCHEMA = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _DURATION.pattern}],
    "description": "seconds, or a duration such as 30s, 15m, 4h, 2d",
}
Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    AfterValidator(_positive),
    WithJsonSchema(_DURATION_SCHEMA, mode="validation"),
]

# A reference, never a value: env:NAME, file:PATH, command:WORDS, aws-kms:ARN
SecretReference = Annotated[str, StringConstraints(pattern=r"^(env|file|command|aws-kms):.+$")]
