"""One open OpenSSH connection to a host (a control master of our own), over which commands run as sessions.

The master's own session reads our pipe: when this program ends, however it ends, the pipe closes, the session ends, the
sessions of running commands lose their lifeline, and the master goes. No process and no socket needs a second cleaner.
"""

import os
import selectors
import subprocess
import threading
import time
from pathlib import Path

from orchestrator.foundation.errors import AccessDenied, HostUnreachable, MissingTool
from orchestrator.foundation.limits import SSH_CONNECT_SECONDS_MAX, SSH_SESSIONS_PER_CONNECTION_MAX
from orchestrator.hosts.ssh_configuration import NO_CLIENT_HINT, SshConfiguration
from orchestrator.hosts.ssh_errors import connection_error
from orchestrator.model.host import Host

_READY = b"skerry-ready"
_SSH_FAILED = 255  # any other code is the remote shell's
_CLOSE_SECONDS = 2.0
_NOTICE_SECONDS = 0.5
# Connecting, key exchange and login together; the connect timeout of ssh itself covers the first part only.
_OPEN_SECONDS_MAX = SSH_CONNECT_SECONDS_MAX + 15.0


class SshConnection:
    """An open connection. `open` it first; any thread may run sessions over it; `close` it once."""

    def __init__(self, host: Host, configuration: SshConfiguration, socket: Path) -> None:
        self.host = host
        self.configuration = configuration
        self.socket = socket
        self.sessions = 0  # counted by its pool, under the pool's lock
        self.refused_alone = 0  # how often the host refused a session when no other was running
        self.sessions_max = SSH_SESSIONS_PER_CONNECTION_MAX  # lowered when this host's sshd takes fewer
        self.log = socket.with_suffix(".log")
        self._master: subprocess.Popen[bytes] | None = None
        self._closing = threading.Lock()

    @property
    def alive(self) -> bool:
        return self._master is not None and self._master.poll() is None and self.socket.exists()

    def stands(self) -> bool:
        """Whether the connection outlives a session that broke. A master sees its own end only a moment later."""
        if self._master is None:
            return False
        try:
            self._master.wait(timeout=_NOTICE_SECONDS)
        except subprocess.TimeoutExpired:
            return True
        return False

    def open(self) -> None:
        """Connect and log in. Raises HostUnreachable, HostKeyMismatch, AccessDenied; MissingTool for this machine."""
        words = [
            *("ssh", "-F", str(self.configuration.file), "-M", "-S", str(self.socket).replace("%", "%%"), "-T"),
            *(self.host.name, f"echo {_READY.decode()}; exec cat >/dev/null"),
        ]
        # A file, not a pipe: nobody reads along while the connection stands, and a full pipe would stop the master.
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._master = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        except FileNotFoundError as error:
            raise MissingTool("this machine has no ssh client", hint=NO_CLIENT_HINT) from error
        finally:
            os.close(log)
        try:
            ready = self._await_ready(self._master)
        except BaseException:
            self.close()
            raise
        if not ready:
            ended = self._master.poll()
            self.close()
            said = self.said()
            if ended is not None and ended >= 0 and ended != _SSH_FAILED:
                raise AccessDenied(
                    f"{self.host.name} lets {self.configuration.user} in, but its login shell runs no command"
                    f" (it ended with {ended}): {said.strip() or 'no word'}",
                    hint="Give the login user a POSIX shell, or name another user.",
                )
            if ended is None and not said.strip():
                raise HostUnreachable(
                    f"{self.host.name} ({self.host.address}:{self.host.port}) did not log us in"
                    f" within {_OPEN_SECONDS_MAX:g}s"
                )
            raise connection_error(self.host, self.configuration, said)

    def _await_ready(self, master: subprocess.Popen[bytes]) -> bool:
        """Whether the remote side spoke. A login shell may print a greeting before."""
        if master.stdout is None:
            return False
        deadline = time.monotonic() + _OPEN_SECONDS_MAX
        heard = b""
        with selectors.DefaultSelector() as selector:
            selector.register(master.stdout, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if not selector.select(left):
                    break
                piece = os.read(master.stdout.fileno(), 4096)
                if not piece:
                    break
                heard = (heard + piece)[-65_536:]
                if _READY in heard:
                    return True
        if master.poll() is None:
            # Its output ended or its time is over; give it a moment to say why and go.
            try:
                master.wait(timeout=min(1.0, max(0.0, deadline - time.monotonic()) + 0.1))
            except subprocess.TimeoutExpired:
                return False
        return False

    def session_words(self, line: str) -> list[str]:
        """The ssh command that runs `line` over this connection and no other: a dead master is an error, no detour."""
        return [
            *("ssh", "-F", "none", "-S", str(self.socket).replace("%", "%%"), "-o", "ProxyCommand=/bin/false"),
            *("-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-T", self.host.name, line),
        ]

    def said(self) -> str:
        """What the master printed on stderr so far."""
        try:
            return self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def close(self) -> None:
        """End the connection; commands still running over it end on the host too."""
        with self._closing:
            master = self._master
            if master is None:
                return
            if master.stdin is not None and not master.stdin.closed:
                master.stdin.close()
            for stop in (None, master.terminate, master.kill):
                if stop is not None:
                    stop()
                try:
                    master.wait(timeout=_CLOSE_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    continue
            if master.stdout is not None:
                master.stdout.close()
            self.socket.unlink(missing_ok=True)

    def discard_log(self) -> None:
        self.log.unlink(missing_ok=True)
