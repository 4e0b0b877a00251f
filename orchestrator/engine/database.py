"""One database, SQLite or PostgreSQL: connections, transactions, and its errors in our words."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from orchestrator.engine.tables import SCHEMA_NUMBER, metadata, schema
from orchestrator.foundation.errors import EngineUnavailable

T = TypeVar("T")

BUSY_SECONDS_MAX = 30
CONNECT_SECONDS_MAX = 5
IDLE_TRANSACTION_SECONDS_MAX = 4  # below the shortest dead limit that a worker takes
# SQLite allows 32 766 bound values in one statement; stay far below.
ROWS_PER_STATEMENT = 500
_WRITES_LOCK = 0x736B65727279  # PostgreSQL advisory lock under which limits are counted


class Database:
    """Our tables behind one URL. Made when first opened; safe for many threads and processes.

    Fails only with EngineUnavailable.
    """

    def __init__(self, url: str) -> None:
        self.url = url  # may hold a password
        self._is_sqlite = url.startswith("sqlite")
        # SQLite's own wait for the write lock is an unfair busy loop; within one process a lock is fair and cheap.
        self._writing = threading.Lock()
        self._writer: sa.Connection | None = None
        self._queued: list[_Write[Any]] = []
        self._queueing = threading.Lock()
        self._engine = _sqlite_engine(url) if self._is_sqlite else _postgres_engine(url)
        self._insert: Callable[[sa.Table], Any] = sqlite.insert if self._is_sqlite else _postgres_insert()
        with self._errors():
            self._bring_up_to_date()

    def _bring_up_to_date(self) -> None:
        """Make what is missing. Tables only ever grow: an older store gets tables and columns, and keeps its rows."""
        if self._schema_number() == SCHEMA_NUMBER:
            return
        with self.writing_alone() as connection:
            metadata.create_all(connection)
            present = sa.inspect(connection)
            for table in metadata.sorted_tables:
                there = {column["name"] for column in present.get_columns(table.name)}
                for column in table.columns:
                    if column.name not in there:
                        kind = column.type.compile(self._engine.dialect)
                        connection.execute(sa.text(f"alter table {table.name} add column {column.name} {kind}"))
                        if isinstance(column.default, ScalarElementColumnDefault):
                            connection.execute(sa.update(table).values({column.name: column.default.arg}))
                for index in table.indexes:
                    index.create(connection, checkfirst=True)
            connection.execute(sa.delete(schema))
            connection.execute(sa.insert(schema), [{"number": SCHEMA_NUMBER}])

    def _schema_number(self) -> int:
        """0 where there are no tables yet."""
        with self._engine.connect() as connection:
            if not sa.inspect(connection).has_table(schema.name):
                return 0
            return int(connection.execute(sa.select(sa.func.max(schema.c.number))).scalar() or 0)

    @property
    def is_sqlite(self) -> bool:
        return self._is_sqlite

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent view."""
        with self._errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction; durable when the block ends, undone when it raises."""
        with self._errors():
            if self._is_sqlite:
                with self._writing, self._transaction() as connection:
                    yield connection
            else:
                with self._engine.begin() as connection:
                    yield connection

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """The result of `work`, durable. For what happens often: on SQLite the writes of threads that wait for each
        other share one transaction, and one sync of the disk. `work` may be called again when another's fails.
        """
        if not self._is_sqlite:
            with self.writing() as connection:
                return work(connection)
        mine = _Write(work)
        with self._queueing:
            self._queued.append(mine)
        with self._writing:
            if not mine.is_settled:
                with self._queueing:
                    batch, self._queued = self._queued, []
                self._write_together(batch)
        return mine.result()

    def _write_together(self, batch: "list[_Write[Any]]") -> None:
        try:
            with self._errors(), self._transaction() as connection:
                results = [write.work(connection) for write in batch]
        except Exception:
            # One of them failed and took the others along: each for itself, so that only it learns of it.
            for write in batch:
                self._write_alone(write)
            return
        for write, result in zip(batch, results, strict=True):
            write.settle(result)

    def _write_alone(self, write: "_Write[Any]") -> None:
        try:
            with self._errors(), self._transaction() as connection:
                result = write.work(connection)
        except Exception as error:
            write.fail(error)
        else:
            write.settle(result)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """On SQLite, for whoever holds the lock: one connection serves all writes, until one of them fails."""
        if self._writer is None:
            self._writer = self._engine.connect().execution_options(writes=True)
        try:
            with self._writer.begin():
                yield self._writer
        except BaseException:
            broken, self._writer = self._writer, None
            broken.close()
            raise

    @contextmanager
    def writing_alone(self, about: int = 0) -> Iterator[sa.Connection]:
        """One transaction that no other `writing_alone` about the same overlaps, in whichever process: for counting
        and comparing.
        """
        with self.writing() as connection:
            if not self._is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITES_LOCK + about)))
            yield connection

    def put(self, connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> None:
        """Insert the row, or replace the one with the same primary key."""
        insert = self._insert(table).values(**values)
        keys = [column.name for column in table.primary_key]
        changes = {name: insert.excluded[name] for name in values if name not in keys}
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changes))

    def add_new(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert those rows whose primary key is not there yet."""
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            part = list(rows[start : start + ROWS_PER_STATEMENT])
            insert = self._insert(table).values(part)
            connection.execute(insert.on_conflict_do_nothing())

    def add_once(self, connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
        """Insert a row; False, and nothing changes, when its primary key is there already."""
        insert = self._insert(table)
        added = insert.on_conflict_do_nothing().returning(*table.primary_key)
        return connection.execute(added, dict(row)).first() is not None

    def now(self, connection: sa.Connection) -> float:
        """The database's own time in seconds since the epoch: the one clock that all workers share."""
        if self._is_sqlite:
            question = sa.text("select (julianday('now') - 2440587.5) * 86400.0")
        else:
            question = sa.text("select extract(epoch from clock_timestamp())")
        return float(connection.execute(question).scalar_one())

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            # As it was named, without what is ours: the driver, and how it connects.
            url = self._engine.url.set(drivername=self._engine.url.get_backend_name(), query={})
            where = url.render_as_string(hide_password=True)
            cause = getattr(error, "orig", None) or error
            raise EngineUnavailable(
                f"{where}: {cause}", hint="Check that the database is up and has room, then run the same command again."
            ) from error


class _Write(Generic[T]):
    """One thread's write, waiting for its turn or settled."""

    def __init__(self, work: Callable[[sa.Connection], T]) -> None:
        self.work = work
        self.is_settled = False
        self._value: T | None = None
        self._error: Exception | None = None

    def settle(self, value: T) -> None:
        self._value, self.is_settled = value, True

    def fail(self, error: Exception) -> None:
        self._error, self.is_settled = error, True

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return cast(T, self._value)


def _sqlite_engine(url: str) -> sa.Engine:
    path = sa.make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS_MAX})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, see below
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        connection.execute("pragma foreign_keys=on")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A writer takes the lock at once: one that reads first and writes later may find that it cannot.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("begin immediate" if writes else "begin")

    return engine


def _postgres_insert() -> Callable[[sa.Table], Any]:
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 loads slowly, and a store in a file needs none of it

    return postgresql.insert


def _postgres_engine(url: str) -> sa.Engine:
    return sa.create_engine(postgres_url(url), pool_pre_ping=True, pool_size=10, max_overflow=20)


def postgres_url(url: str) -> sa.URL:
    """With our driver, and bounds: a process that sleeps, or that nobody reaches any more, must not keep the locks of a
    transaction that it began for longer than others wait before they take its work over.
    """
    named = sa.make_url(url)
    if named.drivername in ("postgres", "postgresql"):
        named = named.set(drivername="postgresql+psycopg")
    bounds = {
        "connect_timeout": str(CONNECT_SECONDS_MAX),
        "options": f"-c idle_in_transaction_session_timeout={IDLE_TRANSACTION_SECONDS_MAX * 1000}",
    }
    return named.set(query=bounds | dict(named.query))
