"""The machine that this program runs on, as a host: the same laws, without a connection."""

import getpass
from collections.abc import Callable, Sequence

from orchestrator.contracts.transport import CommandResult
from orchestrator.foundation.limits import COMMAND_OUTPUT_BYTES_MAX
from orchestrator.hosts.bounded_command import KILL_AFTER_SECONDS, bounded
from orchestrator.hosts.command_results import judged, without_mark
from orchestrator.hosts.process_pump import pump
from orchestrator.hosts.small_files import read_small_file, write_small_file
from orchestrator.model.host import Host


class LocalTransport:
    """contracts.transport.Transport for the machine this program runs on."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._login_user = getpass.getuser()

    @property
    def host(self) -> Host:
        return self._host

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
        become = user if self._host.become and user not in (None, self._login_user) else None
        command = bounded(
            words, timeout_seconds=timeout_seconds, stdin_bytes=len(stdin), environment=environment, sudo_user=become
        )
        pumped = pump(
            command.words,
            stdin=stdin,
            seconds_max=timeout_seconds + 1.0,
            ending_seconds=KILL_AFTER_SECONDS + 1.0,
            output_bytes_max=COMMAND_OUTPUT_BYTES_MAX,
            on_line=on_line,
        )
        return judged(
            self._host.name,
            words,
            without_mark(pumped, command),
            timeout_seconds=timeout_seconds,
            check=check,
            user=become,
        )

    def read_file(self, path: str, *, user: str | None = None, bytes_max: int = COMMAND_OUTPUT_BYTES_MAX - 1) -> bytes:
        return read_small_file(self, path, user=user, bytes_max=bytes_max)

    def write_file(self, path: str, content: bytes, *, mode: int = 0o644, user: str | None = None) -> None:
        write_small_file(self, path, content, mode=mode, user=user)

    def forget(self) -> None:
        """Nothing is kept."""
