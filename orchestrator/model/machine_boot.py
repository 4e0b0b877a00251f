"""How a machine is started from a volume in a drill's bubble, and what shows that it is up."""

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import DatasetName, Seconds


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from None
    return text


def _interface(text: str) -> str:
    if ipaddress.IPv4Interface(text).network.num_addresses < 8:
        raise ValueError("must be an IPv4 address with its network, /29 or wider: 192.0.2.10/24")
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class MachinePort(Frozen):
    """A TCP port of the machine. Within the bubble it is at 127.0.0.1, where checks of that port ask it."""

    port: int = Field(ge=1, le=65535)
    # What is to be found in the first words that the service says. "" for one that waits to be asked, as web servers
    # do: then a check of the system has to ask it.
    banner: Pattern = ""


class MachineBoot(Frozen):
    """A machine of its own memory and processors, whose one network reaches nobody but the bubble's own processes."""

    # `auto`: UEFI where the disk has an EFI partition, BIOS where it has a boot record, else the kernel of the ext file
    # system that begins with the disk, from its folder /boot.
    firmware: Literal["auto", "bios", "uefi", "kernel"] = "auto"
    command_line: str = "root=/dev/vda ro console=tty0 console=ttyS0"  # of a kernel that no loader starts
    # Of the machine's disk and network: `emulated` for systems that have drivers for old hardware alone.
    devices: Literal["virtio", "emulated"] = "virtio"
    memory_mib: int = Field(default=1024, ge=32, le=1024 * 1024)
    cpus: int = Field(default=1, ge=1, le=64)
    disks: tuple[DatasetName, ...] = ()  # further volumes of the system, in the order in which the machine has them
    # The address that the machine has by its own configuration. One that asks for an address is given this one.
    address: Annotated[str, AfterValidator(_interface)] = "10.0.2.15/24"
    ports: tuple[MachinePort, ...] = ()
    console: Pattern = ""  # what its serial console is to say; "" for a machine that has none
    up_within: Seconds = 600.0
