"""What is done when a ledger is opened: database and log are seen to belong together, and what a crash left is mended.

Rules: the published log is never changed here; entries are only ever put back from tiles whose root an own signature
covers; whatever can not be explained is an error, for going on would fork the log.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.evidence import merkle
from orchestrator.evidence.envelope import read_event
from orchestrator.evidence.note import Checkpoint, VerifierKey, open_checkpoint
from orchestrator.foundation.errors import BrokenLog


@dataclass(frozen=True)
class Recovered:
    """What was found and mended at the opening of a ledger."""

    unclean_end: bool = False
    torn_files_removed: int = 0
    entries_restored: int = 0
    checkpoints_restored: int = 0

    @property
    def is_worth_recording(self) -> bool:
        return self != Recovered()

    def data(self) -> dict[str, Any]:
        return asdict(self)


def remove_torn_files(folder: Path) -> int:
    """Temporary files of writes that never ended, below the log and the artifacts."""
    torn = [path for part in ("log", "artifacts", "private") for path in (folder / part).rglob(".*.tmp")]
    torn += list(folder.glob(".*.tmp"))
    for path in torn:
        path.unlink(missing_ok=True)
    return len(torn)


def reconcile(connection: sqlite3.Connection, log_folder: Path, keys: Sequence[VerifierKey]) -> tuple[int, int]:
    """Bring the database up to the published log; returns (entries, checkpoints) put back.

    Raises BrokenLog when the two contradict each other.
    """
    path = log_folder / "checkpoint"
    if not path.exists():
        return 0, 0  # a note that was signed but never released is written out by the next publication
    signed = open_checkpoint(path.read_text(encoding="utf-8"), keys)
    checkpoint = signed.checkpoint
    (size,) = connection.execute("SELECT COALESCE(MAX(idx) + 1, 0) FROM entries").fetchone()
    row = connection.execute("SELECT root FROM checkpoints WHERE size = ?", (checkpoint.size,)).fetchone()
    if row and row[0] == checkpoint.root and size >= checkpoint.size:
        return 0, 0
    if row and row[0] != checkpoint.root:
        raise _contradiction(checkpoint)
    restored = _restore_entries(connection, log_folder, checkpoint, size) if size < checkpoint.size else 0
    if not restored:
        frontier = merkle.Frontier()
        for (leaf,) in connection.execute("SELECT leaf FROM entries WHERE idx < ? ORDER BY idx", (checkpoint.size,)):
            frontier.append(leaf)
        if frontier.root() != checkpoint.root:
            raise _contradiction(checkpoint)
    connection.execute(
        "INSERT OR REPLACE INTO checkpoints VALUES(?, ?, ?)", (checkpoint.size, checkpoint.root, signed.note)
    )
    return restored, 0 if row else 1


def _contradiction(checkpoint: Checkpoint) -> BrokenLog:
    return BrokenLog(
        f"the database does not produce the checkpoint published at size {checkpoint.size}: refusing to go on",
        hint="Database and log are of different histories. Keep both, and restore the newest copy that verifies.",
    )


def _restore_entries(connection: sqlite3.Connection, log_folder: Path, checkpoint: Checkpoint, size: int) -> int:
    """Entries that the published log has and the database lost (it was torn, or is of an older copy)."""
    frontier = merkle.Frontier()
    lost: list[tuple[int, bytes, bytes]] = []
    next_seq: dict[str, int] = {}
    for number in range(-(-checkpoint.size // merkle.TILE_WIDTH)):
        first = number * merkle.TILE_WIDTH
        width = min(merkle.TILE_WIDTH, checkpoint.size - first)
        try:
            entries = merkle.unpack_bundle((log_folder / merkle.tile_path("entries", number, width)).read_bytes())
        except (OSError, ValueError) as error:
            raise BrokenLog(f"the published log can not be read back: {error}") from error
        for index, entry in enumerate(entries, start=first):
            leaf = merkle.leaf_hash(entry)
            frontier.append(leaf)
            event = read_event(index, entry)
            next_seq[event.run] = event.seq + 1
            if index >= size:
                lost.append((index, leaf, entry))
                continue
            (have,) = connection.execute("SELECT leaf FROM entries WHERE idx = ?", (index,)).fetchone()
            if have != leaf:
                raise _contradiction(checkpoint)
    if frontier.root() != checkpoint.root:
        raise BrokenLog("the published entries do not produce the published checkpoint: refusing to go on")
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany("INSERT INTO entries VALUES(?, ?, ?)", lost)
        connection.executemany(
            "INSERT INTO runs VALUES(?, ?) ON CONFLICT(run) DO UPDATE SET next_seq = excluded.next_seq",
            next_seq.items(),
        )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return len(lost)
