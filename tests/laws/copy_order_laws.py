"""Laws of copies that carry an order (contracts/trees.py, contracts/volumes.py): what may serve is not written over.

`ground.obeyed(**orders)` makes the replica's host one that obeyed just these: `json` is the fence that stands, `lifted`
what lifted one, `started` what started services; each (number, ticket).
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.contracts.authority import Order
from orchestrator.contracts.transport import Transports
from orchestrator.foundation.errors import AuthorityError
from orchestrator.model.host import Host

KINDS = ("json", "lifted", "started")
_WRITE = 'mkdir -p "$1" && printf %s "$3" > "$1/$2"'


def order(number: int, ticket: int) -> Order:
    return Order(system="filing", number=number, ticket=ticket)


def obeyed_on(transports: Transports, host: Host, **orders: tuple[int, int]) -> None:
    """On a real host: as playbooks/files/fence.py and services.py leave it."""
    folder, user = host.path("/etc/skerry/fence"), "root" if host.become else None
    transports(host).run(["rm", "-f", "--", *(f"{folder}/filing.{kind}" for kind in KINDS)], user=user)
    for kind, (number, ticket) in orders.items():
        text = json.dumps({"number": number, "ticket": ticket, "side": "cloud", "at": ""})
        transports(host).run(["sh", "-c", _WRITE, "write", folder, f"filing.{kind}", text], user=user)


class CopyOrderLaws:
    def copies(self, ground: Any) -> dict[str, Callable[[Order | None], Any]]:
        """Ways to copy from the source to the replica."""
        raise NotImplementedError

    def prepare(self, ground: Any) -> None:
        """Both ends hold something, and the source has changed since."""
        raise NotImplementedError

    @pytest.mark.parametrize(
        ("orders", "given", "why"),
        [
            ({}, (3, 7), "no fence"),
            ({}, (3, 0), "no fence"),
            ({"json": (3, 8)}, (3, 7), "after this one"),
            ({"json": (4, 1)}, (3, 7), "after this one"),
            ({"json": (4, 1)}, (3, 0), "after this one"),
            ({"json": (3, 5), "started": (3, 8)}, (3, 7), "after this one"),
            ({"lifted": (3, 7)}, (3, 7), "no fence"),
        ],
    )
    def test_what_may_serve_is_not_written_over(self, ground, orders, given, why):
        self.prepare(ground)
        before = ground.read(ground.replica)
        ground.obeyed(**orders)
        try:
            for name, copy in self.copies(ground).items():
                with pytest.raises(AuthorityError, match=why):
                    copy(order(*given))
                assert ground.read(ground.replica) == before, name
        finally:
            ground.obeyed()

    @pytest.mark.parametrize(
        ("orders", "given"),
        [({"json": (3, 7)}, (3, 7)), ({"json": (3, 8)}, (3, 0)), ({"json": (3, 8), "lifted": (3, 2)}, (3, 9))],
    )
    def test_behind_a_fence_of_no_newer_order_it_is(self, ground, orders, given):
        self.prepare(ground)
        ground.obeyed(**orders)
        try:
            for name, copy in self.copies(ground).items():
                copy(order(*given))
                assert ground.read(ground.replica) == ground.read(ground.source), name
        finally:
            ground.obeyed()
