"""Before a side's data are written over: a fence stands there, and by no order that is newer than the deed's.

A host that another orchestrator opened meanwhile would lose what its clients wrote since. So its fence is asked for
first, which makes the order of this deed the newest that the host obeyed; and the copy carries that order, and is
compared with what the host obeyed once more where it begins to write. The last delta, for which clients wait, asks the
same: while the hop before is under way.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from orchestrator.contracts.authority import Order
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.playbooks import PlaybookResult
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import AuthorityError, CommandFailed, CommandTimedOut
from orchestrator.model.host import Host
from orchestrator.model.site import Side
from orchestrator.steps.orders import order_of
from orchestrator.steps.places import hosts_at
from orchestrator.steps.playing import variables


def confirm_fence(drivers: Drivers, deed: Deed, side: Side, order: Order) -> PlaybookResult:
    """Ask the hosts of `side` whether a fence stands; where one does it stands by this order from now on.

    CommandTimedOut where nobody knows.
    """
    result = _ask_of_fence(drivers, deed, side, order, "confirm", hosts_at(deed, side))
    if result.status == "timed_out":
        raise CommandTimedOut(f"{', '.join(result.failures)}: whether a fence stands nobody knows")
    return result


def recover_behind_fence(drivers: Drivers, deed: Deed, side: Side, host: Host, order: Order) -> tuple[str, ...]:
    """Start the databases of `host` that are held back there; the names of their units.

    What they hold is to be carried to the side that takes over. Services stay behind the fence, which stands by this
    order from now on, and databases too, once they are stopped again. CommandFailed where no fence stands, where a
    newer order was obeyed, or where one did not start.
    """
    result = _ask_of_fence(drivers, deed, side, order, "recover", [host])
    if result.failures or result.status != "successful":
        raise CommandFailed("; ".join(result.failures) or f"{host.name}: recover ended {result.status}")
    return tuple(result.results[host.name]["started"])


def _ask_of_fence(
    drivers: Drivers, deed: Deed, side: Side, order: Order, do: str, hosts: Sequence[Host]
) -> PlaybookResult:
    at = timestamp(drivers.clock.now())
    fence = {"number": order.number, "side": side.value, "at": at, "ticket": order.ticket}
    return drivers.prepared.run(
        do, hosts=hosts, variables=variables(deed, side, fence=fence), timeout_seconds=deed.step.timeout
    )


def refuse_open(drivers: Drivers, deed: Deed, side: Side) -> Order | None:
    """The order by which `side` is fenced, for the copies that write its data over; None for DR, which never serves.

    AuthorityError unless a fence stands there, and no newer order was obeyed.
    """
    if side is Side.DR:
        return None
    system = deed.system_plan.system.name
    order = order_of(drivers.authority.read(system), deed, side)
    result = confirm_fence(drivers, deed, side, order)
    if result.failures:
        raise AuthorityError(
            f"nothing of {system} is written over at {side.value}, which may serve: {'; '.join(result.failures)}",
            hint="Another orchestrator may have gone on meanwhile: look where clients are sent, and what it did. Where "
            f"nobody did, fence {side.value} by a plan: skerry rollback {system} --without-record --as PERSON",
        )
    return order


@contextmanager
def asked_meanwhile(drivers: Drivers, deed: Deed, sides: Sequence[Side]) -> Iterator[Callable[[Side], Order | None]]:
    """Ask `sides` at once, beside what the body does; what is given answers like refuse_open, once it is known."""
    with ThreadPoolExecutor(max_workers=max(1, len(sides))) as pool:
        answers = {side: pool.submit(refuse_open, drivers, deed, side) for side in sides}
        yield lambda side: answers[side].result()
