"""Authority in memory that obeys the laws of contracts.authority.AuthorityStore."""

import threading
from collections.abc import Callable

from orchestrator.contracts.authority import Authority, Order
from orchestrator.foundation.errors import AuthorityError
from orchestrator.model.site import Side


class MemoryAuthority:
    """One number and side per system."""

    def __init__(self) -> None:
        self.next_ticket: Callable[[str], int] = lambda system: self.read(system).ticket + 1
        self._kept: dict[str, Authority] = {}
        self._one_at_a_time = threading.Lock()

    def read(self, system: str) -> Authority:
        return self._kept.get(system, Authority(system=system, number=1, side=Side.SOURCE, at="", by=""))

    def move(self, system: str, *, expected_number: int, to: Side, key: str, ticket: int = 0) -> Authority:
        with self._one_at_a_time:
            present = self.read(system)
            if present.by == key and present.side is to and present.number == expected_number + 1:
                return present
            if present.number != expected_number:
                raise AuthorityError(f"{system}: {expected_number} is not the newest number, {present.number} is")
            if 0 < ticket < present.ticket:
                raise AuthorityError(f"{system}: the move came too late")
            newest = max(ticket, present.ticket)
            moved = Authority(system=system, number=expected_number + 1, side=to, at="", by=key, ticket=newest)
            self._kept[system] = moved
            return moved

    def order(self, system: str, side: Side) -> Order:
        with self._one_at_a_time:
            present = self.read(system)
            if present.side is not side:
                raise AuthorityError(f"{system}: {present.side.value} has the authority")
            ticket = self.next_ticket(system)
            self._kept[system] = present.model_copy(update={"ticket": ticket})
            return Order(system=system, number=present.number, ticket=ticket)
