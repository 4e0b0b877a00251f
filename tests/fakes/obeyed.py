"""What hosts in memory obeyed, and what copies make of it: as orchestrator/movers/host_programs/obeyed.py has it."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from orchestrator.contracts.authority import Order
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.model.host import Host
from orchestrator.movers.host_orders import is_open


@dataclass
class FakeObeyed:
    """By host: whether a fence stands, and the newest (number, ticket) that it obeyed."""

    fenced: Container[str] = ()
    newest: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def refuse_open(self, dataset: FileTree | BlockVolume, host: Host, order: Order | None) -> None:
        if order is None:
            return
        newest = self.newest.get(host.name, (0, 0))
        if newest[0] > order.number or (order.ticket and newest > (order.number, order.ticket)):
            raise is_open(dataset, host, f"an order of number {newest[0]} was obeyed there after this one was given")
        if host.name not in self.fenced:
            raise is_open(dataset, host, f"no fence of {order.system} stands there")
