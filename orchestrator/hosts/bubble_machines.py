"""contracts.bubble_machines.BubbleMachines by the program on the host: QEMU, within the namespaces of a bubble."""

import base64
from typing import Any

from orchestrator.contracts.bubble_machines import BubbleMachine, MachineSeen, Picture, StartedMachine
from orchestrator.contracts.transport import Transports
from orchestrator.hosts.bubbles import ask_bubble
from orchestrator.model.host import Host

ASK_SECONDS_MAX = 120.0


class HostBubbleMachines:
    """Needs qemu-system-x86_64 on the host, and its processor's help where it shall be quick (/dev/kvm)."""

    def __init__(self, transports: Transports) -> None:
        self._transports = transports

    def boot(self, host: Host, bubble: str, machine: BubbleMachine) -> StartedMachine:
        asked = machine.model_dump(mode="json")
        return StartedMachine.model_validate(self._ask(host, "boot", bubble, machine=asked))

    def look(self, host: Host, bubble: str, name: str) -> MachineSeen:
        return MachineSeen.model_validate(self._ask(host, "machine", bubble, name=name))

    def picture(self, host: Host, bubble: str, name: str) -> Picture:
        found = self._ask(host, "picture", bubble, name=name)
        return Picture(content=base64.b64decode(found["content"]), media_type=found["media_type"])

    def greeting(self, host: Host, bubble: str, port: int) -> str:
        said: str = self._ask(host, "greeting", bubble, port=port)["said"]
        return said

    def _ask(self, host: Host, do: str, bubble: str, **more: Any) -> dict[str, Any]:
        return ask_bubble(self._transports(host), do, bubble, ASK_SECONDS_MAX, **more)
