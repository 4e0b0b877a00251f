"""Verifies a whole log against the heads that signers of its words saw. Whether they may sign is judged by bundles."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from orchestrator.evidence import merkle
from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.note import Checkpoint
from orchestrator.evidence.plain_file import read_plain
from orchestrator.evidence.seen_heads import contradictions, seen_heads
from orchestrator.foundation.errors import BrokenLog
from orchestrator.foundation.limits import EVIDENCE_ENTRY_BYTES_MAX

ENVELOPE_BYTES_MAX = 16 * 1024 * 1024
TILE_BYTES_MAX = merkle.TILE_WIDTH * (EVIDENCE_ENTRY_BYTES_MAX + 2)


def judge_seen_heads(log: Path, head: Checkpoint, signed: Sequence[LoggedEvent], findings: Findings) -> None:
    """One check over all words in the log. To be called once its tiles were found to belong to its head.

    OSError when a tile cannot be read (a writer may have replaced it meanwhile).
    """
    problems: list[str] = []
    missing = 0

    def artifact(digest: str) -> bytes | None:
        nonlocal missing
        try:
            content = read_plain(log.parent / artifact_path(digest), ENVELOPE_BYTES_MAX)
        except OSError:
            missing += 1
            return None
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise BrokenLog(f"the artifact {digest[:23]}… was altered")
        return content

    seen = list(seen_heads(signed, artifact, problems.append))
    reader = merkle.TileReader(head.size, lambda name: read_plain(log / name, TILE_BYTES_MAX))
    problems += contradictions(head.origin, head.size, seen, reader.root)
    if seen or problems:
        findings.judge("PEOPLE", problems, f"{len(seen)} signers saw heads that are beginnings of this log")
    if missing:
        findings.info("PEOPLE", f"{missing} signed words are not here to be read")
