"""Lets others see the log's newest head: witnesses, time-stamping authorities, a locked bucket in another account.

Rules: nothing here writes to the log, so anchoring needs no lock and may run at any time, from cron or by hand; what
a place answered is verified before it is kept; one place that does not answer does not stop the others.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from orchestrator.contracts.object_lock import ObjectLock
from orchestrator.evidence import merkle
from orchestrator.evidence.note import DASH, Checkpoint, VerifierKey, from_decimal, split_note, to_base64
from orchestrator.evidence.signing.timestamps import timestamp_query, timestamp_time
from orchestrator.evidence.witness import witness_request
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.canonical_json import canonical_json
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import BrokenLog, EvidenceError, OrchestratorError, UsageError
from orchestrator.foundation.printable import printable

HTTP_SECONDS_MAX = 20
ANSWER_BYTES_MAX = 1024 * 1024
RETENTION_YEARS_DEFAULT = 10
_ENROLLED = "enrolled.json"

Post = Callable[[str, bytes, str], tuple[int, bytes]]


@dataclass(frozen=True)
class EnrolledWitness:
    name: str
    url: str
    vkey: str


@dataclass(frozen=True)
class EnrolledAuthority:
    """A time-stamping authority, with the roots (PEM) its answers are verified under."""

    url: str
    roots: str


@dataclass(frozen=True)
class EnrolledBucket:
    bucket: str
    region: str
    endpoint: str = ""
    profile: str = ""
    years: int = RETENTION_YEARS_DEFAULT


@dataclass(frozen=True)
class Enrolment:
    """Where heads of a log are shown."""

    witnesses: tuple[EnrolledWitness, ...] = ()
    authorities: tuple[EnrolledAuthority, ...] = ()
    buckets: tuple[EnrolledBucket, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.witnesses or self.authorities or self.buckets)


@dataclass
class Anchored:
    """What came of showing one head: what is kept, and what failed, in words."""

    size: int
    kept: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def read_enrolment(ledger: Path) -> Enrolment:
    path = ledger / "anchors" / _ENROLLED
    if not path.exists():
        return Enrolment()
    try:
        raw = json.loads(path.read_bytes())
        return Enrolment(
            tuple(EnrolledWitness(**each) for each in raw["witnesses"]),
            tuple(EnrolledAuthority(**each) for each in raw["authorities"]),
            tuple(EnrolledBucket(**each) for each in raw["buckets"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise EvidenceError(f"{path}: not an enrolment: {error}") from error


def write_enrolment(ledger: Path, enrolment: Enrolment) -> None:
    names = [witness.name for witness in enrolment.witnesses]
    if len(set(names)) != len(names):
        raise UsageError(f"two witnesses are called {max(names, key=names.count)}")
    replace_file(ledger / "anchors" / _ENROLLED, canonical_json(asdict(enrolment)) + b"\n")


def post(url: str, body: bytes, kind: str) -> tuple[int, bytes]:
    """POST over HTTP or HTTPS; the status and the body of any answer. EvidenceError when there is none."""
    if not url.startswith(("http://", "https://")):
        raise EvidenceError(f"{url}: not an http or https address")
    request = Request(url, data=body, headers={"Content-Type": kind}, method="POST")  # noqa: S310 - checked above
    try:
        try:
            with urlopen(request, timeout=HTTP_SECONDS_MAX) as answer:  # noqa: S310 - checked above
                return int(answer.status), answer.read(ANSWER_BYTES_MAX)
        except HTTPError as error:
            with error:
                return error.code, error.read(ANSWER_BYTES_MAX)
    except (HTTPException, OSError, ValueError) as error:  # an answer that is not HTTP, or is broken off, among them
        raise EvidenceError(f"{url} does not answer: {type(error).__name__}: {printable(str(error))}") from error


def anchor(
    ledger: Path, enrolment: Enrolment, clock: Clock, *, locks: dict[str, ObjectLock] | None = None, send: Post = post
) -> Anchored:
    """Show the newest head to every enrolled place. `locks` are the opened buckets by name."""
    try:
        note = (ledger / "log" / "checkpoint").read_text(encoding="utf-8")
    except OSError as error:
        raise BrokenLog(f"{ledger}: there is no published log here: {error.strerror}") from error
    text = split_note(note)[0]
    head = Checkpoint.parse(text)
    done = Anchored(head.size)
    folder = ledger / "anchors"
    path = folder / f"{head.size:012d}.note"
    kept = path.read_text(encoding="utf-8") if path.exists() else note
    reader = merkle.TileReader(head.size, lambda name: (ledger / "log" / name).read_bytes())
    for witness in enrolment.witnesses:
        with _going_on(done, f"witness {witness.name}"):
            line = _cosignature(witness, reader, note, folder, send)
            if line not in kept:
                kept += line
            done.kept.append(f"witness {witness.name} cosigned {head.size} entries")
    replace_file(path, kept.encode())
    for authority in enrolment.authorities:
        with _going_on(done, f"timestamp by {authority.url}"):
            token = path.with_suffix(".tsr")
            if not token.exists():
                status, answer = send(authority.url, timestamp_query(text), "application/timestamp-query")
                if status != 200:
                    raise EvidenceError(f"it answers {status}")
                timestamp_time(answer, text, authority.roots)
                replace_file(token, answer)
            time = timestamp_time(token.read_bytes(), text, authority.roots)
            done.kept.append(f"timestamped {timestamp(time)} by {authority.url}")
    for bucket in enrolment.buckets:
        with _going_on(done, f"bucket {bucket.bucket}"):
            done.kept.append(_lock(bucket, (locks or {})[bucket.bucket], head, kept, path, clock))
    return done


@contextmanager
def _going_on(done: Anchored, what: str) -> Iterator[None]:
    """One place that fails is written down, and the others still get their turn."""
    try:
        yield
    except OrchestratorError as error:
        done.failed.append(f"{what}: {error.message}")


def _cosignature(witness: EnrolledWitness, reader: merkle.TileReader, note: str, folder: Path, send: Post) -> str:
    """The witness's line over this head, verified; its own idea of the last head is followed."""
    key = VerifierKey.parse(witness.vkey)
    remembered = folder / f"witness.{witness.name}.size"
    old_size = from_decimal(remembered.read_text().strip()) if remembered.exists() else 0
    for _ in range(3):
        old_size = min(old_size, reader.size)
        body = witness_request(reader, note, old_size)
        status, answer = send(witness.url.rstrip("/") + "/add-checkpoint", body, "text/plain")
        if status != 409:
            break
        old_size = from_decimal(answer.decode(errors="replace").strip())
        if old_size > reader.size:
            raise BrokenLog(
                f"has seen {old_size} entries, this log has {reader.size}",
                hint="This machine was restored from an older copy, or the log was cut. Do not go on with it.",
            )
    if status == 422:
        raise BrokenLog("refuses: this log does not extend what it was shown before")
    if status != 200:
        raise EvidenceError(f"answers {status}: {printable(answer.decode(errors='replace').strip()[:200])}")
    line = _own_line(key, note, answer.decode(errors="replace"))
    replace_file(remembered, f"{reader.size}\n".encode())
    return line


def _own_line(key: VerifierKey, note: str, answer: str) -> str:
    """The witness's signature over the note it was shown. Whatever else it answers would spoil what is kept."""
    text, signatures = split_note(note + answer)
    found = [each for each in signatures if (each.name, each.key_id) == (key.name, key.key_id)]
    if text != split_note(note)[0] or not found:
        raise BrokenLog("answers with something else than its signature over this head")
    key.verify(text, found[0].signature)
    return f"{DASH} {key.name} {to_base64(key.key_id + found[0].signature)}\n"


def _lock(bucket: EnrolledBucket, lock: ObjectLock, head: Checkpoint, note: str, path: Path, clock: Clock) -> str:
    """A second root at one size would be a second object, in plain sight of whoever lists the bucket."""
    until = timestamp(clock.now() + timedelta(days=365 * bucket.years))
    copy = lock.put(f"{head.origin}/{head.size:012d}-{head.root.hex()}", note.encode(), locked_until=until)
    claim: dict[str, Any] = {"bucket": bucket.bucket, **copy.model_dump(mode="json")}
    replace_file(path.with_suffix(".worm.json"), canonical_json(claim))
    return f"locked in {bucket.bucket} until {copy.locked_until[:10]}"
