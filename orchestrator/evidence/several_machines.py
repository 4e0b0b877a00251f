"""The ledger where several machines write it: entries get their place in the database they share; each machine keeps a
copy of the log, and publishes it.

Rules: an entry is durable, and has its place, in the shared database before anything is done about it; whatever machine
publishes signs heads over those entries alone, so that all heads are of one history; a machine that has not the log's
keys, or whose copy went another way, is refused before it writes.
"""

import fcntl
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.contracts.shared_ledger import SharedHead, SharedLedger, Unnumbered
from orchestrator.evidence import merkle
from orchestrator.evidence.artifacts import Artifacts, artifact_path
from orchestrator.evidence.envelope import UnnumberedEvent, read_event
from orchestrator.evidence.ingest import store_error
from orchestrator.evidence.log import Publisher, checkpoint_path
from orchestrator.evidence.note import Checkpoint, NoteSigner, split_note
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.clock import Clock
from orchestrator.foundation.errors import BrokenLog, EvidenceError, OrchestratorError

HEADS_SEEN = "heads_seen"
MARK = "shared"  # a ledger with this file is the copy of a shared one, and is opened with that alone
ENTRIES_AT_ONCE_MAX = 500
_DIGESTS = re.compile(rb"sha256:[0-9a-f]{64}")
_BRING_KEYS = (
    "Bring the log's keys here from a machine that has them: skerry state backup there, skerry state restore here."
)


class CopyLock:
    """Held by each process that writes through this copy; not beside one that has the ledger for itself."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("a+", encoding="ascii")
        self._stream.seek(0)
        # Only who is alone may remove what a process left half written when it died.
        self.last_end_was_unclean = self._take(fcntl.LOCK_EX) and bool(self._stream.read(1))
        if not self._take(fcntl.LOCK_SH):
            self._stream.close()
            raise EvidenceError(
                f"{path.parent}: another process has this ledger for itself",
                hint="Let that run end, or stop it. It was started without --database.",
            )

        self._stream.write("open\n")
        self._stream.flush()

    def _take(self, kind: int) -> bool:
        try:
            fcntl.flock(self._stream, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self, *, cleanly: bool) -> None:
        if cleanly and self._take(fcntl.LOCK_EX):
            self._stream.truncate(0)
        self._stream.close()


class SharedIngest:
    """Takes events into the shared order. Threads that wait for each other share one transaction."""

    def __init__(self, shared: SharedLedger) -> None:
        self._shared = shared
        self._queued: list[tuple[UnnumberedEvent, Future[int]]] = []
        self._queueing = threading.Lock()
        self._writing = threading.Lock()
        self._closed = False

    @property
    def size(self) -> int:
        return self._shared.size()

    def commit(self, event: UnnumberedEvent) -> int:
        """The event's index, once it is durable."""
        mine: Future[int] = Future()
        with self._queueing:
            self._queued.append((event, mine))
        with self._writing:
            if not mine.done():
                with self._queueing:
                    batch, self._queued = self._queued, []
                self._settle(batch)
        return mine.result()

    def _settle(self, batch: Sequence[tuple[UnnumberedEvent, "Future[int]"]]) -> None:
        try:
            if self._closed:
                raise EvidenceError("the ledger is closed")
            indices = self._shared.append([Unnumbered(event.run, event.numbered) for event, _ in batch])
        except OrchestratorError as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), index in zip(batch, indices, strict=True):
            future.set_result(index)

    def close(self) -> None:
        with self._writing:
            self._closed = True


class SharedArtifacts(Artifacts):
    """Artifacts here, and where all machines find them."""

    def __init__(self, folder: Path, shared: SharedLedger) -> None:
        super().__init__(folder)
        self._shared = shared

    def keep(self, content: bytes, media_type: str) -> dict[str, Any]:
        kept = super().keep(content, media_type)
        self._shared.keep_artifact(kept["digest"], content)
        return kept


class SharedPublisher(Publisher):
    """Publishes this machine's copy of the log, brought up to date first."""

    def __init__(
        self,
        folder: Path,
        origin: str,
        signers: Sequence[NoteSigner],
        clock: Clock,
        shared: SharedLedger,
    ) -> None:
        super().__init__(folder / "ledger.db", folder / "log", origin, signers, clock)
        self._shared = shared
        self._ledger = folder

    def catch_up(self) -> None:
        """What others wrote and published, here too; nothing is signed."""
        try:
            with self._one_at_a_time, self._alone_here():
                self._bring_up_to_date()
        except sqlite3.Error as error:
            raise store_error(error, self._database) from error

    def _publish(self) -> str:
        with self._alone_here():
            self._bring_up_to_date()
            return super()._publish()

    @contextmanager
    def _alone_here(self) -> Iterator[None]:
        """Other processes of this machine may keep the same copy."""
        with (self._ledger / "publishing").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _settle(self, size: int, root: bytes) -> None:
        self._ensure(size, self._shared.settle(size, root), root)
        super()._settle(size, root)

    def _keep_note(self, size: int, note: str) -> str:
        return super()._keep_note(size, self._shared.sign(size, note))

    def _ensure(self, size: int, theirs: bytes, ours: bytes) -> None:
        if theirs != ours:
            raise BrokenLog(
                f"at size {size} this copy of the log has another root than the shared one: refusing to fork",
                hint=f"Put the copy aside, the folder {self._ledger} but for its keys, and start again.",
            )

    def _bring_up_to_date(self) -> None:
        """Entries, artifacts and heads that this copy lacks, and the files of what others published."""
        (first,) = self._connection.execute("SELECT COALESCE(MAX(idx) + 1, 0) FROM entries").fetchone()
        self._ensure_same_history(first)
        while found := self._shared.entries(first, limit=ENTRIES_AT_ONCE_MAX):
            self._bring_artifacts(found)
            self._add(first, found)
            first += len(found)
        row = self._connection.execute("SELECT value FROM about WHERE name = ?", (HEADS_SEEN,)).fetchone()
        heads = self._shared.heads(after=int(row[0]) if row else 0)
        if heads:
            self._write_out(heads)
            seen = (HEADS_SEEN, str(heads[-1].number))
            self._connection.execute("INSERT OR REPLACE INTO about VALUES(?, ?)", seen)

    def _ensure_same_history(self, size: int) -> None:
        if not size:
            return
        (ours,) = self._connection.execute("SELECT data FROM entries WHERE idx = ?", (size - 1,)).fetchone()
        theirs = self._shared.entries(size - 1, limit=1)
        if not theirs or theirs[0] != ours:
            raise BrokenLog(
                f"{self._ledger} is no copy of the log in the shared database: entry {size - 1} is another",
                hint="A database has one ledger. Put this folder aside but for its keys, or name the other database.",
            )

    def _add(self, first: int, entries: Sequence[bytes]) -> None:
        rows = [(index, merkle.leaf_hash(entry), entry) for index, entry in enumerate(entries, start=first)]
        numbers = {event.run: event.seq + 1 for event in (read_event(index, entry) for index, _, entry in rows)}
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("INSERT INTO entries VALUES(?, ?, ?)", rows)
            self._connection.executemany(
                "INSERT INTO runs VALUES(?, ?) ON CONFLICT(run) DO UPDATE SET next_seq = excluded.next_seq",
                numbers.items(),
            )
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._connection.execute("ROLLBACK")
            raise

    def _bring_artifacts(self, entries: Sequence[bytes]) -> None:
        wanted = {match.decode() for entry in entries for match in _DIGESTS.findall(entry)}
        for digest in sorted(wanted):
            path = self._ledger / artifact_path(digest)
            if not path.exists() and (content := self._shared.artifact(digest)) is not None:
                replace_file(path, content, mode=0o444)

    def _write_out(self, heads: Sequence[SharedHead]) -> None:
        newest, published = max(heads, key=lambda head: head.size), self._published_size()
        if newest.size > published:
            reader = self._write_tiles(newest.size, published)
            self._ensure(newest.size, newest.root, reader.root(newest.size))
        for head in heads:
            replace_file(self._folder / checkpoint_path(head.size), head.note.encode())
            row = (head.size, head.root, head.note)
            self._connection.execute("INSERT OR REPLACE INTO checkpoints VALUES(?, ?, ?)", row)
        if newest.size > published:
            self._put_note(newest.size, newest.note)
            self._remove_superseded(published, newest.size)

    def _published_size(self) -> int:
        path = self._folder / "checkpoint"
        return Checkpoint.parse(split_note(path.read_text(encoding="utf-8"))[0]).size if path.exists() else 0


def ensure_keys(folder: Path, shared: SharedLedger) -> None:
    """Before keys are made here: where the shared log exists, they must be its own. Raises EvidenceError."""
    words = shared.about()
    if not words:
        return
    present = [path.read_text(encoding="utf-8").strip() for path in sorted(folder.glob("vkey*"))]
    if sorted(present) != sorted(words["keys"].split("\n")):
        raise EvidenceError(
            f"{folder} has not the keys of the log {words['origin']} that the shared database keeps", hint=_BRING_KEYS
        )


def found_log(
    folder: Path,
    shared: SharedLedger,
    signers: Sequence[NoteSigner],
    origin: str,
    genesis: UnnumberedEvent,
    *,
    keys_are_new: bool,
) -> None:
    """The shared log, where there is none yet: this machine's own so far, or a new one that begins with `genesis`.

    Where another machine began it at the same moment the log is that one's: EvidenceError, and keys that were made here
    for it (`keys_are_new`), and signed nothing, are gone again.
    """
    if not shared.about():
        connection = sqlite3.connect(f"file:{folder / 'ledger.db'}?mode=ro", uri=True)
        try:
            rows = connection.execute("SELECT idx, data FROM entries ORDER BY idx").fetchall()
            heads = connection.execute("SELECT size, root, note FROM checkpoints WHERE note IS NOT NULL").fetchall()
        finally:
            connection.close()
        own = [(event.run, event.seq, data) for event, data in ((read_event(at, data), data) for at, data in rows)]
        keys = "\n".join(str(signer.verifier_key) for signer in signers)
        first = own or [(genesis.run, 0, genesis.numbered(0))]
        shared.found({"origin": origin, "keys": keys}, first)
        try:
            ensure_keys(folder, shared)
        except EvidenceError:
            for path in [*folder.glob("vkey*"), *(folder / "private").glob("log.*")] if keys_are_new else ():
                path.unlink()
            raise
        for size, root, note in heads:
            if shared.settle(size, root) != root:
                raise BrokenLog(f"at size {size} the shared database has a head of another log than {origin}")
            shared.sign(size, note)
    replace_file(folder / MARK, f"{origin}\n".encode())


def refuse_copy(folder: Path) -> None:
    """Raise EvidenceError where this ledger is the copy of a shared one: entries added here alone would fork it."""
    if (folder / MARK).exists():
        raise EvidenceError(
            f"{folder} is this machine's copy of a ledger that several machines write",
            hint="Name their database: --database, or $SKERRY_DATABASE.",
        )
