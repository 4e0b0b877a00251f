"""What production shows before and after a drill, and what of it must not be reached from within a bubble."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from orchestrator.contracts.bubbles import ForbiddenTarget
from orchestrator.contracts.drivers import Drivers
from orchestrator.foundation.errors import HostError
from orchestrator.model.host import Host
from orchestrator.model.names import HostName
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.steps.bubble_system import clusters_of, units_of
from orchestrator.steps.injects import Inject

DNS_PORT, SMTP_PORT, METADATA = 53, 25, "169.254.169.254"
LOOK_SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Looks:
    """Looks at production around the systems of a drill."""

    hosts: Mapping[HostName, Host]
    drivers: Drivers
    inject: Inject

    def forbidden(self, systems: Iterable[System]) -> list[ForbiddenTarget]:
        """Every host of the estate, the systems' services and databases, names, mail, and the cloud's metadata."""
        systems = list(systems)
        served = sorted({service.port for system in systems for service in system.services})
        ports = {*served, *(cluster.port for system in systems for cluster in clusters_of(system))}
        targets: list[ForbiddenTarget] = []
        for host in self.hosts.values():
            where = host.address
            targets += [ForbiddenTarget(name=host.name, address=where, port=port) for port in {host.port, *ports}]
            targets.append(ForbiddenTarget(name=f"mail at {host.name}", address=where, port=SMTP_PORT))
            targets.append(ForbiddenTarget(name=f"names at {host.name}", address=where, port=DNS_PORT, datagram=True))
        for system in systems:
            if front := self.drivers.front.current(system.front):
                name = system.front.name
                targets += [ForbiddenTarget(name=name, address=front.address, port=port) for port in served]
        targets.append(ForbiddenTarget(name="the cloud's metadata", address=METADATA, port=80))
        return targets

    def production(self, systems: Iterable[System]) -> tuple[dict[str, str], list[str]]:
        """What production shows, wherever the systems have hosts that are there, and where clients are sent.

        And which hosts of the source could not be looked at: a drill needs none of them, but says so.
        """
        shown: dict[str, str] = {}
        unseen: list[str] = []
        for system in systems:
            for side in (Side.SOURCE, Side.DR):
                for host in self._hosts(system, side):
                    try:
                        shown |= self._host(system, host, side)
                    except HostError as error:
                        if side is Side.DR:
                            raise
                        unseen.append(f"{host.name} could not be looked at: {error.message}")
            front = self.drivers.front.current(system.front)
            shown[f"front {system.front.name}"] = front.address if front else ""
            held = self.drivers.authority.read(system.name)
            shown[f"authority over {system.name}"] = f"{held.side.value}, number {held.number}"
            for look in system.looks:
                done = self.drivers.transports(self.hosts[look.host]).run(look.words, timeout_seconds=LOOK_SECONDS_MAX)
                shown[f"{look.name} of {system.name}"] = done.text
        names = {system.name for system in systems}
        for thing in self.drivers.cloud_things.all():
            if thing.tags.get("skerry:system") in names:
                shown[f"cloud {thing.kind} {thing.id}"] = thing.state
        return shown, unseen

    def _hosts(self, system: System, side: Side) -> Iterator[Host]:
        for name in sorted(system.hosts_of(side)):
            yield self.inject.primary(self.hosts[name]) if side is Side.SOURCE else self.hosts[name]

    def _host(self, system: System, host: Host, side: Side) -> dict[str, str]:
        """Mail and calls are looked at where nobody is served: at the source both go on by themselves."""
        estate = [each.address for each in self.hosts.values()] if side is Side.DR else []
        found = self.drivers.bubbles.shown(host, units_of(system), estate=estate)
        return {f"{host.name}: {about}": text for about, text in found.items()}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for about in sorted({*before, *after}):
        if before.get(about) != after.get(about):
            yield f"{about} was {before.get(about)!r} and is {after.get(about)!r}"
