"""Judges anchors: heads of the log that others saw, and when. Pure.

Rules: every anchored head is a beginning of the bundle's head; timestamps rise with the size; an event's claimed time
lies between the timestamps before and after it, and was anchored soon. So history can be neither rewritten nor written
later than it says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from orchestrator.evidence import merkle
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.note import Checkpoint, SignedCheckpoint, from_base64, from_decimal, open_checkpoint
from orchestrator.evidence.signing.timestamps import timestamp_time
from orchestrator.evidence.story import moment
from orchestrator.evidence.trust_policy import TrustPolicy
from orchestrator.foundation.errors import BrokenLog, EvidenceError

GROUP = "ANCHORS"


@dataclass(frozen=True)
class Bound:
    """A timestamp over the head of `size` entries: all of them existed at `time`."""

    size: int
    time: datetime


def text_of(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_consistency(text: str) -> tuple[int, list[bytes]]:
    """`old <size>` and the hashes of a consistency proof, as log/consistency/<size> holds them."""
    lines = text.split("\n")
    if lines[-1] != "" or not lines[0].startswith("old "):
        raise BrokenLog("malformed consistency proof")
    return from_decimal(lines[0][4:]), [from_base64(line) for line in lines[1:-1]]


def judge_anchors(files: Mapping[str, bytes], head: Checkpoint, policy: TrustPolicy, findings: Findings) -> list[Bound]:
    """Look at every anchors/<size>.note with its .tsr. Returns the timestamps that hold."""
    bounds: list[Bound] = []
    anchored = 0
    problems: list[str] = []
    witnessed = 0
    for path in sorted(name for name in files if name.startswith("anchors/") and name.endswith(".note")):
        try:
            signed = open_checkpoint(_text(files[path]), policy.log_policy.keys)
            is_beginning(files, signed.checkpoint, head)
            anchored += 1
            witnessed += _has_witness(signed, policy)
            token = files.get(path.removesuffix(".note") + ".tsr")
            if token is not None and policy.tsa_roots:
                time = timestamp_time(token, signed.checkpoint.text(), policy.tsa_roots)
                bounds.append(Bound(signed.checkpoint.size, time))
        except EvidenceError as error:
            problems.append(f"{path}: {error.message}")
    bounds.sort(key=lambda bound: bound.size)
    if policy.require_tsa and not bounds:
        problems.append("the policy asks for timestamps, and there is none")
    told = f"{anchored} anchored heads are beginnings of this one; {len(bounds)} timestamped, {witnessed} witnessed"
    if anchored or problems:
        findings.judge(GROUP, problems, told)
    falling = [later.size for earlier, later in pairwise(bounds) if earlier.time > later.time]
    if bounds:
        bad = [f"the timestamp at size {size} is older than one before it" for size in falling]
        findings.judge(GROUP, bad, "timestamps rise with the size of the log")
    if not bounds:
        findings.warn(GROUP, "no timestamps: the times in this evidence are the controller's own word")
    if not witnessed:
        findings.warn(GROUP, "no witness: that this is the only history shown to anybody is the operator's own word")
    return bounds


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BrokenLog("not text") from None


def _has_witness(signed: SignedCheckpoint, policy: TrustPolicy) -> bool:
    keys = set(policy.log_policy.witnesses.values())
    return any(key in keys for key, _ in signed.signatures)


def is_beginning(files: Mapping[str, bytes], earlier: Checkpoint, head: Checkpoint) -> None:
    """BrokenLog unless `head` extends `earlier`, by the proof in log/consistency. The empty log begins every other."""
    if earlier.origin != head.origin:
        raise BrokenLog(f"a head of another log: {earlier.origin}")
    if earlier.size > head.size:
        raise BrokenLog(f"was anchored at {earlier.size} entries, this head has {head.size}: the tail was dropped")
    if earlier.size == 0 and earlier.root == merkle.EMPTY_ROOT:
        return
    if earlier.size == head.size:
        if earlier.root != head.root:
            raise BrokenLog("another root at the same size: two histories were signed")
        return
    old, proof = parse_consistency(_text(files.get(f"log/consistency/{earlier.size:012d}", b"")))
    holds = merkle.proves_consistency(earlier.size, head.size, proof, earlier.root, head.root)
    if old != earlier.size or not holds:
        raise BrokenLog("not a beginning of this head: history was rewritten")


def judge_times(
    events: Sequence[LoggedEvent], bounds: Sequence[Bound], policy: TrustPolicy, findings: Findings
) -> None:
    """Claimed times against timestamps, where there are any."""
    if not bounds:
        return
    wrong: list[str] = []
    slow: list[str] = []
    unanchored = 0
    for event in events:
        time = moment(event.time)
        after = time_bound_after(event.index, bounds)
        before = next((bound.time for bound in reversed(bounds) if bound.size <= event.index), None)
        if after is None:
            unanchored += 1
        elif time > after + policy.skew:
            wrong.append(f"entry {event.index} claims {event.time}, but existed by {text_of(after)}")
        elif after - time > policy.anchor_delay:
            slow.append(f"entry {event.index} claims {event.time}, but was first timestamped {text_of(after)}")
        if before is not None and time < before - policy.skew:
            wrong.append(f"entry {event.index} claims {event.time}, but was written after {text_of(before)}: backdated")
    if unanchored:
        wrong.append(f"{unanchored} events came after the last timestamp")
    findings.judge(GROUP, wrong, "every event's time lies between the timestamps before and after it")
    minutes = policy.anchor_delay.total_seconds() / 60
    findings.judge(GROUP, slow, f"every event was timestamped within {minutes:g} min of its claimed time")


def time_bound_after(index: int, bounds: Sequence[Bound]) -> datetime | None:
    """When the entry at `index` existed at the latest, by the first timestamp over it."""
    return next((bound.time for bound in bounds if bound.size > index), None)
