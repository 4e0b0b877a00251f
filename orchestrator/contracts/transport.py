"""Commands and small files on one host."""

from collections.abc import Callable, Sequence
from typing import Protocol

from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host


class CommandResult(Frozen):
    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace").strip()


class Transport(Protocol):
    """One host, reached for control: commands and small files. Bulk data never goes this way.

    Laws (tests/laws/transport_laws.py):
      run         passes words as they are (no shell sees them), stdin whole, and gives both streams back whole
      run         with check=False returns any exit code; with check=True another code than 0 raises CommandFailed
      run         that outlives timeout_seconds is ended on the host too, and raises CommandTimedOut
      write_file  appears whole: a reader sees the old file or the new one; the mode is as asked
      read_file   of a missing file raises CommandFailed
      unreachable hosts raise HostUnreachable, wrong host keys HostKeyMismatch (with the fingerprint that was expected),
                  refused keys AccessDenied; nothing else leaves this contract
    Needs from the world: OpenSSH and Python on the host.
    """

    @property
    def host(self) -> Host: ...

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
        """Run `words` on the host, as `user` where given ("root", "postgres"), else as the login user.

        `on_line` is called with each line of stdout and stderr as it comes (also with pieces ended by a carriage
        return, as progress meters print them). Secrets go in through `stdin`, never through words or environment.
        """
        ...

    def read_file(self, path: str, *, user: str | None = None, bytes_max: int = 16 * 1024 * 1024) -> bytes: ...

    def write_file(self, path: str, content: bytes, *, mode: int = 0o644, user: str | None = None) -> None: ...

    def forget(self) -> None:
        """Close kept connections."""
        ...


class Transports(Protocol):
    """Gives the transport of a host."""

    def __call__(self, host: Host) -> Transport: ...
