"""Machines of bubbles in memory, that obey contracts.bubble_machines.BubbleMachines: what they say can be set."""

from dataclasses import dataclass, field

from orchestrator.contracts.bubble_machines import BubbleMachine, MachineSeen, Picture, StartedMachine
from orchestrator.foundation.errors import DataError
from orchestrator.model.host import Host
from tests.fakes.bubbles import FakeBubbles

PNG = b"\x89PNG\r\n\x1a\n" + b"a screen"


@dataclass
class FakeMachines:
    """`bubbles` says which bubbles are open. A machine says one line of `lines` more each time it is looked at."""

    bubbles: FakeBubbles
    lines: list[str] = field(default_factory=lambda: ["Linux version 6.1", "filing login:"])
    greets: dict[int, str] = field(default_factory=dict)  # what is said first, by port
    ends_after: int = 0  # looks; 0: it goes on
    nothing_starts_from: str = ""  # part of the path of a disk from which nothing starts
    running: dict[tuple[int, str], int] = field(default_factory=dict)  # which opening, and machine → looks so far
    asked: list[BubbleMachine] = field(default_factory=list)

    def boot(self, host: Host, bubble: str, machine: BubbleMachine) -> StartedMachine:
        if self.bubbles.open_on.get(host.name) != bubble:
            raise DataError(f"there is no bubble {bubble}")
        if (self._opening, machine.name) in self.running:
            raise DataError(f"{machine.name} runs already")
        if self.nothing_starts_from and self.nothing_starts_from in machine.disks[0]:
            raise DataError(f"{host.name}: {machine.disks[0]}: no machine starts from it")
        self.running[self._opening, machine.name] = 0
        self.asked.append(machine)
        found = "kernel" if machine.boot.firmware == "auto" else machine.boot.firmware
        return StartedMachine(firmware=found, accelerator="tcg")

    def look(self, host: Host, bubble: str, name: str) -> MachineSeen:
        looks = self._looks(host, bubble, name) + 1
        self.running[self._opening, name] = looks
        ended = "it switched itself off" if 0 < self.ends_after <= looks else ""
        return MachineSeen(ended=ended, console="\r\n".join(self.lines[:looks]))

    def picture(self, host: Host, bubble: str, name: str) -> Picture:
        looks = self._looks(host, bubble, name)
        if 0 < self.ends_after <= looks:
            raise DataError("the machine does not answer: it switched itself off")
        return Picture(content=PNG, media_type="image/png")

    def greeting(self, host: Host, bubble: str, port: int) -> str:
        return self.greets.get(port, "")

    def _looks(self, host: Host, bubble: str, name: str) -> int:
        if self.bubbles.open_on.get(host.name) != bubble or (self._opening, name) not in self.running:
            raise DataError(f"no machine was started from {name}")
        return self.running[self._opening, name]

    @property
    def _opening(self) -> int:
        """A machine ends with its bubble, though another is opened by the same name."""
        return self.bubbles.asked.count("open")
