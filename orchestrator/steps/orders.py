"""The order that a deed carries to a host, so that the host can tell a late one."""

from orchestrator.contracts.authority import Authority, Order
from orchestrator.contracts.handler import Deed
from orchestrator.model.site import Side


def order_of(authority: Authority, deed: Deed, side: Side) -> Order:
    """Of the holder under its own number, of any other side under the next one, which that side could hold at most."""
    number = authority.number if authority.side is side else authority.number + 1
    return Order(system=deed.system_plan.system.name, number=number, ticket=deed.ticket)
