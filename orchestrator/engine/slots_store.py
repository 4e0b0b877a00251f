"""Places that only so many systems may hold at once, kept in our tables, so that the limit holds over all workers."""

from collections import Counter
from collections.abc import Mapping

import sqlalchemy as sa

from orchestrator.engine.database import Database
from orchestrator.engine.tables import slots


class SlotsStore:
    """Slots by resource and holder. A holder is a system's run: it keeps its slots when its worker dies, for what it
    does may still be going on. Every method is one transaction; fails only with EngineUnavailable.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, holder: str, limits: Mapping[str, int]) -> bool:
        """Take one slot of each resource, or none of them. Whoever holds them already has them."""
        with self._database.writing_alone() as connection:
            query = sa.select(slots.c.resource, slots.c.holder).where(slots.c.resource.in_(list(limits)))
            taken = connection.execute(query).all()
            for resource, limit in limits.items():
                holders = {row.holder for row in taken if row.resource == resource}
                if holder not in holders and len(holders) >= limit:
                    return False
            rows = [{"resource": resource, "holder": holder} for resource in limits]
            self._database.add_new(connection, slots, rows)
            return True

    def full(self, holder: str, limits: Mapping[str, int]) -> tuple[str, ...]:
        """Those of the resources at which others leave no slot for the holder."""
        query = sa.select(slots.c.resource).where(slots.c.resource.in_(list(limits)), slots.c.holder != holder)
        with self._database.reading() as connection:
            taken = Counter(connection.execute(query).scalars())
        return tuple(resource for resource, limit in limits.items() if taken[resource] >= limit)

    def holds(self, holder: str) -> bool:
        """Whether it has slots: from before its worker died."""
        with self._database.reading() as connection:
            query = sa.select(slots.c.resource).where(slots.c.holder == holder).limit(1)
            return connection.execute(query).first() is not None

    def give_back(self, holder: str) -> None:
        with self._database.writing() as connection:
            connection.execute(sa.delete(slots).where(slots.c.holder == holder))
