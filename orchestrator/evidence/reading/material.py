"""What all reading copies are made from: a bundle's evidence, read once."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.evidence import merkle
from orchestrator.evidence.anchors import Bound, text_of, time_bound_after
from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.bundle_log import split_events, text_file, tile_reader
from orchestrator.evidence.envelope import LoggedEvent, read_event
from orchestrator.evidence.note import Checkpoint, split_note
from orchestrator.evidence.seen_heads import SIGNED_KINDS
from orchestrator.evidence.signing.timestamps import timestamp_time
from orchestrator.evidence.statements import Envelope, Statement
from orchestrator.evidence.story import RunStory, tell_story
from orchestrator.evidence.trust_policy import TrustPolicy, parse_trust_policy

_NAMES = {
    "approval.granted": "approval",
    "approval.refused": "rejection",
    "approval.revoked": "revocation",
    "run.ordered": "start-order",
    "gate.decided": "gate",
    "waiver.given": "waiver",
    "review.accepted": "sign-off",
}


@dataclass(frozen=True)
class Signed:
    """A person's signed statement, as the log refers to it."""

    event: LoggedEvent
    by: str
    role: str
    envelope: Envelope
    statement: Statement

    @property
    def name(self) -> str:
        """For a file's name: approval.ana, review.carla."""
        kind = _NAMES.get(self.event.type)
        person = re.sub(r"[^A-Za-z0-9-]", "_", self.by)[:60]
        return f"{kind or self.event.type.partition('.')[0]}.{person}.{self.event.index}"


@dataclass(frozen=True)
class Material:
    """The evidence of one run, opened. `policy` is the bundle's own copy: for words, never for trust."""

    core: Mapping[str, bytes]
    note: str
    head: Checkpoint
    entries: list[bytes]
    indices: list[int]
    story: RunStory
    reader: merkle.TileReader
    policy: TrustPolicy
    bounds: list[Bound]
    signed: list[Signed]

    def of_kind(self, kind: str) -> list[Signed]:
        return [each for each in self.signed if each.event.type == kind]

    def existed_by(self, index: int) -> str:
        """The timestamp after an entry, or an empty text."""
        found = time_bound_after(index, self.bounds)
        return text_of(found) if found else ""

    @property
    def reviews(self) -> list[dict[str, Any]]:
        return [dict(each.statement.predicate) for each in self.of_kind("review.signed")]

    @property
    def ended(self) -> str:
        """When the run ended; what is signed about it comes later. Of an unfinished one the last event's time."""
        ends = self.story.of("run.finished")
        return ends[-1].time if ends else self.last_time

    @property
    def last_time(self) -> str:
        """What stands for the time of making: the last event's, for a copy has no clock of its own."""
        return self.story.events[-1].time


def open_material(core: Mapping[str, bytes]) -> Material:
    """Read the core of a bundle; BrokenLog or EvidenceRejected when it can not be read."""
    note = text_file(core, "log/checkpoint")
    head = Checkpoint.parse(split_note(note)[0])
    entries, indices = split_events(core)
    events = [read_event(index, entry) for index, entry in zip(indices, entries, strict=True)]

    def artifact(digest: str) -> bytes | None:
        return core.get(artifact_path(digest))

    policy = parse_trust_policy(core.get("policy/trust-policy.json", b""), "policy/trust-policy.json")
    story = tell_story(events, artifact)
    signed = []
    for event in story.events:
        if event.type not in SIGNED_KINDS:
            continue
        content = artifact(str((event.data.get("envelope") or {}).get("digest", "")))
        if content is not None:
            envelope = Envelope.parse(content)
            by, role = str(event.data.get("by", "")), str(event.data.get("role", ""))
            signed.append(Signed(event, by, role, envelope, envelope.statement()))
    reader = tile_reader(core, head.size)
    return Material(core, note, head, entries, indices, story, reader, policy, _bounds(core, policy), signed)


def _bounds(core: Mapping[str, bytes], policy: TrustPolicy) -> list[Bound]:
    bounds = []
    for path in sorted(name for name in core if name.startswith("anchors/") and name.endswith(".tsr")):
        note = core.get(path.removesuffix(".tsr") + ".note")
        if note is not None and policy.tsa_roots:
            text = split_note(note.decode())[0]
            bounds.append(Bound(Checkpoint.parse(text).size, timestamp_time(core[path], text, policy.tsa_roots)))
    return sorted(bounds, key=lambda bound: bound.size)


def root_text(head: Checkpoint) -> str:
    return base64.b64encode(head.root).decode()
