"""Which workers live, by the database's own clock: rows that each worker beats, and others read."""

from typing import Any

import sqlalchemy as sa

from orchestrator.engine.database import Database
from orchestrator.engine.tables import steps, takeovers, workers
from orchestrator.engine.worker_lock import worker_lock
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

    def shown(self, *, dead_seconds: float, host: str) -> list[dict[str, Any]]:
        """Those of the last while, the youngest first; on SQLite the one process of `host` that holds the lock."""
        if self._database.is_sqlite:
            lock = worker_lock(self._database.url)
            pid = lock.owner() if lock is not None else 0
            one = {"worker": f"{host}/{pid}", "host": host, "pid": pid, "started_at": "", "silent_seconds": 0.0}
            return [{**one, "lives": True, "deeds": self._deeds().get("", 0)}] if pid else []
        with self._database.reading() as connection:
            now = self._database.now(connection)
            rows = connection.execute(sa.select(workers).order_by(workers.c.started_at.desc())).all()
        deeds = self._deeds()
        return [
            {
                **{name: getattr(row, name) for name in ("worker", "host", "pid", "started_at")},
                "silent_seconds": round(max(0.0, now - row.beat), 1),
                "lives": now - row.beat < dead_seconds,
                "deeds": deeds.get(row.worker, 0),
            }
            for row in rows
        ]

    def takeovers(self, *, limit: int) -> list[dict[str, Any]]:
        """The newest first: who died, who took over, when, and how many systems."""
        query = sa.select(takeovers).order_by(takeovers.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [{name: getattr(row, name) for name in ("dead", "by", "at", "systems")} for row in rows]

    def _deeds(self) -> dict[str, int]:
        """Deeds under way by worker; all of them together under the empty name."""
        query = sa.select(steps.c.worker, sa.func.count()).where(steps.c.state == "started").group_by(steps.c.worker)
        with self._database.reading() as connection:
            found = {row[0]: int(row[1]) for row in connection.execute(query)}
        return {**found, "": sum(found.values())}

    def note_takeover(self, dead: str, *, by: str, systems: int) -> None:
        row = {"dead": dead, "by": by, "at": timestamp(self._clock.now()), "systems": systems}
        with self._database.writing() as connection:
            connection.execute(sa.insert(takeovers), [row])
