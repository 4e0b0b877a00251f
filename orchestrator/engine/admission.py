"""Lets systems begin as their sites, hosts and links have room: in the order in which they came."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.engine.slots_store import SlotsStore
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.site import Side

HOPS = ((Side.SOURCE, Side.DR), (Side.DR, Side.CLOUD))  # the links that a system's data crosses
LOOK_AGAIN_SECONDS = 0.25  # slots may be given back by other workers
TOLD_AFTER_SECONDS = 1.0  # who waits longer for room is told what for
NO_ROOM = "waits for room: "


@dataclass(frozen=True)
class Limits:
    """How many systems may be under way at once. 0: as many as there are. A site, host or link (source site/replica
    site) named in a mapping has a limit of its own. Where the plan's wave has limits too, the lower one holds.
    """

    per_site: int = 0
    per_host: int = 0
    sites: Mapping[str, int] | None = None
    hosts: Mapping[str, int] | None = None
    per_link: int = 0
    links: Mapping[str, int] | None = None

    def of(self, plan: Plan, planned: SystemPlan) -> dict[str, int]:
        """Limit by resource, for the resources that this system touches and that are limited."""
        both = [self.limits_of(plan, planned)]
        if plan.terms is not None:
            own = plan.terms.limits
            waves = Limits(own.per_site, own.per_host, own.sites, own.hosts, own.per_link, own.links)
            both.append(waves.limits_of(plan, planned))
        wanted: dict[str, int] = {}
        for resource, limit in (pair for limits in both for pair in limits.items()):
            wanted[resource] = min(limit, wanted.get(resource, limit))
        return dict(sorted(wanted.items()))

    def limits_of(self, plan: Plan, planned: SystemPlan) -> dict[str, int]:
        """The same, by these limits alone."""
        system = planned.system
        at_side = {
            side: {placement.host, *placement.datasets.values()} for side, placement in system.placements.items()
        }
        names = set().union(*at_side.values())
        sites = {side: {plan.hosts[name].site for name in at if name in plan.hosts} for side, at in at_side.items()}
        wanted = {f"host:{name}": (self.hosts or {}).get(name, self.per_host) for name in names}
        wanted |= {f"site:{site}": (self.sites or {}).get(site, self.per_site) for site in set().union(*sites.values())}
        for source, replica in HOPS:
            for link in (f"{one}/{other}" for one in sites.get(source, ()) for other in sites.get(replica, ())):
                wanted[f"link:{link}"] = (self.links or {}).get(link, self.per_link)
        return {resource: limit for resource, limit in wanted.items() if limit > 0}


class Admission:
    """Slots for the systems of one worker. Lives in one event loop."""

    def __init__(self, slots: SlotsStore, limits: Limits) -> None:
        self._slots = slots
        self._limits = limits
        self._waiting: list[_Waiting] = []
        self._look_again = asyncio.Event()
        self._server: asyncio.Task[None] | None = None
        self._held: dict[str, bool] = {}  # holder → whether it had slots from before this worker

    def wanted(self, plan: Plan, planned: SystemPlan) -> dict[str, int]:
        return self._limits.of(plan, planned)

    def ask(self, holder: str, wanted: Mapping[str, int]) -> "asyncio.Future[None]":
        """Done once the holder has a slot of everything it wants."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not wanted:
            future.set_result(None)
            return future
        self._waiting.append(_Waiting(holder, wanted, future))
        self._look_again.set()
        if self._server is None or self._server.done():
            self._server = asyncio.create_task(self._serve())
        return future

    async def told(self, holder: str, wanted: Mapping[str, int]) -> str:
        """What a holder that has no room waits for. Who has it meanwhile changes too often to be told with it."""
        # Where nothing is full, others that came before it wait for something of the same.
        full = await asyncio.to_thread(self._slots.full, holder, wanted) or tuple(wanted)
        by_limit: dict[int, list[str]] = {}
        for resource in full:
            by_limit.setdefault(wanted[resource], []).append(resource.replace(":", " ", 1))
        parts = (f"at most {limit} at once at {', '.join(places)}" for limit, places in sorted(by_limit.items()))
        return NO_ROOM + "; ".join(parts)

    async def leave(self, holder: str) -> None:
        self._held[holder] = False
        await asyncio.to_thread(self._slots.give_back, holder)
        self._look_again.set()

    async def _serve(self) -> None:
        while self._waiting:
            self._look_again.clear()
            # First come, first served for each resource: who has no room keeps the place before those behind. Who has
            # slots already, from before a restart, waits behind nobody: it is what the others wait for.
            spoken_for: set[str] = set()
            for waiting in list(self._waiting):
                may_ask = spoken_for.isdisjoint(waiting.wanted) or await self._held_before(waiting)
                if waiting.future.cancelled() or (may_ask and await self._takes(waiting)):
                    self._waiting.remove(waiting)
                else:
                    spoken_for |= set(waiting.wanted)
            if self._waiting and not self._look_again.is_set():
                alarm = asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, self._look_again.set)
                await self._look_again.wait()
                alarm.cancel()

    async def _held_before(self, waiting: "_Waiting") -> bool:
        """Whether it had its slots when this worker first looked."""
        if waiting.holder not in self._held:
            try:
                self._held[waiting.holder] = await asyncio.to_thread(self._slots.holds, waiting.holder)
            except OrchestratorError:
                return True  # taking meets the same trouble, and tells it
        return self._held[waiting.holder]

    async def _takes(self, waiting: "_Waiting") -> bool:
        try:
            taken = await asyncio.to_thread(self._slots.take, waiting.holder, waiting.wanted)
        except OrchestratorError as error:
            waiting.future.set_exception(error)  # whoever waits halts the worker
            return True
        if taken and not waiting.future.done():
            waiting.future.set_result(None)
        return taken


@dataclass(frozen=True)
class _Waiting:
    holder: str
    wanted: Mapping[str, int]
    future: "asyncio.Future[None]"
