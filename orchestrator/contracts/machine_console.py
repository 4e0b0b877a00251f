"""What a machine of the cloud printed and shows, told by the provider: nobody needs to reach the machine for it."""

from typing import Protocol

from orchestrator.contracts.bubble_machines import Picture


class MachineConsole(Protocol):
    """Laws (tests/laws/machine_console_laws.py):
      printed  the end of what a machine printed, 64 KiB at most; "" before anything has come, which may be minutes
      picture  of its screen; None where the provider has none of it
    Fails only with TargetError and its kin, so for a machine that is not there.
    """

    def printed(self, machine_id: str) -> str: ...

    def picture(self, machine_id: str) -> Picture | None: ...
