"""Which workers live, by the database's own clock: rows that each worker beats, and others read."""

import sqlalchemy as sa

from orchestrator.engine.database import Database
from orchestrator.engine.tables import takeovers, workers
from orchestrator.foundation.clock import Clock, timestamp

FORGET_AFTER = 20  # times the dead limit


class WorkersStore:
    """Heartbeats. Every method is one transaction; fails only with EngineUnavailable."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def register(self, worker: str, *, host: str, pid: int) -> None:
        started_at = timestamp(self._clock.now())
        with self._database.writing() as connection:
            row = {"worker": worker, "host": host, "pid": pid, "started_at": started_at}
            self._database.put(connection, workers, row | {"beat": self._database.now(connection)})

    def beat(self, worker: str) -> bool:
        """False when the row is gone: the others took this worker for dead. It is never made anew, for then a worker
        that slept would count as alive although its runs are carried elsewhere.
        """
        with self._database.writing() as connection:
            now = self._database.now(connection)
            change = sa.update(workers).where(workers.c.worker == worker).values(beat=now)
            return connection.execute(change).rowcount == 1

    def live(self, *, dead_seconds: float) -> set[str]:
        """Workers that beat within the limit."""
        with self._database.reading() as connection:
            since = self._database.now(connection) - dead_seconds
            return set(connection.execute(sa.select(workers.c.worker).where(workers.c.beat > since)).scalars())

    def bury(self, *, dead_seconds: float) -> None:
        """Remove the rows of the dead: from now on they cannot beat again."""
        with self._database.writing() as connection:
            since = self._database.now(connection) - dead_seconds
            connection.execute(sa.delete(workers).where(workers.c.beat <= since))

    def leave(self, worker: str) -> None:
        """A worker that ends well: the others need not wait until it counts as dead."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(workers).where(workers.c.worker == worker))

    def note_takeover(self, dead: str, *, by: str, systems: int) -> None:
        row = {"dead": dead, "by": by, "at": timestamp(self._clock.now()), "systems": systems}
        with self._database.writing() as connection:
            connection.execute(sa.insert(takeovers), [row])
