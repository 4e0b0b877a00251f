"""Where events become durable: an SQLite database with one writer thread and group commit.

Rules: an event's future resolves only after its transaction is on disk; its number within its run is given in that
same transaction, so numbers have no gap whatever is killed and whenever. When the disk is full the ballast file is
given up, the fact is recorded, and from then on nothing that begins a deed is taken until there is room again.
"""

import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path

from orchestrator.evidence.envelope import UnnumberedEvent
from orchestrator.evidence.merkle import leaf_hash
from orchestrator.foundation.errors import EvidenceError, LedgerFull, RunInProgress
from orchestrator.foundation.limits import (
    EVIDENCE_BALLAST_BYTES,
    EVIDENCE_COMMIT_EVENTS_MAX,
    EVIDENCE_STORE_WAIT_SECONDS_MAX,
)

BEGINS_A_DEED = frozenset({"run.created", "run.started", "step.started", "replication.started", "point.removal_began"})

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries(idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS runs(run TEXT PRIMARY KEY, next_seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints(size INTEGER PRIMARY KEY, root BLOB NOT NULL, note TEXT);
CREATE TABLE IF NOT EXISTS about(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
CREATE TRIGGER IF NOT EXISTS entries_remain BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'entries are never removed'); END;
"""


def open_database(path: Path) -> sqlite3.Connection:
    """A connection on which a commit is on disk when it returns; may be handed from thread to thread."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=EVIDENCE_STORE_WAIT_SECONDS_MAX
    )
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)
    except sqlite3.Error as error:
        connection.close()
        raise store_error(error, path) from error
    return connection


def is_no_room(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def store_error(error: sqlite3.Error, path: Path) -> EvidenceError:
    if is_no_room(error):
        return LedgerFull(f"{path}: {error}")
    return EvidenceError(f"{path}: {error}")


class LedgerLock:
    """Held by the one process that writes to a ledger. What it wrote into the lock file tells of an unclean end."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("a+", encoding="ascii")
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.seek(0)
            holder = self._stream.read(40).strip() or "unknown"
            self._stream.close()
            raise RunInProgress(
                f"{path.parent}: another process (pid {holder}) is writing to this ledger",
                hint="One process at a time writes evidence. Let it end, then give the same command again.",
            ) from None
        self._stream.seek(0)
        self.last_end_was_unclean = bool(self._stream.read(40).strip())
        self._write(str(os.getpid()))

    def _write(self, text: str) -> None:
        try:
            self._stream.seek(0)
            self._stream.truncate()
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            raise LedgerFull(f"{self._stream.name}: {error}") from error

    def release(self, *, cleanly: bool) -> None:
        if cleanly:
            self._write("")
        self._stream.close()


class Ballast:
    """A file that only takes up room, given up when there is none left."""

    def __init__(self, path: Path, size_bytes: int = EVIDENCE_BALLAST_BYTES) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def load(self) -> bool:
        """Take the room; False when there is not enough."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if os.fstat(descriptor).st_size < self._size_bytes:
                    os.posix_fallocate(descriptor, 0, self._size_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        return True

    def reload(self) -> bool:
        """Take the room again, but only when as much is left besides: a disk on the edge must not begin deeds."""
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize >= 2 * self._size_bytes and self.load()

    def release(self) -> None:
        self._path.unlink(missing_ok=True)


_Waiting = tuple[UnnumberedEvent, "Future[int]"]


class Ingest:
    """Takes events and says when they are durable. `on_full` makes the event that tells of the full disk."""

    def __init__(self, database: Path, ballast: Ballast, on_full: Callable[[str], UnnumberedEvent]) -> None:
        self._path = database
        self._connection = open_database(database)
        self._ballast = ballast
        self._on_full = on_full
        self._next_seq: dict[str, int] = {}
        self._halted = False
        self._closed = False
        self._entrance = threading.Lock()
        self._writing = threading.Lock()  # whoever holds it has the connection
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        (self.size,) = self._connection.execute("SELECT COALESCE(MAX(idx) + 1, 0) FROM entries").fetchone()
        self._writer = threading.Thread(target=self._write, name="ledger-writer", daemon=True)
        self._writer.start()

    def add(self, event: UnnumberedEvent) -> "Future[int]":
        """Resolves to the event's index once it is on disk; fails with LedgerFull or EvidenceError."""
        future: Future[int] = Future()
        with self._entrance:
            if self._closed:
                raise EvidenceError("the ledger is closed")
            self._queue.put((event, future))
        return future

    def commit(self, event: UnnumberedEvent) -> int:
        """As `add`, waiting for the index. Where nobody else is at it the caller writes itself: it waits anyway."""
        if self._queue.empty() and self._writing.acquire(blocking=False):
            try:
                # Closing waits for the same lock before it lets the connection go.
                if self._closed:
                    raise EvidenceError("the ledger is closed")
                future: Future[int] = Future()
                self._settle([(event, future)])
                return future.result()
            finally:
                self._writing.release()
        return self.add(event).result()

    def close(self) -> None:
        with self._entrance, self._writing:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._writer.join()
        self._connection.close()

    def _write(self) -> None:
        going_on = True
        while going_on:
            batch: list[_Waiting] = []
            item = self._queue.get()
            while item is not None:
                batch.append(item)
                if len(batch) >= EVIDENCE_COMMIT_EVENTS_MAX or self._queue.empty():
                    break
                item = self._queue.get()
            going_on = item is not None
            try:
                with self._writing:
                    self._settle(batch)
            except BaseException as error:
                # Nobody may wait for ever on a writer that is gone.
                with self._entrance:
                    self._closed = True
                while item is not None:
                    item = None if self._queue.empty() else self._queue.get()
                    batch += [item] if item else []
                _refuse(batch, EvidenceError(f"the ledger's writer ended: {error!r}"))
                raise

    def _settle(self, batch: list[_Waiting]) -> None:
        """Commit a batch and answer its futures."""
        if self._halted:
            batch = self._refuse_deeds(batch)
        if not batch:
            return
        try:
            indices = self._commit([event for event, _ in batch])
        except sqlite3.Error as error:
            if not is_no_room(error):
                _refuse(batch, EvidenceError(f"{self._path}: {error}"))
                return
            self._halt(batch, str(error))
            return
        _answer(batch, indices)

    def _refuse_deeds(self, batch: list[_Waiting]) -> list[_Waiting]:
        deeds = [item for item in batch if item[0].type in BEGINS_A_DEED]
        if deeds and self._ballast.reload():
            self._halted = False
            return batch
        _refuse(deeds, LedgerFull(f"{self._path}: the disk is full; nothing new is begun"))
        return [item for item in batch if item[0].type not in BEGINS_A_DEED]

    def _halt(self, batch: list[_Waiting], reason: str) -> None:
        """The disk is full: give up the ballast, record that, and let in only what ends deeds already begun."""
        first_time = not self._halted
        self._halted = True
        self._ballast.release()
        error = LedgerFull(f"{self._path}: {reason}")
        _refuse([item for item in batch if item[0].type in BEGINS_A_DEED], error)
        batch = [item for item in batch if item[0].type not in BEGINS_A_DEED]
        told: list[_Waiting] = [(self._on_full(reason), Future())] if first_time else []
        try:
            indices = self._commit([event for event, _ in (*told, *batch)])
        except sqlite3.Error as second:
            _refuse(batch, LedgerFull(f"{self._path}: {second}, even without the ballast"))
            return
        _answer([*told, *batch], indices)

    def _commit(self, events: list[UnnumberedEvent]) -> range:
        connection = self._connection
        numbers: dict[str, int] = {}
        rows = []
        connection.execute("BEGIN IMMEDIATE")
        try:
            for index, event in enumerate(events, start=self.size):
                seq = numbers.get(event.run)
                if seq is None:
                    seq = self._known_next_seq(event.run)
                numbers[event.run] = seq + 1
                entry = event.numbered(seq)
                rows.append((index, leaf_hash(entry), entry))
            connection.executemany("INSERT INTO entries VALUES(?, ?, ?)", rows)
            connection.executemany(
                "INSERT INTO runs VALUES(?, ?) ON CONFLICT(run) DO UPDATE SET next_seq = excluded.next_seq",
                numbers.items(),
            )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._next_seq.update(numbers)
        first, self.size = self.size, self.size + len(rows)
        return range(first, self.size)

    def _known_next_seq(self, run: str) -> int:
        if run not in self._next_seq:
            row = self._connection.execute("SELECT next_seq FROM runs WHERE run = ?", (run,)).fetchone()
            self._next_seq[run] = row[0] if row else 0
        return self._next_seq[run]


def _answer(batch: Iterable[_Waiting], indices: range) -> None:
    for (_, future), index in zip(batch, indices, strict=True):
        future.set_result(index)


def _refuse(batch: Iterable[_Waiting], error: EvidenceError) -> None:
    for _, future in batch:
        future.set_exception(error)
