"""Persons' words over a finished run, signed with their own keys and put on record in the same run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Unpack

from orchestrator.evidence.approvals import sign_with_ssh_key
from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.elsewhere import OpenLock
from orchestrator.evidence.envelope import read_event
from orchestrator.evidence.export import collect, newest_note
from orchestrator.evidence.note import Checkpoint, split_note, to_base64
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.recorder import reopen_recorder
from orchestrator.evidence.run_result import result_of
from orchestrator.evidence.statements import ENVELOPE_MEDIA_TYPE, TEST_RESULT, Statement
from orchestrator.evidence.story import RunStory, tell_story
from orchestrator.foundation.clock import Clock, SystemClock, timestamp
from orchestrator.foundation.errors import UsageError
from orchestrator.model.event import RunEvent


class Signing(TypedDict):
    """Who signs, in which role, with which key. The clock is the system's where none is given.

    `open_lock` opens enrolled buckets, which are asked, as witnesses are, what they saw of the log.
    """

    person: str
    role: str
    key_file: str
    clock: NotRequired[Clock | None]
    open_lock: NotRequired[OpenLock | None]


@dataclass(frozen=True)
class FinishedRun:
    """A run as the published log has it; `digest` is what words about it are signed over."""

    run: str
    story: RunStory
    digest: str


def finished_run(ledger: Path, run: str) -> FinishedRun:
    """Read `run`; UsageError when the log does not have it, or when it is not finished."""
    core = collect(ledger, run, policy=b"")
    entries = core["log/events.ndjson"].split(b"\n")[:-1]
    indices = core["log/events.idx"].split()
    events = [read_event(int(index), entry) for index, entry in zip(indices, entries, strict=True)]
    ends = [at for at, event in enumerate(events) if event.type == "run.finished"]
    if not ends:
        raise UsageError(f"run {run} is not finished: there is nothing to judge yet")
    story = tell_story(events, lambda digest: core.get(artifact_path(digest)))
    return FinishedRun(run, story, run_digest(entries[: ends[-1] + 1]))


def log_seen(ledger: Path) -> dict[str, str]:
    """The newest head, for a statement: whoever signs it witnesses the history before. Sizes travel as text."""
    head = Checkpoint.parse(split_note(newest_note(ledger)[0])[0])
    return {"origin": head.origin, "size": str(head.size), "rootHash": to_base64(head.root)}


def put_on_record(
    ledger: Path,
    found: FinishedRun,
    kind: str,
    predicate_type: str,
    predicate: Mapping[str, Any],
    **signing: Unpack[Signing],
) -> int:
    """Sign `predicate` over the run's digest and record it as an event of `kind`; returns the log's index."""
    clock = signing.get("clock") or SystemClock()
    now = timestamp(clock.now())
    whole = {**predicate, "statementTime": now, "logSeen": log_seen(ledger)}
    statement = Statement({f"run:{found.run}": found.digest}, predicate_type, whole)
    envelope, key = sign_with_ssh_key(statement, signing["key_file"])
    recorder = reopen_recorder(ledger, clock, signing.get("open_lock"))
    try:
        kept = recorder.keep(envelope.text().encode(), ENVELOPE_MEDIA_TYPE)
        data = {"by": signing["person"], "role": signing["role"], "key": key, "envelope": kept}
        return recorder.record(RunEvent(type=kind, run=found.run, at=now, data=data))
    finally:
        recorder.close()


def record_result(ledger: Path, run: str, **signing: Unpack[Signing]) -> tuple[int, str]:
    """Sign what the log says of the run and record it; returns the log's index and the result."""
    found = finished_run(ledger, run)
    predicate = result_of(found.story)
    index = put_on_record(ledger, found, "result.signed", TEST_RESULT, predicate, **signing)
    return index, str(predicate["result"])
