"""Which side of a system may take writes, kept durably: a compare-and-set on a fencing number."""

import sqlalchemy as sa

from orchestrator.contracts.authority import Authority, Order
from orchestrator.engine.database import Database
from orchestrator.engine.tables import authority, restorations, tickets
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import AuthorityError
from orchestrator.model.site import Side


class DatabaseAuthority:
    """Authority in our tables; the laws stand at contracts.authority.AuthorityStore."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def read(self, system: str) -> Authority:
        with self._database.reading() as connection:
            return self._read(connection, system)

    def move(self, system: str, *, expected_number: int, to: Side, key: str, ticket: int = 0) -> Authority:
        with self._database.writing() as connection:
            # The row is made first, so that two movers meet on it and one of them waits.
            _make_row(self._database, connection, system)
            present = self._read(connection, system, for_update=True)
            if present.by == key:
                return present
            if present.number != expected_number:
                raise AuthorityError(
                    f"{system}: authority number {expected_number} is not the newest; "
                    f"{present.side.value} holds number {present.number} since {present.at or 'the beginning'}"
                )
            if 0 < ticket < present.ticket:
                raise AuthorityError(f"{system}: this move came too late, a later deed moved authority meanwhile")
            at, newest = timestamp(self._clock.now()), max(ticket, present.ticket)
            moved = Authority(system=system, number=present.number + 1, side=to, at=at, by=key, ticket=newest)
            self._database.put(connection, authority, moved.model_dump(mode="json"))
            return moved

    def order(self, system: str, side: Side) -> Order:
        with self._database.writing() as connection:
            _make_row(self._database, connection, system)
            present = self._read(connection, system, for_update=True)
            if present.side is not side:
                raise AuthorityError(f"{system}: authority is at {present.side.value}, not at {side.value}")
            ticket = next_ticket(self._database, connection, system)
            refuse_earlier_moves(self._database, connection, system, ticket=ticket)
            return Order(system=system, number=present.number, ticket=ticket)

    def _read(self, connection: sa.Connection, system: str, *, for_update: bool = False) -> Authority:
        query = sa.select(authority).where(authority.c.system == system)
        row = connection.execute(query.with_for_update() if for_update else query).mappings().one_or_none()
        return Authority(**row) if row else _at_the_source(system)


def next_ticket(database: Database, connection: sa.Connection, system: str) -> int:
    """A ticket newer than every one of the system so far, also than those of a state that was put back from a copy."""
    ticket = connection.execute(_NEXT_TICKET, {"the_system": system}).scalar()
    if ticket is None:
        first = connection.execute(sa.select(sa.func.max(restorations.c.tickets_from))).scalar() or 0
        database.add_new(connection, tickets, [{"system": system, "number": first}])
        ticket = connection.execute(_NEXT_TICKET, {"the_system": system}).scalar_one()
    return int(ticket)


def refuse_earlier_moves(database: Database, connection: sa.Connection, system: str, *, ticket: int) -> None:
    """No move of a deed with a ticket below this one is obeyed from now on; authority stays where it is."""
    _make_row(database, connection, system)
    connection.execute(sa.update(authority).where(authority.c.system == system).values(ticket=ticket))


def _make_row(database: Database, connection: sa.Connection, system: str) -> None:
    database.add_new(connection, authority, [_at_the_source(system).model_dump(mode="json")])


def _at_the_source(system: str) -> Authority:
    return Authority(system=system, number=1, side=Side.SOURCE, at="", by="")


# Built once: it runs for every step of every system.
_NEXT_TICKET = (
    sa.update(tickets)
    .where(tickets.c.system == sa.bindparam("the_system"))
    .values(number=tickets.c.number + 1)
    .returning(tickets.c.number)
)
