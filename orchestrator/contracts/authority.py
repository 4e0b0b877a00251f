"""Which side of a system may take writes."""

from typing import Protocol

from orchestrator.model.frozen import Frozen
from orchestrator.model.site import Side


class Authority(Frozen):
    """One fencing number per system; a side may write only while it holds the newest."""

    system: str
    number: int
    side: Side
    at: str
    by: str  # idempotency key of the deed that moved it
    ticket: int = 0  # and its ticket; 0 where nobody counts


class Order(Frozen):
    """What hosts compare, so that what a dead or sleeping process set out to do changes nothing any more.

    Newer is what has the higher number or, under one number, the higher ticket. A host refuses to fence, to unfence,
    to start and to promote by an order that is older than one it obeyed.
    """

    system: str
    number: int  # the fencing number under which it was given
    ticket: int = 0  # of the deed; 0 where nobody counts


class AuthorityStore(Protocol):
    """Durable authority.

    Laws (tests/laws/authority_store_laws.py):
      read   of a system never seen is number 1 at the source
      move   is a compare-and-set on the number; with the key of the move that made the present state it changes nothing
      move   from a number that is not the newest raises AuthorityError
      move   with a ticket older than that of a move before it raises AuthorityError: it comes from a process that was
             taken over from meanwhile. A move without a ticket (0) is not judged by it, and leaves the newest as it is
      order  of the side that holds authority is newer than every order and every move before it, so that no move of a
             deed from before is obeyed any more; of another side raises AuthorityError
    """

    def read(self, system: str) -> Authority: ...
    def move(self, system: str, *, expected_number: int, to: Side, key: str, ticket: int = 0) -> Authority: ...
    def order(self, system: str, side: Side) -> Order: ...
