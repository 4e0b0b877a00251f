"""Machines of a system within a bubble: each starts from its held image, and is watched until it is up."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.bubble_machines import BubbleMachine, MachineSeen, image_data, machine_name
from orchestrator.contracts.bubbles import BubbleData
from orchestrator.contracts.drivers import Drivers
from orchestrator.foundation.errors import DataError, DigestMismatch
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.model.machine_boot import MachineBoot
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.system import System
from orchestrator.steps.machine_shown import MachineShown, shown_of, watched

LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class MachinesWithin:
    """The machines of `system` as `point` holds their images on `host`, in the bubble `bubble`."""

    drivers: Drivers
    system: System
    point: RecoveryPoint
    host: Host
    bubble: str

    @property
    def volumes(self) -> list[BlockVolume]:
        return [each for each in self.system.datasets if isinstance(each, BlockVolume)]

    @property
    def ports(self) -> set[int]:
        """At which machines are reached."""
        return {port.port for each in self.volumes if each.boot is not None for port in each.boot.ports}

    def held(self, volume: BlockVolume) -> BubbleData:
        """DataError for a volume that no machine starts with, or that is not held."""
        told = {name for each in self.volumes if each.boot is not None for name in (each.name, *each.boot.disks)}
        if volume.name not in told:
            raise DataError(
                f"{volume.name}: nothing says how a machine is started from it, so no bubble can show that it is fit",
                hint="Nothing was opened. Give the volume `boot`, or name it among the `disks` of one that has.",
            )
        held = self.drivers.volumes.points(volume, self.host).find(self.point.id)
        if held is None:
            raise DataError(f"{volume.name}: {self.host.name} does not hold {self.point.id}")
        return image_data(self.system.name, volume.name, held.path)

    def compare(self, proved: dict[str, str]) -> None:
        """DigestMismatch for a held image that is not what was proved when the point was taken."""
        for volume in self.volumes:
            found = self.drivers.volumes.digest(volume, self.host, point=self.point.id).digest
            if found != proved[volume.name]:
                raise DigestMismatch(
                    f"{volume.name}: what {self.host.name} holds as {self.point.id} is {found}; "
                    f"it was proved to be {proved[volume.name]}"
                )

    def start(self) -> Iterator[tuple[MachineShown, dict[str, Any]]]:
        """Each machine in turn, with the event that tells of it, once it is up or given up."""
        for volume in self.volumes:
            if volume.boot is not None:
                yield self._started(volume, volume.boot)

    def _started(self, volume: BlockVolume, boot: MachineBoot) -> tuple[MachineShown, dict[str, Any]]:
        machines, name = self.drivers.bubble_machines, machine_name(self.system.name, volume.name)
        by_name = {each.name: each for each in self.volumes}
        disks = tuple(self.held(by_name[each]).held for each in (volume.name, *boot.disks))
        started = machines.boot(self.host, self.bubble, BubbleMachine(name=name, disks=disks, boot=boot))

        def look() -> MachineSeen:
            return machines.look(self.host, self.bubble, name)

        found = watched(
            self.drivers.clock, boot, look, lambda: self._silent(boot), every_seconds=LOOK_AGAIN_SECONDS
        )
        try:
            picture = machines.picture(self.host, self.bubble, name)
        except DataError:  # it has ended; that it has is among what is wrong, or the next look will tell
            picture = None
        return shown_of(volume.name, started.firmware, started.accelerator, found, picture)

    def _silent(self, boot: MachineBoot) -> Iterator[str]:
        """Ports that do not say what they are to say."""
        for port in (each for each in boot.ports if each.banner):
            said = self.drivers.bubble_machines.greeting(self.host, self.bubble, port.port)
            if not re.search(port.banner, said):
                yield f"port {port.port} says {said[:80]!r}, not {port.banner!r}"
