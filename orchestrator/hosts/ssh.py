"""Hosts over SSH: the Transport that uses this machine's OpenSSH client."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.contracts.programs import program_text
from orchestrator.contracts.transport import CommandResult
from orchestrator.foundation.errors import CommandFailed, HostError, HostUnreachable
from orchestrator.foundation.limits import COMMAND_OUTPUT_BYTES_MAX
from orchestrator.hosts.bounded_command import KILL_AFTER_SECONDS, bounded
from orchestrator.hosts.command_results import judged, last_lines, without_mark
from orchestrator.hosts.process_pump import Pumped, pump
from orchestrator.hosts.ready_hands import STDIN_BYTES_MAX, HandGone
from orchestrator.hosts.shell_words import shell_line, shown
from orchestrator.hosts.small_files import read_small_file, write_small_file
from orchestrator.hosts.ssh_configuration import SshConfiguration, write_configuration
from orchestrator.hosts.ssh_connection import SshConnection
from orchestrator.hosts.ssh_pool import SshPool
from orchestrator.model.host import Host

# The host ends the command itself; we wait a little longer for its word before we stop asking.
_ANSWER_SECONDS = 2.0
_ENDING_SECONDS = KILL_AFTER_SECONDS + 1.5
# Each attempt after the first follows a session that was not opened, so that nothing has run yet.
_SESSION_ATTEMPTS_MAX = 32
# A socket's address holds 107 bytes, of which ssh takes 17 for the name it binds first.
_SOCKET_FOLDER_BYTES_MAX = 62


class SshTransport:
    """contracts.transport.Transport over kept OpenSSH connections. Any number of threads may use it."""

    def __init__(self, pool: SshPool) -> None:
        self._pool = pool

    @property
    def host(self) -> Host:
        return self._pool.host

    @property
    def login_user(self) -> str:
        return self._pool.configuration.user

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
        become = self._become(user)
        by_hand = self._by_hand(become, words, stdin, timeout_seconds, environment) if on_line is None else None
        if by_hand is not None:
            return judged(self.host.name, words, by_hand, timeout_seconds=timeout_seconds, check=check, user=become)
        command = bounded(
            words, timeout_seconds=timeout_seconds, stdin_bytes=len(stdin), environment=environment, sudo_user=become
        )
        line = shell_line(command.words)
        for _ in range(_SESSION_ATTEMPTS_MAX):
            with self._pool.session() as connection:
                pumped = pump(
                    connection.session_words(line),
                    stdin=stdin,
                    seconds_max=timeout_seconds + _ANSWER_SECONDS,
                    ending_seconds=_ENDING_SECONDS,
                    output_bytes_max=COMMAND_OUTPUT_BYTES_MAX,
                    on_line=on_line,
                )
            # In both cases ssh says that no session was opened, so running the command elsewhere runs it once.
            if _says(pumped, command.mark, b"Session open refused by peer"):
                self._pool.is_full(connection)
            elif _says(pumped, command.mark, b"Control socket connect("):
                self._pool.discard(connection)
            else:
                break
        if pumped.exit_code == 255 and not pumped.stderr.endswith(command.mark):
            raise self._broken(connection, words, pumped)
        if pumped.overran and pumped.exit_code < 0:
            # Not even the host's own bound answered: the connection is not to be trusted with another command.
            self._pool.discard(connection)
        return judged(
            self.host.name,
            words,
            without_mark(pumped, command),
            timeout_seconds=timeout_seconds,
            check=check,
            user=become,
        )

    def stand_ready(self, user: str | None, texts: Sequence[bytes] = ()) -> None:
        """See contracts.ready_hosts; `texts` are those of programs that will be run."""
        self._pool.hands.begin(self._become(user), texts)

    def _become(self, user: str | None) -> str | None:
        return user if self.host.become and user not in (None, self.login_user) else None

    def _by_hand(
        self,
        user: str | None,
        words: Sequence[str],
        stdin: bytes,
        timeout_seconds: float,
        environment: dict[str, str] | None,
    ) -> Pumped | None:
        """How the command ended; None where no hand stands ready for it, and it was not begun."""
        standing = self._pool.hands.of(user)
        if standing is None or len(stdin) > STDIN_BYTES_MAX:
            return None
        connection = standing.connection
        try:
            pumped = standing.hand.run(words, stdin=stdin, timeout_seconds=timeout_seconds, environment=environment)
        except HandGone as gone:
            if not gone.may_have_run:
                return None
            raise self._broken(connection, words, Pumped(255, b"", b"", 0.0, overran=False, overflowed=False)) from gone
        if pumped.overran:
            self._pool.discard(connection)
        return pumped

    def _broken(self, connection: SshConnection, words: Sequence[str], pumped: Pumped) -> HostError:
        said = " | ".join(part for part in (last_lines(pumped.stderr), last_lines(connection.said().encode())) if part)
        if connection.stands():
            return CommandFailed(
                f"{self.host.name}: `{shown(words)}` was killed on the host before it ended: {said or 'no word'}",
                hint="Whether it took effect is unknown. Look at the host: out of memory, or somebody killed it.",
            )
        self._pool.discard(connection)
        return HostUnreachable(
            f"{self.host.name}: the connection broke while `{shown(words)}` ran, so whether it took effect is unknown;"
            f" what still ran of it ends with the connection: {said or 'no word'}"
        )

    def read_file(self, path: str, *, user: str | None = None, bytes_max: int = COMMAND_OUTPUT_BYTES_MAX - 1) -> bytes:
        return read_small_file(self, path, user=user, bytes_max=bytes_max)

    def write_file(self, path: str, content: bytes, *, mode: int = 0o644, user: str | None = None) -> None:
        write_small_file(self, path, content, mode=mode, user=user)

    def forget(self) -> None:
        self._pool.forget()


def _says(pumped: Pumped, mark: bytes, text: bytes) -> bool:
    """Whether it is ssh, and not the command, that ended and said `text`."""
    return pumped.exit_code == 255 and not pumped.stdout and not pumped.stderr.endswith(mark) and text in pumped.stderr


class SshTransports:
    """contracts.transport.Transports: one SshTransport per host, connections kept until `close`."""

    def __init__(
        self,
        ssh_config: Path | None,
        run_dir: Path,
        known_hosts_extra: Path | None,
        quick_programs: Callable[[], Sequence[Path]] = tuple,
    ) -> None:
        self._ssh_config = ssh_config
        self._quick_programs = quick_programs
        self._joining = threading.Lock()
        self._run_dir = run_dir
        self._known_hosts_extra = known_hosts_extra
        self._sockets = _socket_folder(run_dir)
        self._lock = threading.Lock()
        self._pools: dict[Host, SshPool] = {}

    def __call__(self, host: Host) -> SshTransport:
        return SshTransport(self.pool(host))

    def stand_ready(self, host: Host, users: Sequence[str | None]) -> None:
        """contracts.ready_hosts.ReadyHosts."""
        transport = self(host)
        with self._joining:  # the first one joins each program; hosts stand ready beside each other
            texts = [program_text(program) for program in self._quick_programs()]
        for user in users:
            transport.stand_ready(user, texts)

    def pool(self, host: Host) -> SshPool:
        with self._lock:
            known = self._pools.get(host)
            if known is None:
                stem = f"{os.getpid()}.{len(self._pools)}"
                known = SshPool(host, self._configuration(host), self._sockets, stem)
                self._pools[host] = known
            return known

    def configuration(self, host: Host) -> SshConfiguration:
        """What OpenSSH uses for `host`: for Ansible, and for looking up trusted host keys."""
        return self.pool(host).configuration

    def _configuration(self, host: Host) -> SshConfiguration:
        # By process: two programs on one run folder must not replace each other's files in mid-use.
        folder = self._run_dir / f"ssh-{os.getpid()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return write_configuration(host, folder, self._ssh_config, self._known_hosts_extra)

    def close(self) -> None:
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.forget()
            pool.configuration.file.unlink(missing_ok=True)
        # Another process on the same run folder may have its own sockets there; then the folder stays for it.
        with suppress(OSError):
            self._sockets.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_transports(
    ssh_config: Path | None,
    run_dir: Path,
    known_hosts_extra: Path | None = None,
    *,
    quick_programs: Callable[[], Sequence[Path]] = tuple,
) -> SshTransports:
    """Transports for all hosts of an inventory.

    `ssh_config` is the operator's file (None: what OpenSSH itself would read), `run_dir` ours for this run,
    `known_hosts_extra` the file of learned host keys, which need not exist yet. Nothing is connected before it is used.
    Hosts that stand ready have read the programs that `quick_programs` names.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    return SshTransports(ssh_config, run_dir, known_hosts_extra, quick_programs)


def _socket_folder(run_dir: Path) -> Path:
    """A folder with a name short enough for sockets: below the run's own where that is short, else beside it."""
    inside = run_dir.absolute() / "cm"
    if len(os.fsencode(inside)) <= _SOCKET_FOLDER_BYTES_MAX:
        inside.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _without_leavings(inside)
    place = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    if len(os.fsencode(place)) > _SOCKET_FOLDER_BYTES_MAX - 32:
        place = Path("/tmp")  # noqa: S108 - the folder below is made for us alone and checked
    name = f"skerry-{os.getuid()}-{hashlib.sha256(os.fsencode(run_dir.absolute())).hexdigest()[:12]}"
    folder = place / name
    folder.mkdir(mode=0o700, exist_ok=True)
    held = folder.lstat()
    if folder.is_symlink() or held.st_uid != os.getuid() or held.st_mode & 0o077:
        raise HostUnreachable(
            f"{folder} is not ours alone, so no connection is opened there",
            hint=f"Look at it, then remove it: {folder}",
        )
    return _without_leavings(folder)


def _without_leavings(folder: Path) -> Path:
    """`folder`, with the sockets of programs that were killed removed."""
    for entry in folder.iterdir():
        owner = entry.name.partition(".")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            entry.unlink(missing_ok=True)
    return folder
