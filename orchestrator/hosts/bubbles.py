"""contracts.bubbles.Bubbles by a program on the host: namespaces of Linux, clones by layers or shared blocks."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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
from orchestrator.contracts.transport import CommandResult, Transport, Transports
from orchestrator.foundation.errors import DataError, HostError
from orchestrator.hosts.small_files import read_small_file, write_small_file
from orchestrator.model.host import Host
from orchestrator.model.names import Name

PROGRAM = Path(__file__).with_name("host_programs") / "bubble"
APPEARANCE = Path(__file__).with_name("host_programs") / "appearance.py"
# Without PAM, whose sessions belong to the host and not to a bubble.
AS_USER = 'exec setpriv --reuid="$(id -u "$0")" --regid="$(id -g "$0")" --init-groups -- "$@"'
ROOT = "/var/lib/skerry/bubbles"
CLONE_SECONDS_MAX = 6 * 3600.0
START_SECONDS_MAX = 900.0
ASK_SECONDS_MAX = 120.0
LEASE_SECONDS = 45.0  # a bubble ends so long after whoever opened it was last heard of
RENEWALS_PER_LEASE = 5
ENDED_SECONDS = 5.0  # until what had a lease is gone
LOOK_AGAIN_SECONDS = 1.0
HERE_ALREADY = "a bubble is here already"


class BubbleTransport:
    """A host's transport, within a bubble of it: every command enters the namespaces of the bubble's first process."""

    def __init__(self, outside: Transport, keeper: int) -> None:
        self._outside = outside
        self._enter = ["nsenter", "-t", str(keeper), "-m", "-n", "-p", "-u", "-i", "--"]

    @property
    def host(self) -> Host:
        return self._outside.host

    def run(
        self,
        words: Sequence[str],
        *,
        stdin: bytes = b"",
        user: str | None = None,
        timeout_seconds: float = 60.0,
        check: bool = True,
        environment: dict[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        as_user = ["sh", "-c", AS_USER, user] if user and user != "root" else []
        return self._outside.run(
            [*self._enter, *as_user, *words],
            stdin=stdin,
            user=root_user(self.host),
            timeout_seconds=timeout_seconds,
            check=check,
            environment=environment,
            on_line=on_line,
        )

    def read_file(self, path: str, *, user: str | None = None, bytes_max: int = 16 * 1024 * 1024) -> bytes:
        return read_small_file(self, path, user=user, bytes_max=bytes_max)

    def write_file(self, path: str, content: bytes, *, mode: int = 0o644, user: str | None = None) -> None:
        write_small_file(self, path, content, mode=mode, user=user)

    def forget(self) -> None:
        self._outside.forget()


class HostBubbles:
    """Needs root on the host, and namespaces and layers that its kernel allows."""

    def __init__(self, transports: Transports, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._transports = transports
        self._lease_seconds = lease_seconds
        self._leases: dict[tuple[str, str], tuple[threading.Event, threading.Thread]] = {}

    def open(
        self, host: Host, bubble: str, data: Sequence[BubbleData], units: Sequence[Name], *, seconds_max: float
    ) -> Sequence[BubbleClone]:
        if host.path_prefix:
            raise DataError(
                f"{host.name} shares its file system and its network with other hosts: nothing on it can be isolated",
                hint="Drill on a host of its own.",
            )
        datasets = [
            {
                "name": one.name,
                "from": one.held,
                "places": list(map(list, one.places)),
                "bytes_max": one.bytes_max,
                "image": one.image,
            }
            for one in data
        ]
        request = {
            "datasets": datasets,
            "units": list(units),
            "addresses": [host.address],
            "seconds_max": seconds_max,
            "lease_seconds": self._lease_seconds,
        }
        deadline = time.monotonic() + self._lease_seconds + ENDED_SECONDS
        while True:
            try:
                result = self._ask(host, "open", bubble, CLONE_SECONDS_MAX, **request)
                break
            except DataError as error:
                if HERE_ALREADY not in error.message or time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_AGAIN_SECONDS)
        for name, ended in [key for key in self._leases if key[0] == host.name]:
            self._let_go(name, ended)  # there is one bubble on a host
        self._renew(host, bubble, seconds_max)
        return [BubbleClone.model_validate(clone) for clone in result["clones"]]

    def _renew(self, host: Host, bubble: str, seconds_max: float) -> None:
        """Let the host hear of us, until the bubble is closed; it ends where we are killed."""
        over = threading.Event()
        until = time.monotonic() + seconds_max

        def go_on() -> None:
            while not over.wait(self._lease_seconds / RENEWALS_PER_LEASE) and time.monotonic() < until:
                with contextlib.suppress(HostError):  # unreachable for longer than the lease, and the bubble has ended
                    words = ["touch", "-c", f"{ROOT}/{bubble}/lease"]
                    self._transports(host).run(words, user=root_user(host), check=False)

        renewing = threading.Thread(target=go_on, daemon=True)
        self._leases[host.name, bubble] = over, renewing
        renewing.start()

    def _let_go(self, host: str, bubble: str) -> None:
        """Nothing of ours asks the host afterwards."""
        if lease := self._leases.pop((host, bubble), None):
            lease[0].set()
            lease[1].join(ASK_SECONDS_MAX)

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
        return [StartedUnit(unit=one["unit"], port=one["port"], seconds=one["seconds"]) for one in result["started"]]

    def transport(self, host: Host, bubble: str) -> Transport:
        keeper = self._ask(host, "keeper", bubble, ASK_SECONDS_MAX)["keeper"]
        return BubbleTransport(self._transports(host), keeper)

    def stop(self, host: Host, bubble: str, units: Sequence[Name]) -> None:
        self._ask(host, "stop", bubble, ASK_SECONDS_MAX, units=list(units))

    def shown(self, host: Host, units: Sequence[Name], *, estate: Sequence[str] = ()) -> Mapping[str, str]:
        request = {"units": list(units), "estate": list(estate)}
        return run_program(
            self._transports(host), APPEARANCE, request, user=root_user(host), timeout_seconds=ASK_SECONDS_MAX
        )

    def close(self, host: Host, bubble: str) -> Leftovers:
        self._let_go(host.name, bubble)
        return Leftovers.model_validate(self._ask(host, "close", bubble, ASK_SECONDS_MAX)["left"])

    def listed(self, host: Host) -> Sequence[str]:
        return tuple(self._ask(host, "list", "", ASK_SECONDS_MAX)["bubbles"])

    def _ask(self, host: Host, do: str, bubble: str, ask_seconds_max: float, **more: Any) -> dict[str, Any]:
        return ask_bubble(self._transports(host), do, bubble, ask_seconds_max, **more)


def ask_bubble(transport: Transport, do: str, bubble: str, ask_seconds_max: float, **more: Any) -> dict[str, Any]:
    """One request to the program on the host; DataError with the host's words for what it refuses."""
    host = transport.host
    request = {"do": do, "root": ROOT, "bubble": bubble, **more}
    result = run_program(transport, PROGRAM, request, user=root_user(host), timeout_seconds=ask_seconds_max)
    if "failed" in result:
        raise DataError(f"{host.name}: {result['failed']}")
    return result
