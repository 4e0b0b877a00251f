"""The form in which an event enters the log: CloudEvents 1.0 names, one JSON object, hashed as stored.

    {"data": {…}, "id": "<run>/<seq>", "run": …, "seq": n, "source": "urn:skerry:controller:<host>",
     "specversion": "1.0", "subject": "<system>/<step>/<attempt>", "time": …, "type": "skerry.<noun>.<verb>.v1"}

`seq` counts from 0 without gap within each run; events about the log itself are the run `log`.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from orchestrator.foundation.canonical_json import canonical_json, read_json
from orchestrator.foundation.errors import BrokenLog, EvidenceError

TYPE_PREFIX = "skerry."
TYPE_SUFFIX = ".v1"
LOG_RUN = "log"

_quoted = json.encoder.encode_basestring  # a JSON string, not ASCII alone
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


@dataclass(frozen=True)
class UnnumberedEvent:
    """An event's bytes but for its number, which is given at the moment it is committed."""

    run: str
    type: str
    head: bytes
    middle: bytes
    tail: bytes

    def numbered(self, seq: int) -> bytes:
        number = b"%d" % seq
        return b"".join((self.head, number, self.middle, number, self.tail))


def subject_of(system: str, step: str, attempt: int) -> str:
    """`filing/drain/1`, `filing`, or empty."""
    return f"{system}/{step}/{attempt}" if step else system


def prepare_event(
    *, run: str, kind: str, time: str, source: str, subject: str, data: dict[str, Any]
) -> UnnumberedEvent:
    """Encode all but the number. Raises EvidenceError for what no log could hold."""
    if not _RUN.fullmatch(run):
        raise EvidenceError(f"{run!r} can not name a run in the log")
    if not _TYPE.fullmatch(kind):
        raise EvidenceError(f"{kind!r} can not name a kind of event")
    try:
        body = canonical_json(data)
        about = f',"subject":{_quoted(subject)}' if subject else ""
        tail = (
            f',"source":{_quoted(source)},"specversion":"1.0"{about},"time":{_quoted(time)},"type":"skerry.{kind}.v1"}}'
        )
    except (TypeError, ValueError) as error:
        raise EvidenceError(f"the data of {kind} is not JSON: {error}") from error
    name = run.encode()
    return UnnumberedEvent(
        run=run,
        type=kind,
        head=b'{"data":' + body + b',"id":"' + name + b"/",
        middle=b'","run":"' + name + b'","seq":',
        tail=tail.encode(),
    )


@dataclass(frozen=True)
class LoggedEvent:
    """An event as read back from the log."""

    index: int
    run: str
    seq: int
    type: str  # without prefix and version: step.started
    time: str
    subject: str
    data: dict[str, Any]

    @property
    def system(self) -> str:
        return self.subject.partition("/")[0]

    @property
    def step(self) -> str:
        parts = self.subject.split("/")
        return parts[1] if len(parts) == 3 else ""


def read_event(index: int, entry: bytes) -> LoggedEvent:
    """Decode the entry at `index`; BrokenLog when it is not an event of ours."""
    try:
        value = read_json(entry)
        event = LoggedEvent(
            index=index,
            run=value["run"],
            seq=value["seq"],
            type=value["type"],
            time=value["time"],
            subject=value.get("subject", ""),
            data=value["data"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenLog(f"entry {index} is not an event: {type(error).__name__}: {error}") from None
    texts = (event.run, event.type, event.time, event.subject)
    if (
        not all(isinstance(text, str) for text in texts)
        or type(event.seq) is not int
        or not isinstance(event.data, dict)
    ):
        raise BrokenLog(f"entry {index} is not an event: a member is of the wrong type")
    if value.get("id") != f"{event.run}/{event.seq}":
        raise BrokenLog(f"entry {index}: its id {value.get('id')!r} is not its run and number")
    if not (event.type.startswith(TYPE_PREFIX) and event.type.endswith(TYPE_SUFFIX)):
        raise BrokenLog(f"entry {index} is of an unknown kind: {event.type[:60]!r}")
    kind = event.type[len(TYPE_PREFIX) : -len(TYPE_SUFFIX)]
    return LoggedEvent(index, event.run, event.seq, kind, event.time, event.subject, event.data)
