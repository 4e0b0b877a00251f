"""Lets systems begin as their sites, hosts and links have room: in the order in which they came."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.engine.slots_store import SlotsStore
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.model.plan import Plan, SystemPlan

LOOK_AGAIN_SECONDS = 0.25  # slots may be given back by other workers


@dataclass(frozen=True)
class Limits:
    """How many systems may be under way at once. 0: as many as there are. A site or host named in the mapping has a
    limit of its own.
    """

    per_site: int = 0
    per_host: int = 0
    sites: Mapping[str, int] | None = None
    hosts: Mapping[str, int] | None = None

    def of(self, plan: Plan, planned: SystemPlan) -> dict[str, int]:
        """Limit by resource, for the resources that this system touches and that are limited."""
        names = {placement.host for placement in planned.system.placements.values()}
        for placement in planned.system.placements.values():
            names |= set(placement.datasets.values())
        wanted = {f"host:{name}": (self.hosts or {}).get(name, self.per_host) for name in names}
        for site in {plan.hosts[name].site for name in names if name in plan.hosts}:
            wanted[f"site:{site}"] = (self.sites or {}).get(site, self.per_site)
        return {resource: limit for resource, limit in sorted(wanted.items()) if limit > 0}


class Admission:
    """Slots for the systems of one worker. Lives in one event loop."""

    def __init__(self, slots: SlotsStore, limits: Limits) -> None:
        self._slots = slots
        self._limits = limits
        self._waiting: list[_Waiting] = []
        self._look_again = asyncio.Event()
        self._server: asyncio.Task[None] | None = None

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

    async def leave(self, holder: str) -> None:
        await asyncio.to_thread(self._slots.give_back, holder)
        self._look_again.set()

    async def _serve(self) -> None:
        while self._waiting:
            self._look_again.clear()
            # First come, first served for each resource: who has no room keeps the place before those behind.
            spoken_for: set[str] = set()
            for waiting in list(self._waiting):
                if waiting.future.cancelled() or (spoken_for.isdisjoint(waiting.wanted) and await self._takes(waiting)):
                    self._waiting.remove(waiting)
                else:
                    spoken_for |= set(waiting.wanted)
            if self._waiting and not self._look_again.is_set():
                alarm = asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, self._look_again.set)
                await self._look_again.wait()
                alarm.cancel()

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
