"""Open connections to one host, as many as its sshd asks for: by default it takes ten sessions on a connection."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.foundation.errors import AccessDenied, HostError
from orchestrator.hosts.ready_hands import ReadyHands
from orchestrator.hosts.ssh_configuration import SshConfiguration
from orchestrator.hosts.ssh_connection import SshConnection
from orchestrator.model.host import Host

_REFUSALS_MAX = 3


class SshPool:
    """Gives each session a connection that is alive and has room. Safe for any number of threads."""

    def __init__(self, host: Host, configuration: SshConfiguration, sockets: Path, stem: str) -> None:
        self.host = host
        self.configuration = configuration
        self._sockets = sockets
        self._stem = stem
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._connections: list[SshConnection] = []
        self._made = 0
        self._refused: tuple[float, HostError] | None = None
        self.hands = ReadyHands(self.session)

    @contextmanager
    def session(self) -> Iterator[SshConnection]:
        """A connection with one more session on it. Raises what opening one raises."""
        connection = self._with_room() or self._opened()
        try:
            yield connection
        finally:
            with self._lock:
                connection.sessions -= 1

    def is_full(self, connection: SshConnection) -> None:
        """The host refused one more session on `connection`: its sshd takes few. What runs there goes on."""
        with self._lock:
            connection.sessions_max = max(1, min(connection.sessions_max, connection.sessions))
            connection.refused_alone += connection.sessions == 0
        if connection.refused_alone > _REFUSALS_MAX:
            raise AccessDenied(
                f"{self.host.name}: its sshd takes a single session on a connection",
                hint="Set MaxSessions to 10, which is the default, or at least to 2, in the host's sshd_config.",
            )

    def discard(self, connection: SshConnection) -> None:
        """Never give `connection` out again."""
        with self._lock:
            if connection in self._connections:
                self._connections.remove(connection)
        connection.close()
        connection.discard_log()

    def forget(self) -> None:
        """Close all; the next session opens a new one."""
        self.hands.close()
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()
            connection.discard_log()

    def _with_room(self) -> SshConnection | None:
        with self._lock:
            dead = [connection for connection in self._connections if not connection.alive]
            self._connections = [connection for connection in self._connections if connection.alive]
            found = next((one for one in self._connections if one.sessions < one.sessions_max), None)
            if found is not None:
                found.sessions += 1
        for connection in dead:
            connection.close()
            connection.discard_log()
        return found

    def _opened(self) -> SshConnection:
        asked_at = time.monotonic()
        with self._opening:
            # Somebody may have opened one, or been refused, while we waited: twenty callers make one attempt.
            if found := self._with_room():
                return found
            if self._refused is not None and self._refused[0] >= asked_at:
                refused = self._refused[1]
                raise type(refused)(refused.message, hint=refused.hint)
            self._made += 1
            # Another process that closed its connections may have removed the folder when it was empty.
            self._sockets.mkdir(mode=0o700, exist_ok=True)
            connection = SshConnection(self.host, self.configuration, self._sockets / f"{self._stem}.{self._made}")
            try:
                connection.open()
            except HostError as error:
                self._refused = (time.monotonic(), error)
                connection.discard_log()
                raise
            with self._lock:
                connection.sessions += 1
                self._connections.append(connection)
            return connection
