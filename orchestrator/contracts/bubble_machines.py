"""Machines within bubbles: started from held images that they never write, by what the host has for it."""

from typing import Literal, Protocol

from orchestrator.contracts.bubbles import BubbleData
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.machine_boot import MachineBoot
from orchestrator.model.names import DatasetName, SystemName

ADDRESS = "127.0.0.1"  # at which the ports of machines are within their bubble
PLACE = "/run/skerry-machines"  # in a bubble's own /run: a folder for each image, with what its machine wrote
CONSOLE_BYTES_MAX = 64 * 1024  # the end of what a machine printed; as much as EC2 keeps


class BubbleMachine(Frozen):
    """A machine of an open bubble. `disks`: images that are held on its host, the first boots."""

    name: str  # see machine_name
    disks: tuple[str, ...]
    boot: MachineBoot


class StartedMachine(Frozen):
    """`firmware` is what was found where the wish left it open; `accelerator` tells whose processor it has."""

    firmware: Literal["bios", "uefi", "kernel"]
    accelerator: Literal["kvm", "tcg"]


class MachineSeen(Frozen):
    """A machine now. `ended` says why it runs no more, "" while it does; `console` is the end of what it printed."""

    ended: str
    console: str


class Picture(Frozen):
    """What a machine's screen shows."""

    content: bytes
    media_type: str


class BubbleMachines(Protocol):
    """Machines of bubbles on hosts.

    Laws (tests/laws/bubble_machines_laws.py):
      boot     starts the machine and returns while it comes up; never writes an image; refuses an image from which
               nothing can start, and what the host cannot give
      boot     of a machine that runs is refused
      look     gives its console and whether it runs; one that was never started is refused
      picture  is an image of its screen; of a machine that has ended it is refused
      greeting is the first that a service says at one of the machine's ports, "" where nobody says anything
    A machine ends with its bubble, whoever ends that. Fails with DataError for what the host refuses, else with a
    HostError.
    """

    def boot(self, host: Host, bubble: str, machine: BubbleMachine) -> StartedMachine: ...

    def look(self, host: Host, bubble: str, name: str) -> MachineSeen: ...

    def picture(self, host: Host, bubble: str, name: str) -> Picture: ...

    def greeting(self, host: Host, bubble: str, port: int) -> str: ...


def machine_name(system: SystemName, volume: DatasetName) -> str:
    """Datasets of several systems may have one name."""
    return f"{system}.{volume}"


def image_data(system: SystemName, volume: DatasetName, held: str) -> BubbleData:
    """A held image as a bubble is opened with it: nothing of it is cloned, its machine writes aside."""
    return BubbleData(
        name=volume, held=held, places=(("", f"{PLACE}/{machine_name(system, volume)}"),), image=True
    )
