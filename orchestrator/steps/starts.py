"""Guarded starts: after a boot, a side's hosts start its services only once it was looked up that the side may serve.

A failover takes authority from a side that nobody reaches, so no fence stands there when it comes back. What was left
on its hosts before does: a guard that lets units start only in a boot for which a permit was written.

A permit is written in this order, so that none lets a side serve that was given up meanwhile:
  the boot of each host is asked for; a host that has booted again obeys no permit for that boot
  a person's word that the side is down is spent: it is there
  the store gives an order; a side that lost authority gets none, and whoever was about to take it away, by a word from
    before, comes too late from now on
  then the host is told
docs/protocol has each of these as a guard of its model, and what happens without it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.contracts.authority import Authority, Order
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.playbooks import PlaybookResult
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import AuthorityError, CommandFailed, HostError
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import HostName, SystemName
from orchestrator.model.site import Side
from orchestrator.steps.places import hosts_at
from orchestrator.steps.playing import variables
from orchestrator.steps.readiness import in_parallel
from orchestrator.steps.words import as_evidence, spend_words_on

STARTS_SECONDS_MAX = 60.0
SIDES_THAT_SERVE = (Side.SOURCE, Side.CLOUD)


class HostStarts(Frozen):
    """What one host says of the starts of a system. `boot` is "" where nobody could ask it."""

    host: HostName
    boot: str = ""
    guarded: bool = False
    permitted: bool = False  # in this boot
    running: tuple[str, ...] = ()  # units
    fenced_by: int = 0  # the number of the fence that stands there
    let_by: int = 0  # the newest number by which the side was ever let serve there
    by_hand: tuple[str, ...] = ()  # when, who and why: permits that people gave on the host itself
    trouble: str = ""

    @property
    def waits(self) -> bool:
        """It has booted, and starts nothing until it is told."""
        return bool(self.boot) and self.guarded and not self.permitted and not self.fenced_by


class SideStarts(Frozen):
    """A side of a system, and what was done there: guarded, permitted, or "" for nothing."""

    system: SystemName
    side: Side
    holds: bool  # authority
    number: int  # the fencing number
    hosts: tuple[HostStarts, ...]
    did: tuple[str, ...] = ()
    started: tuple[str, ...] = ()  # units


def look_at_starts(drivers: Drivers, deed: Deed, side: Side) -> SideStarts:
    """Ask every host of the side; changes nothing. A host that cannot be asked says so in its row."""
    system = deed.system_plan.system

    def ask(host: Host) -> HostStarts:
        try:
            result = _tell(drivers, deed, side, "look", [host], {})
        except HostError as error:
            return HostStarts(host=host.name, trouble=error.message)
        found = result.results.get(host.name)
        if found is None or result.failures:
            return HostStarts(host=host.name, trouble="; ".join(result.failures) or "it said nothing")
        return HostStarts(
            host=host.name,
            boot=found["boot"],
            guarded=found["guarded"],
            permitted=found["permitted"],
            running=tuple(found["running"]),
            let_by=int(found["let_by"]),
            fenced_by=int(found["fence"]["number"]) if found["fence"] else 0,
            by_hand=tuple(found["by_hand"]),
        )

    hosts = tuple(in_parallel(ask, hosts_at(deed, side)))
    present = drivers.authority.read(system.name)
    return SideStarts(
        system=system.name, side=side, holds=present.side is side, number=present.number, hosts=hosts
    )


def guard_starts(drivers: Drivers, deed: Deed, emit: Emit, *, held_down: Callable[[], bool]) -> SideStarts:
    """At the side that holds authority: guards where none stand, and permits for hosts that have booted.

    Where a run keeps the side's services down on purpose, as `held_down` says, nothing is permitted: what starts them
    again permits it. Raises AuthorityError where authority left meanwhile, CommandFailed where a host did not obey.
    """
    present = drivers.authority.read(deed.system_plan.system.name)
    seen = look_at_starts(drivers, deed, present.side)
    by_name = {host.name: host for host in hosts_at(deed, present.side)}
    _tell_of_permits_by_hand(drivers, seen, emit)
    waiting = [each for each in seen.hosts if each.waits]
    bare = [each for each in seen.hosts if each.boot and not each.guarded and not each.fenced_by]
    did: list[str] = []
    started: list[str] = []
    if waiting and not held_down():
        _refuse_from_an_old_state(drivers, deed, present)
        spent = spend_words_on(drivers, present.system, present.side, present.number)
        order = drivers.authority.order(present.system, present.side)
        for each in reversed(waiting):  # the services' host is the first: it needs the others
            told = _order(drivers, deed, present.side, "permit", order, [by_name[each.host]], [each])
            started += [unit for answer in told.results.values() for unit in answer["started"]]
        did.append("permitted")
        boots = {each.host: each.boot for each in waiting}
        words = [as_evidence(word)["word"] for word in spent]
        emit("starts.permitted", {**_named(present), "boots": boots, "started": started, "words_spent": words})
    if bare:
        # Judged by its number alone: a boot in which the side serves is permitted, nothing is started.
        order = Order(system=present.system, number=present.number)
        _order(drivers, deed, present.side, "guard", order, [by_name[each.host] for each in bare], bare)
        did.append("guarded")
        emit("starts.guarded", {**_named(present), "hosts": [each.host for each in bare]})
    now = look_at_starts(drivers, deed, present.side) if did else seen
    note = {"hosts": [each.host for each in now.hosts if each.guarded], "at": timestamp(drivers.clock.now())}
    if all(each.guarded for each in now.hosts) and not is_guarded(drivers, now.system, now.side):
        drivers.catalogue.put("starts_guarded", f"{now.system}/{now.side.value}", {**note, "open": True})
    return now.model_copy(update={"did": tuple(did), "started": tuple(started)})


def _refuse_from_an_old_state(drivers: Drivers, deed: Deed, present: Authority) -> None:
    """AuthorityError where another side was let serve by a newer number than our store knows.

    The state was restored elsewhere, and went on there. A side that does not answer cannot tell.
    """
    for side in SIDES_THAT_SERVE:
        for each in look_at_starts(drivers, deed, side).hosts if side is not present.side else ():
            if each.let_by > present.number:
                raise AuthorityError(
                    f"{present.system} was let serve on {each.host} by number {each.let_by}, here the newest is"
                    f" {present.number}: this state was left behind",
                    hint="Look where the state was restored. Here permit nothing, and end what still runs.",
                )


def unguard_starts(drivers: Drivers, deed: Deed, side: Side, emit: Emit) -> None:
    """Units start again in whatever boot of the side's hosts. Raises HostError where one cannot be told."""
    present = drivers.authority.read(deed.system_plan.system.name)
    hosts = hosts_at(deed, side)
    drivers.catalogue.put("starts_guarded", f"{present.system}/{side.value}", {"open": False})
    _obeyed(_tell(drivers, deed, side, "unguard", hosts, {}))
    emit("starts.unguarded", {"side": side.value, "hosts": [host.name for host in hosts]})


def is_guarded(drivers: Drivers, system: SystemName, side: Side) -> bool:
    """Whether guards were seen to stand on every host of the side, and nobody took them away since."""
    found = drivers.catalogue.get("starts_guarded", f"{system}/{side.value}")
    return found is not None and bool(found["open"])


def _order(
    drivers: Drivers,
    deed: Deed,
    side: Side,
    do: str,
    order: Order,
    hosts: Sequence[Host],
    seen: Sequence[HostStarts],
) -> PlaybookResult:
    at = timestamp(drivers.clock.now())
    fence = {"number": order.number, "side": side.value, "at": at, "ticket": order.ticket}
    values = {"skerry_fence": fence, "skerry_boots": {each.host: each.boot for each in seen}}
    return _obeyed(_tell(drivers, deed, side, do, hosts, values))


def _tell(
    drivers: Drivers, deed: Deed, side: Side, do: str, hosts: Sequence[Host], values: dict[str, Any]
) -> PlaybookResult:
    told = variables(deed, side, fence={}) | values
    return drivers.prepared.run(do, hosts=hosts, variables=told, timeout_seconds=STARTS_SECONDS_MAX)


def _obeyed(result: PlaybookResult) -> PlaybookResult:
    if result.failures or result.status != "successful":
        raise CommandFailed("; ".join(result.failures) or f"{result.playbook} ended {result.status}")
    return result


def _named(present: Authority) -> dict[str, Any]:
    return {"side": present.side.value, "number": present.number}


def _tell_of_permits_by_hand(drivers: Drivers, seen: SideStarts, emit: Emit) -> None:
    """What people permitted on a host itself is put on record once, whatever came of it."""
    for each in seen.hosts:
        key = f"{seen.system}/{each.host}"
        known = drivers.catalogue.get("starts_by_hand", key) or {"lines": 0}
        if len(each.by_hand) > known["lines"]:
            emit("starts.permitted_by_hand", {"host": each.host, "said": list(each.by_hand[known["lines"] :])})
            drivers.catalogue.put("starts_by_hand", key, {"lines": len(each.by_hand)})


def said_of_lost_side(drivers: Drivers, system: SystemName, side: Side) -> str:
    """What keeps the services of a side down that comes back without having been reached."""
    if is_guarded(drivers, system, side):
        return f"guards stand at {side.value}: after a boot nothing of {system} starts there by itself"
    return f"no guard stands at {side.value}: what starts with its hosts serves when they come back"


