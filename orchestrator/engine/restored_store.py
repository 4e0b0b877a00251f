"""A state that was put back from a copy: what it must not believe any more, said in our tables.

Rules:
  the durable engine's own records are not in the copy: every system that is not over is handed to it again
  the world may have gone on after the copy was made: of each step that the copy does not know, the world is asked first
  how far the world went on nobody knows here: every system pauses, and a person says whether it goes on or back
  the orders of whoever went on meanwhile, and may still live, are older than all that are given from now on
"""

from pathlib import Path

import sqlalchemy as sa

from orchestrator.contracts.engine import AT_REST
from orchestrator.engine.database import Database
from orchestrator.engine.tables import requests, restorations, system_runs, tickets
from orchestrator.foundation.clock import Clock, timestamp

TICKETS_BETWEEN = 1_000_000  # more than any orchestrator gives between two copies


def mark_restored(path: Path, clock: Clock) -> int:
    """Of the SQLite state at `path`, before any worker begins; how many systems wait for a word. EngineUnavailable."""
    database = Database(f"sqlite:///{path}")
    try:
        with database.writing_alone() as connection:
            newest = [
                connection.execute(sa.select(sa.func.max(column))).scalar() or 0
                for column in (tickets.c.number, restorations.c.tickets_from)
            ]
            row = {"at": timestamp(clock.now()), "tickets_from": max(newest) + TICKETS_BETWEEN}
            connection.execute(sa.insert(restorations), [row])
            connection.execute(sa.update(tickets).values(number=row["tickets_from"]))
            connection.execute(sa.update(system_runs).where(system_runs.c.over.is_(False)).values(enqueued=False))
            moving = sa.select(system_runs).where(
                system_runs.c.over.is_(False), system_runs.c.state.not_in(sorted(AT_REST))
            )
            asked = {"operation": "pause", "step": "", "by": "state restore", "at": row["at"]}
            asked |= {"reason": "the state was put back from a copy: look, then resume or roll back"}
            found = [asked | {"run": each.run, "system": each.system} for each in connection.execute(moving)]
            if found:
                connection.execute(sa.insert(requests), found)
            return len(found)
    finally:
        database.close()
