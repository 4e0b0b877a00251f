"""contracts.bubbles.Bubbles by a program on the host: namespaces of Linux, clones by layers or shared blocks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.contracts.bubbles import (
    BubbleClone,
    BubbleCluster,
    BubbleData,
    BubbleService,
    ForbiddenTarget,
    Isolation,
    Leftovers,
    StartedUnit,
)
from orchestrator.contracts.programs import root_user, run_program
from orchestrator.contracts.transport import Transports
from orchestrator.foundation.errors import CommandFailed, DataError
from orchestrator.model.host import Host
from orchestrator.model.names import Name

PROGRAM = Path(__file__).with_name("host_programs") / "bubble"
APPEARANCE = Path(__file__).with_name("host_programs") / "appearance.py"
ROOT = "/var/lib/skerry/bubbles"
CLONE_SECONDS_MAX = 6 * 3600.0
START_SECONDS_MAX = 900.0
ASK_SECONDS_MAX = 120.0


class HostBubbles:
    """Needs root on the host, and namespaces and layers that its kernel allows."""

    def __init__(self, transports: Transports) -> None:
        self._transports = transports

    def open(
        self, host: Host, bubble: str, data: Sequence[BubbleData], units: Sequence[Name], *, seconds_max: float
    ) -> Sequence[BubbleClone]:
        if host.path_prefix:
            raise DataError(
                f"{host.name} shares its file system and its network with other hosts: nothing on it can be isolated",
                hint="Drill on a host of its own.",
            )
        datasets = [{"name": one.name, "from": one.held, "places": [list(each) for each in one.places]} for one in data]
        result = self._ask(
            host,
            "open",
            bubble,
            CLONE_SECONDS_MAX,
            datasets=datasets,
            units=list(units),
            addresses=[host.address],
            seconds_max=seconds_max,
        )
        return [BubbleClone.model_validate(clone) for clone in result["clones"]]

    def prove(self, host: Host, bubble: str, targets: Sequence[ForbiddenTarget]) -> Isolation:
        asked = [target.model_dump(mode="json") for target in targets]
        return Isolation.model_validate(self._ask(host, "attempt", bubble, ASK_SECONDS_MAX, targets=asked))

    def start(
        self, host: Host, bubble: str, services: Sequence[BubbleService], clusters: Sequence[BubbleCluster]
    ) -> Sequence[StartedUnit]:
        result = self._ask(
            host,
            "start",
            bubble,
            START_SECONDS_MAX,
            services=[service.model_dump(mode="json") for service in services],
            clusters=[cluster.model_dump(mode="json") for cluster in clusters],
        )
        return [
            StartedUnit(unit=one["unit"], port=one["port"], seconds=one["seconds"]) for one in result["started"]
        ]

    def run(self, host: Host, bubble: str, program: str, request: dict[str, Any], *, seconds_max: float) -> str:
        done = self._ask(
            host, "inside", bubble, seconds_max + 5, program=program, request=request, seconds_max=seconds_max
        )
        if not done["stdout"]:
            raise CommandFailed(f"{host.name}: {done['stderr'].strip() or done['exit_code']}")
        return str(done["stdout"])

    def shown(self, host: Host, units: Sequence[Name]) -> Mapping[str, str]:
        request = {"units": list(units)}
        return run_program(
            self._transports(host), APPEARANCE, request, user=root_user(host), timeout_seconds=ASK_SECONDS_MAX
        )

    def close(self, host: Host, bubble: str) -> Leftovers:
        return Leftovers.model_validate(self._ask(host, "close", bubble, ASK_SECONDS_MAX)["left"])

    def listed(self, host: Host) -> Sequence[str]:
        return tuple(self._ask(host, "list", "", ASK_SECONDS_MAX)["bubbles"])

    def _ask(self, host: Host, do: str, bubble: str, ask_seconds_max: float, **more: Any) -> dict[str, Any]:
        request = {"do": do, "root": ROOT, "bubble": bubble, **more}
        result = run_program(
            self._transports(host), PROGRAM, request, user=root_user(host), timeout_seconds=ask_seconds_max
        )
        if "failed" in result:
            raise DataError(f"{host.name}: {result['failed']}")
        return result
