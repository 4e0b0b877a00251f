"""The log on disk: C2SP tlog-tiles below `log/`, published from the ingest database under signed checkpoints.

Rules: tiles are a pure function of the entries; a (size, root) pair is durable before any signature over it leaves
this file; a tree that does not extend the last signed one is never signed. So no crash, at any place, makes the log
sign two histories.

    log/checkpoint                  the newest signed note
    log/checkpoints/<size>          every note ever signed, the size in twelve digits
    log/tile/<level>/<n>[.p/<w>]    hash tiles       log/tile/entries/<n>[.p/<w>]    entry bundles
"""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from orchestrator.evidence import merkle
from orchestrator.evidence.artifacts import NO_ROOM
from orchestrator.evidence.ingest import open_database, store_error
from orchestrator.evidence.note import Checkpoint, NoteSigner, sign_checkpoint
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.clock import Clock
from orchestrator.foundation.errors import BrokenLog, EvidenceError, LedgerFull


def checkpoint_path(size: int) -> str:
    return f"checkpoints/{size:012d}"


class Publisher:
    """Turns committed entries into tiles and a signed checkpoint. Safe to call from any thread."""

    def __init__(
        self, database: Path, log_folder: Path, origin: str, signers: Sequence[NoteSigner], clock: Clock
    ) -> None:
        self._database = database
        self._folder = log_folder
        self._origin = origin
        self._signers = list(signers)
        self._clock = clock
        self._one_at_a_time = threading.Lock()
        self._connection = open_database(database)

    def close(self) -> None:
        with self._one_at_a_time:
            self._connection.close()

    def read(self, path: str) -> bytes:
        return (self._folder / path).read_bytes()

    def newest(self) -> tuple[int, bytes, str | None]:
        """Size, root and note of the newest checkpoint; the note is None where signing it was broken off."""
        row = self._connection.execute("SELECT size, root, note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
        return (row[0], row[1], row[2]) if row else (0, merkle.EMPTY_ROOT, None)

    def publish(self) -> str:
        """Publish all committed entries; returns the signed note. With nothing new it only makes sure of the files."""
        with self._one_at_a_time:
            try:
                return self._publish()
            except sqlite3.Error as error:
                raise store_error(error, self._database) from error
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise LedgerFull(f"no room to publish the log: {error}") from error
                raise EvidenceError(f"the log can not be published: {error}") from error

    def _publish(self) -> str:
        old_size, old_root, old_note = self.newest()
        (size,) = self._connection.execute("SELECT COALESCE(MAX(idx) + 1, 0) FROM entries").fetchone()
        if size < old_size:
            raise BrokenLog(
                f"the ledger holds {size} entries, but a checkpoint over {old_size} was signed: refusing to fork",
                hint="The database is older than the log. Restore both from the newest copy.",
            )
        if size == old_size and old_note:
            self._put_note(size, old_note)
            return old_note
        reader = self._write_tiles(size, old_size)
        root = reader.root(size)
        if old_size:
            proof = reader.consistency(old_size, size)
            if not merkle.proves_consistency(old_size, size, proof, old_root, root):
                raise BrokenLog(
                    f"the entries no longer produce the checkpoint signed at size {old_size}: refusing to fork",
                    hint="Entries or tiles were changed after they were published. See: skerry evidence verify",
                )
        self._settle(size, root)
        at_seconds = int(self._clock.now().timestamp())
        note = sign_checkpoint(Checkpoint(self._origin, size, root), self._signers, at_seconds=at_seconds)
        note = self._keep_note(size, note)
        self._put_note(size, note)
        self._remove_superseded(old_size, size)
        return note

    def write_anew(self) -> int:
        """Write the published form out of the database, where it is not there; returns the size of its newest head."""
        with self._one_at_a_time:
            heads = self._connection.execute(
                "SELECT size, root, note FROM checkpoints WHERE note IS NOT NULL ORDER BY size"
            ).fetchall()
            if not heads:
                return 0
            size, root, _ = heads[-1]
            if self._write_tiles(size, 0).root(size) != root:
                raise BrokenLog(f"the entries do not produce the checkpoint signed at size {size}")
            for signed_size, _, note in heads:
                self._put_note(signed_size, note)
            return int(size)

    def _settle(self, size: int, root: bytes) -> None:
        self._connection.execute("INSERT OR IGNORE INTO checkpoints VALUES(?, ?, NULL)", (size, root))

    def _keep_note(self, size: int, note: str) -> str:
        """The note that counts."""
        self._connection.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (note, size))
        return note

    def _put_note(self, size: int, note: str) -> None:
        content = note.encode()
        for path in (self._folder / "checkpoint", self._folder / checkpoint_path(size)):
            if not path.exists() or path.read_bytes() != content:
                replace_file(path, content)

    def _write_tiles(self, size: int, old_size: int) -> merkle.TileReader:
        """Write what a log of `size` entries needs beyond `old_size`; returns a reader over all of it."""
        written: dict[str, bytes] = {}

        def read(path: str) -> bytes:
            return written[path] if path in written else self.read(path)

        reader = merkle.TileReader(size, read)
        for level, number, width in merkle.tiles_for(size, old_size):
            first = number * merkle.TILE_WIDTH
            if level == 0:
                rows = self._connection.execute(
                    "SELECT data FROM entries WHERE idx BETWEEN ? AND ? ORDER BY idx", (first, first + width - 1)
                ).fetchall()
                if len(rows) != width:
                    raise BrokenLog(f"entries are missing between {first} and {first + width - 1}")
                tile = b"".join([merkle.leaf_hash(entry) for (entry,) in rows])
                bundle = merkle.pack_bundle([entry for (entry,) in rows])
                replace_file(self._folder / merkle.tile_path("entries", number, width), bundle)
            else:
                below = range(first, first + width)
                tile = b"".join([merkle.perfect_root(reader.tile(level - 1, child)) for child in below])
                written[merkle.tile_path(level, number, width)] = tile
            replace_file(self._folder / merkle.tile_path(level, number, width), tile)
        return reader

    def _remove_superseded(self, old_size: int, size: int) -> None:
        """Partial tiles that a wider one replaced; the newest checkpoint no longer needs them."""
        new = {(level, number): width for level, number, width in merkle.tiles_for(size, old_size)}
        for level, number, width in _edge_tiles(old_size):
            if new.get((level, number), width) != width:
                for name in (level, "entries") if level == 0 else (level,):
                    path = self._folder / merkle.tile_path(name, number, width)
                    path.unlink(missing_ok=True)
                    if new[level, number] == merkle.TILE_WIDTH and not any(path.parent.iterdir()):
                        path.parent.rmdir()


def _edge_tiles(size: int) -> list[tuple[int, int, int]]:
    """The partial tiles at the right edge of a log."""
    edge, level = [], 0
    while size >> 8 * level:
        number, width = divmod(size >> 8 * level, merkle.TILE_WIDTH)
        if width:
            edge.append((level, number, width))
        level += 1
    return edge
