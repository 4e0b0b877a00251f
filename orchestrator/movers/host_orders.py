"""What programs on hosts are told of the order by which they are sent; they compare it with what their host obeyed."""

from typing import Any

from orchestrator.contracts.authority import Order
from orchestrator.foundation.errors import AuthorityError
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.model.host import Host

ORDERS_FOLDER = "/etc/skerry/fence"  # where playbooks/files/fence.py keeps what a host obeyed


def told_order(order: Order, host: Host) -> dict[str, Any]:
    """The words for a program on `host`."""
    return {"folder": host.path(ORDERS_FOLDER), **order.model_dump()}


def with_order(request: dict[str, Any], order: Order | None, host: Host) -> dict[str, Any]:
    """A request that writes data over on `host`, and is obeyed there only under `order`; None: nothing is compared."""
    return {**request, "order": None if order is None else told_order(order, host)}


def is_open(dataset: FileTree | BlockVolume, host: Host, why: str) -> AuthorityError:
    """The error for data that may not be written over on `host`, for `why`."""
    return AuthorityError(
        f"{host.name}: nothing of {dataset.name} was written over, for its system may serve there: {why}",
        hint="Another orchestrator has gone on meanwhile: see what it did with skerry runs.",
    )
