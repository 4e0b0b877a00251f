"""A HAProxy that clients speak to, switched by its runtime API on the host where it runs.

Exactly one server of a system's backend is ready, the others are in maintenance. A switch puts the others there first
and ends their connections, then makes the wanted one ready: at no moment two sides are served.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.contracts.programs import root_user, run_program
from orchestrator.contracts.target import FrontAnswer
from orchestrator.contracts.transport import Transports
from orchestrator.foundation.errors import HostError, HostUnreachable, TargetError, TargetUnreachable
from orchestrator.model.host import Host
from orchestrator.model.system import HaproxyFront

PROGRAM = Path(__file__).parent / "host_programs" / "haproxy_words.py"
SECONDS_MAX = 60.0
# Management guide, "show servers state": bits of srv_admin_state that keep clients away (maintenance, drain).
AWAY = 0x01 | 0x02 | 0x20 | 0x08 | 0x10


@dataclass(frozen=True)
class _Server:
    name: str
    address: str
    ready: bool


class HaproxyTraffic:
    """contracts.target.Front over HAProxy's runtime API. Clients keep no answer: the time to live is 0."""

    def __init__(self, transports: Transports, hosts: Mapping[str, Host]) -> None:
        self._transports = transports
        self._hosts = hosts

    def current(self, front: HaproxyFront) -> FrontAnswer | None:
        ready = [server for server in self._servers(front) if server.ready]
        if len(ready) > 1:
            raise TargetError(
                f"{front.name}: {len(ready)} servers of backend {front.backend} are ready; it was not switched by us",
                hint="Put all but one into maintenance (set server … state maint), then run the same command again.",
            )
        return FrontAnswer(address=ready[0].address, ttl_seconds=0) if ready else None

    def switch(self, front: HaproxyFront, address: str, *, key: str) -> FrontAnswer | None:
        """Send clients to `address`. Asked twice it changes nothing. Connections to the others are ended."""
        before = self.current(front)  # refuses a backend that is not ours to change
        servers = self._servers(front)
        wanted = [server for server in servers if server.address == address]
        if len(wanted) != 1:
            raise TargetError(
                f"{front.name}: backend {front.backend} at {front.host} has {len(wanted)} servers at {address}",
                hint="Give the backend one server for each side of the system, at that side's address.",
            )
        words = []
        for server in servers:
            if server is not wanted[0]:
                named = f"{front.backend}/{server.name}"
                words += [f"set server {named} state maint", f"shutdown sessions server {named}"]
        self._say(front, [*words, f"set server {front.backend}/{wanted[0].name} state ready"])
        return before

    def lower_ttl(self, front: HaproxyFront, ttl_seconds: int, *, key: str) -> FrontAnswer | None:
        return self.current(front)

    def settle(self, front: HaproxyFront, *, key: str) -> None:
        """Clients kept nothing."""

    def _servers(self, front: HaproxyFront) -> list[_Server]:
        found = [server for backend, server in _rows(self._say(front, [])) if backend == front.backend]
        if not found:
            raise TargetError(f"{front.name}: HAProxy at {front.host} has no backend {front.backend} with servers")
        return found

    def _say(self, front: HaproxyFront, words: list[str]) -> str:
        """Say `words`, each to be answered by nothing; returns the state of all servers afterwards."""
        host = self._hosts[front.host]
        request: dict[str, Any] = {
            "socket": host.path(front.socket),
            "state_file": host.path(front.state_file) if front.state_file else "",
            "words": words,
        }
        with _host_errors(front):
            transport = self._transports(host)
            told = run_program(transport, PROGRAM, request, user=root_user(host), timeout_seconds=SECONDS_MAX)
        for asked, answer in zip(words, told["said"], strict=True):
            if answer:
                raise TargetError(f"{front.name}: HAProxy at {front.host}, asked to {asked}: {answer}")
        return str(told["state"])


def _rows(state: str) -> Iterator[tuple[str, _Server]]:
    """(backend, server) of what `show servers state` says."""
    lines = state.splitlines()
    names = next((line.lstrip("# ").split() for line in lines if line.startswith("#")), [])
    for line in lines:
        row = dict(zip(names, line.split(), strict=False))
        if line[:1] not in ("", "#") and "srv_admin_state" in row:
            ready = not int(row["srv_admin_state"]) & AWAY
            yield row["be_name"], _Server(row["srv_name"], row["srv_addr"], ready)


@contextmanager
def _host_errors(front: HaproxyFront) -> Iterator[None]:
    """What goes wrong on the way to the proxy, in the words of the front's contract."""
    try:
        yield
    except HostUnreachable as error:
        raise TargetUnreachable(f"{front.name}: {error.message}") from error
    except HostError as error:
        raise TargetError(
            f"{front.name}: {error.message}",
            hint=f"Does HAProxy run at {front.host}, with `stats socket {front.socket}"
            " level admin`? Debian's package haproxy brings it.",
        ) from error
