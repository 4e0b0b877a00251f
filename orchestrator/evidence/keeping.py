"""Changes to how long evidence is kept: put on record first, then carried to the locked copies.

Rules: skerry itself removes no evidence, due or not; locks of copies are only ever lengthened; a copy is let go of by
the last hold alone.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.contracts.object_lock import ObjectLock
from orchestrator.evidence.anchoring import EnrolledBucket, read_enrolment, write_enrolment
from orchestrator.evidence.disclosure import disclosure_digest, logged_digests
from orchestrator.evidence.elsewhere import OpenLock
from orchestrator.evidence.envelope import LOG_RUN, read_event
from orchestrator.evidence.export import collect, verified_events
from orchestrator.evidence.recorder import reopen_recorder
from orchestrator.evidence.retention import LIFTED, PLACED, SET, YEARS_MAX, Retention, read_retention, years_later
from orchestrator.evidence.story import moment
from orchestrator.evidence.verify_log import own_keys
from orchestrator.evidence.withheld import OF_ARTIFACTS, Withheld
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import OrchestratorError, UsageError
from orchestrator.model.event import RunEvent


@dataclass
class Change:
    """What came of a change: the log's index, and the locked copies that follow it, or could not be reached."""

    index: int
    hold: str = ""
    copies: int = 0
    failed: list[str] = field(default_factory=list)


def set_retention(ledger: Path, years: int, *, by: str, because: str, clock: Clock, open_lock: OpenLock) -> Change:
    """From now on keep runs for `years`; copies that are locked for less are locked for longer, never for less."""
    if not 1 <= years <= YEARS_MAX:
        raise UsageError(f"evidence is kept for 1 to {YEARS_MAX} years, not {years}")
    index = _record(ledger, LOG_RUN, SET, {"years": years, "by": by, "because": because}, clock, open_lock)
    enrolment = read_enrolment(ledger)
    if enrolment.buckets:
        buckets = tuple(replace(each, years=years) for each in enrolment.buckets)
        write_enrolment(ledger, replace(enrolment, buckets=buckets))

    def lengthen(lock: ObjectLock, key: str, version: str) -> None:
        copy = lock.look(key, version)
        lock.extend(key, version, locked_until=timestamp(years_later(moment(copy.stored_at), years)))

    return _carry_on(ledger, Change(index), lengthen, open_lock)


def place_hold(ledger: Path, run: str, *, by: str, because: str, clock: Clock, open_lock: OpenLock) -> Change:
    """Hold one run, or the whole log where `run` is empty."""
    events, _ = verified_events(ledger)
    if run and run not in {event.run for event in events}:
        raise UsageError(f"the log has no run {run}", hint="See them with: skerry evidence population")
    hold = f"hold-{secrets.token_hex(4)}"
    index = _record(ledger, run or LOG_RUN, PLACED, {"hold": hold, "by": by, "because": because}, clock, open_lock)
    change = Change(index, hold)
    return _carry_on(ledger, change, lambda lock, key, version: lock.hold(key, version, on=True), open_lock)


def lift_hold(ledger: Path, hold: str, *, by: str, because: str, clock: Clock, open_lock: OpenLock) -> Change:
    """Lift one hold; the copies are let go of when no other hold is left."""
    before = retention_of(ledger)
    placed = next((each for each in before.holds if each.id == hold), None)
    if placed is None:
        raise UsageError(f"there is no open hold {hold}", hint="See them with: skerry evidence retention show")
    data = {"hold": hold, "by": by, "because": because}
    index = _record(ledger, placed.run or LOG_RUN, LIFTED, data, clock, open_lock)
    change = Change(index, hold)
    if len(before.holds) > 1:
        return change
    return _carry_on(ledger, change, lambda lock, key, version: lock.hold(key, version, on=False), open_lock)


def erase_values(ledger: Path, run: str, *, by: str, because: str, clock: Clock, open_lock: OpenLock) -> Change:
    """Make the protected values of a run unreadable for ever; the log keeps their digests, and stays whole.

    `copies` counts them. UsageError where the run is held, or has no such values left.
    """
    core = collect(ledger, run, policy=b"")
    holds = retention_of(ledger).holds_on(run)
    if holds:
        raise UsageError(
            f"run {run} is held by {holds[0].by}: {holds[0].because}",
            hint=f"What is held stays as it is. First: skerry evidence hold lift {holds[0].id}",
        )
    entries = core["log/events.ndjson"].split(b"\n")[:-1]
    digests = logged_digests([read_event(at, entry) for at, entry in enumerate(entries)], core)
    withheld = Withheld(ledger)
    kept = {disclosure_digest(each) for name in (run, OF_ARTIFACTS) for each in withheld.read(name)}
    count = len(kept & set(digests))
    if not count:
        raise UsageError(f"run {run} has no protected values, or they were erased")
    data = {"values": count, "by": by, "because": because}
    erase = partial(withheld.erase, run, digests)
    return Change(_record(ledger, run, "redaction.applied", data, clock, open_lock, afterwards=erase), copies=count)


def retention_of(ledger: Path) -> Retention:
    """What the ledger's log promises; BrokenLog when it does not verify."""
    return read_retention(verified_events(ledger)[0])


def _record(
    ledger: Path,
    run: str,
    kind: str,
    data: dict[str, Any],
    clock: Clock,
    open_lock: OpenLock,
    *,
    afterwards: Callable[[], object] = lambda: None,
) -> int:
    if not data["because"].strip():
        raise UsageError("say why: --because TEXT stands in the log")
    recorder = reopen_recorder(ledger, clock, open_lock)
    try:
        index = recorder.record(RunEvent(type=kind, run=run, at=timestamp(clock.now()), data=data))
        afterwards()  # while nobody else writes
        return index
    finally:
        recorder.close()


def _carry_on(
    ledger: Path, change: Change, deed: Callable[[ObjectLock, str, str], None], open_lock: OpenLock
) -> Change:
    """To every locked copy of the log's heads. What cannot be reached is told, and done by the same command again."""
    origin = own_keys(ledger)[0].name
    buckets: Sequence[EnrolledBucket] = read_enrolment(ledger).buckets
    for bucket in buckets:
        try:
            lock = open_lock(bucket)
            for copy in lock.list(f"{origin}/"):
                deed(lock, copy.key, copy.version)
                change.copies += 1
        except OrchestratorError as error:
            change.failed.append(f"bucket {bucket.bucket}: {error.message}")
    return change
