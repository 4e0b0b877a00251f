"""Laws of contracts.machine_console.MachineConsole."""

import time

import pytest

from orchestrator.contracts.machine_console import MachineConsole
from orchestrator.foundation.errors import TargetError

PRINTED_SECONDS_MAX = 60.0


class MachineConsoleLaws:
    """Fixtures: `console`; `machine`, the id of a machine that was asked for just now. `absent` is the id of none."""

    absent: str

    def test_what_a_machine_prints_comes_late_and_stays(self, console: MachineConsole, machine: str) -> None:
        deadline = time.monotonic() + PRINTED_SECONDS_MAX
        while not (printed := console.printed(machine)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "login:" in printed
        assert len(printed) <= 64 * 1024
        assert console.printed(machine) == printed

    def test_its_screen_is_a_picture(self, console: MachineConsole, machine: str) -> None:
        picture = console.picture(machine)
        assert picture is not None
        assert picture.media_type == "image/jpeg"
        assert picture.content.startswith(b"\xff\xd8\xff")

    def test_a_machine_that_is_not_there_is_refused(self, console: MachineConsole) -> None:
        for ask in (console.printed, console.picture):
            with pytest.raises(TargetError):
                ask(self.absent)
