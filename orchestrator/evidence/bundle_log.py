"""Judges the log part of a bundle: that each of its events stands in the signed log, at its place. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.evidence import merkle
from orchestrator.evidence.envelope import LoggedEvent, read_event
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.merkle import HASH_BYTES, TILE_WIDTH
from orchestrator.evidence.note import Checkpoint, LogPolicy, SignedCheckpoint, from_decimal, open_checkpoint
from orchestrator.foundation.errors import BrokenLog

GROUP = "LOG"


@dataclass(frozen=True)
class BundleLog:
    """The events of a bundle, as bytes and as read, under the head they are in."""

    head: Checkpoint
    entries: list[bytes]
    events: list[LoggedEvent]
    reader: merkle.TileReader


def text_file(files: Mapping[str, bytes], path: str) -> str:
    try:
        return files[path].decode()
    except KeyError:
        raise BrokenLog(f"{path} is missing") from None
    except UnicodeDecodeError:
        raise BrokenLog(f"{path} is not text") from None


def tile_reader(files: Mapping[str, bytes], size: int) -> merkle.TileReader:
    def read(path: str) -> bytes:
        content = files.get("log/" + path)
        if content is None:
            raise FileNotFoundError(path)
        return content

    return merkle.TileReader(size, read)


def split_events(files: Mapping[str, bytes]) -> tuple[list[bytes], list[int]]:
    """The entries and their places in the log; BrokenLog when the lists do not fit."""
    try:
        entries = files["log/events.ndjson"].split(b"\n")
    except KeyError:
        raise BrokenLog("log/events.ndjson is missing") from None
    if entries.pop() != b"":
        raise BrokenLog("log/events.ndjson is cut off")
    lines = text_file(files, "log/events.idx").split("\n")
    if lines.pop() != "":
        raise BrokenLog("log/events.idx is cut off")
    indices = [from_decimal(line) for line in lines]
    if len(entries) != len(indices) or not entries:
        raise BrokenLog(f"{len(entries)} events, but places for {len(indices)}")
    if any(later <= earlier for earlier, later in pairwise(indices)):
        raise BrokenLog("the events' places in the log do not rise")
    return entries, indices


def judge_log(files: Mapping[str, bytes], policy: LogPolicy, findings: Findings) -> BundleLog | None:
    """Check the head, the places of all events, and their numbers; None when there is nothing to go on with."""
    try:
        signed = open_checkpoint(text_file(files, "log/checkpoint"), policy.keys)
        _judge_head(signed, policy, findings)
        entries, indices = split_events(files)
        head = signed.checkpoint
        reader = tile_reader(files, head.size)
        events = [read_event(index, entry) for index, entry in zip(indices, entries, strict=True)]
    except BrokenLog as error:
        findings.fail(GROUP, error.message)
        return None
    problems = _misplaced(reader, head, entries, indices)
    places = f"log entries {indices[0]}..{indices[-1]}, rising"
    sound = findings.judge(GROUP, problems, f"{len(events)} events, {places}, each in the signed log at its place")
    runs = {event.run for event in events}
    numbered = len(runs) == 1 and [event.seq for event in events] == list(range(len(events)))
    gaps = [] if numbered else ["the events are not one run's, numbered from 0 without gap or repeat"]
    findings.judge(GROUP, gaps, f"run {events[0].run}: numbers 0..{len(events) - 1} without gap or repeat")
    return BundleLog(head, entries, events, reader) if sound else None


def _judge_head(signed: SignedCheckpoint, policy: LogPolicy, findings: Findings) -> None:
    head = signed.checkpoint
    by_log = [key for key, _ in signed.signatures if key in policy.logs and key.name == head.origin]
    names = ", ".join(key.algorithm.title for key in by_log)
    lacking = [key for key in policy.logs if key.name == head.origin and key not in by_log]
    if not by_log or lacking:
        told = ", ".join(key.algorithm.title for key in lacking)
        findings.fail(GROUP, f"the head of {head.origin} lacks a signature by the log" + (f" ({told})" if told else ""))
    else:
        findings.ok(GROUP, f"head of {head.origin}, {head.size} entries, signed by the log ({names})")
    if policy.quorum != "none":
        bad = [] if policy.is_satisfied_by(signed) else [f"the witnesses' quorum '{policy.quorum}' is not met"]
        findings.judge(GROUP, bad, f"the witnesses' quorum '{policy.quorum}' is met")


def _misplaced(reader: merkle.TileReader, head: Checkpoint, entries: list[bytes], indices: list[int]) -> list[str]:
    problems: list[str] = []
    try:
        if reader.root() != head.root:
            problems.append("the hash tiles do not produce the signed root")
        full = head.size // TILE_WIDTH
        for number in sorted({index // TILE_WIDTH for index in indices}):
            at = HASH_BYTES * (number % TILE_WIDTH)
            if number < full:
                above = reader.tile(1, number // TILE_WIDTH)[at : at + HASH_BYTES]
                if merkle.perfect_root(reader.tile(0, number)) != above:
                    problems.append(f"the tile 0/{number} is not the one under the signed root")
        problems += [
            f"entry {index} is not in the signed log"
            for index, entry in zip(indices, entries, strict=True)
            if reader.leaf(index) != merkle.leaf_hash(entry)
        ]
    except FileNotFoundError as error:
        problems.append(f"log/{error.args[0]} is missing")
    except (IndexError, ValueError) as error:
        problems.append(str(error))
    return problems
