"""Verifies a whole log against the words that persons signed: the heads that they saw, and how often one was used.

Whether they may sign is judged by bundles.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from orchestrator.evidence import merkle
from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.envelope import LOG_RUN, LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.note import Checkpoint
from orchestrator.evidence.plain_file import read_plain
from orchestrator.evidence.seen_heads import contradictions, seen_heads
from orchestrator.evidence.statements import Envelope
from orchestrator.foundation.errors import BrokenLog, EvidenceError
from orchestrator.foundation.limits import EVIDENCE_ENTRY_BYTES_MAX

ENVELOPE_BYTES_MAX = 16 * 1024 * 1024
TILE_BYTES_MAX = merkle.TILE_WIDTH * (EVIDENCE_ENTRY_BYTES_MAX + 2)


def judge_seen_heads(log: Path, head: Checkpoint, signed: Sequence[LoggedEvent], findings: Findings) -> None:
    """One check over all words in the log. To be called once its tiles were found to belong to its head.

    OSError when a tile cannot be read (a writer may have replaced it meanwhile).
    """
    problems: list[str] = []
    missing: set[str] = set()

    def artifact(digest: str) -> bytes | None:
        content = _read_artifact(log, digest)
        if content is None:
            missing.add(digest)
        return content

    seen = list(seen_heads(signed, artifact, problems.append))
    reader = merkle.TileReader(head.size, lambda name: read_plain(log / name, TILE_BYTES_MAX))
    problems += contradictions(head.origin, head.size, seen, reader.root)
    if seen or problems:
        findings.judge("PEOPLE", problems, f"{len(seen)} signers saw heads that are beginnings of this log")
    if missing:
        findings.info("PEOPLE", f"{len(missing)} signed words are not here to be read")


def judge_uses(log: Path, signed: Sequence[LoggedEvent], findings: Findings) -> None:
    """One check over start orders and approvals that are for a number of runs: none was used by more."""
    runs: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    for event in signed:
        reference = event.data.get("envelope")
        if event.type in ("approval.granted", "run.ordered") and event.run != LOG_RUN and isinstance(reference, dict):
            digest = str(reference.get("digest", ""))
            runs.setdefault(digest, set()).add(event.run)
            noun = "start order" if event.type == "run.ordered" else "approval"
            names[digest] = f"the {noun} by {event.data.get('by')} (entry {event.index})"
    problems = []
    bounded = 0
    for digest, used_by in runs.items():
        allowed = _runs_allowed(log, digest)
        bounded += allowed > 0
        if 0 < allowed < len(used_by):
            problems.append(f"{names[digest]} is for {allowed} runs, and {len(used_by)} used it: {', '.join(used_by)}")
    if bounded:
        findings.judge("PEOPLE", problems, f"{bounded} words that are for a number of runs were used by no more")


def _runs_allowed(log: Path, digest: str) -> int:
    """How many runs the word is for; 0 where it does not say, or cannot be read, which others judge."""
    try:
        content = _read_artifact(log, digest)
        said = Envelope.parse(content).statement() if content is not None else None
    except EvidenceError:
        return 0
    if said is None:
        return 0
    validity = said.predicate.get("validity")
    told = said.predicate.get("maxRuns", validity.get("maxRuns") if isinstance(validity, dict) else 0)
    return told if type(told) is int else 0


def _read_artifact(log: Path, digest: str) -> bytes | None:
    try:
        content = read_plain(log.parent / artifact_path(digest), ENVELOPE_BYTES_MAX)
    except OSError:
        return None
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise BrokenLog(f"the artifact {digest[:23]}… was altered")
    return content
