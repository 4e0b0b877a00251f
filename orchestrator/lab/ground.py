"""What the daemon asks of the ground a lab stands on; namespaces and loopback addresses are the two grounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orchestrator.lab.blueprint import LabHost
from orchestrator.lab.faults import Fault


@dataclass
class HostRecord:
    """A host of this lab as the daemon knows it."""

    host: LabHost
    tree: Path  # its /etc, /var, … on this machine
    disks: dict[str, str] = field(default_factory=dict)
    wanted_on: bool = True

    @property
    def name(self) -> str:
        return self.host.name


@dataclass(frozen=True)
class Launch:
    """How a command is started so that it runs within a host as root."""

    words: Sequence[str]
    environment: Mapping[str, str]
    folder: str


class Ground(Protocol):
    """Where hosts are made. Calls come one at a time. Fails only with LabError."""

    def prepare(self) -> None:
        """Before the first host."""
        ...

    def attach(self, record: HostRecord) -> None:
        """Give a host its place in the network; called once per host, before its first boot."""
        ...

    def detach(self, record: HostRecord) -> None:
        """Take the place away again; the host is off."""
        ...

    def boot(self, record: HostRecord) -> None:
        """Start the host's first process; does not wait for SSH."""
        ...

    def halt(self, record: HostRecord) -> None:
        """Kill every process of the host and wait until they are gone."""
        ...

    def is_on(self, record: HostRecord) -> bool: ...

    def launch(self, record: HostRecord, words: Sequence[str], environment: Mapping[str, str]) -> Launch:
        """What to start so that `words` run as root in the host, which is on."""
        ...

    def signal_all(self, record: HostRecord, number: int) -> None:
        """Send a signal to every process of the host but its first."""
        ...

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """Make the network as these faults say, and as nothing else says; other kinds of fault are passed over."""
        ...

    def end(self) -> None:
        """Leave nothing behind; hosts are off."""
        ...
