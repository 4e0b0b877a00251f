"""Before a side's data are written over: a fence stands there, and by no order that is newer than the deed's.

Orders alone keep databases from late deeds. Trees and volumes are written over by a copy, which obeys nobody: a host
that another orchestrator opened meanwhile would lose what its clients wrote since. The last delta, for which clients
wait, asks the same: while the hop before is under way.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from orchestrator.contracts.authority import Order
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.playbooks import PlaybookResult
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import AuthorityError, CommandTimedOut
from orchestrator.model.site import Side
from orchestrator.steps.orders import order_of
from orchestrator.steps.places import hosts_at


def confirm_fence(drivers: Drivers, deed: Deed, side: Side, order: Order) -> PlaybookResult:
    """Ask the hosts of `side` whether a fence stands; where one does it stands by this order from now on.

    CommandTimedOut where nobody knows.
    """
    at = timestamp(drivers.clock.now())
    fence = {"number": order.number, "side": side.value, "at": at, "ticket": order.ticket}
    result = drivers.prepared.run(
        "confirm",
        hosts=hosts_at(deed, side),
        variables={"skerry_system": order.system, "skerry_fence": fence},
        timeout_seconds=deed.step.timeout,
    )
    if result.status == "timed_out":
        raise CommandTimedOut(f"{', '.join(result.failures)}: whether a fence stands nobody knows")
    return result


def refuse_open(drivers: Drivers, deed: Deed, side: Side) -> None:
    """AuthorityError unless `side` is fenced, and no newer order was obeyed there. DR never serves, so it never is."""
    if side is Side.DR:
        return
    system = deed.system_plan.system.name
    order = order_of(drivers.authority.read(system), deed, side)
    result = confirm_fence(drivers, deed, side, order)
    if result.failures:
        raise AuthorityError(
            f"nothing of {system} is written over at {side.value}, which may serve: {'; '.join(result.failures)}",
            hint="Another orchestrator may have gone on meanwhile: look where clients are sent, and what it did. Where "
            f"nobody did, fence {side.value} by a plan: skerry rollback {system} --without-record --as PERSON",
        )


@contextmanager
def asked_meanwhile(drivers: Drivers, deed: Deed, sides: Sequence[Side]) -> Iterator[Callable[[Side], None]]:
    """Ask `sides` at once, beside what the body does; what is given refuses like refuse_open, once it is known."""
    with ThreadPoolExecutor(max_workers=max(1, len(sides))) as pool:
        answers = {side: pool.submit(refuse_open, drivers, deed, side) for side in sides}
        yield lambda side: answers[side].result()
