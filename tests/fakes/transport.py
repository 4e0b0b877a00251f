"""Hosts in memory that obey contracts.transport: files, a few programs, and trouble on demand."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.contracts.transport import CommandResult
from orchestrator.foundation.errors import (
    AccessDenied,
    CommandFailed,
    CommandTimedOut,
    HostError,
    HostKeyMismatch,
    HostUnreachable,
    UsageError,
)
from orchestrator.hosts.shell_words import shown
from orchestrator.model.host import Host

# A program gets its words and its input, and gives (exit code, stdout, stderr).
Answer = tuple[int, bytes, bytes]
Program = Callable[[Sequence[str], bytes], Answer]


@dataclass
class FakeTransport:
    """One host. `programs` by name come before the built-in ones; `trouble` is raised by every call while it is set.

    `ran` holds every command as (words, user), for tests that look what was asked.
    """

    at: Host
    programs: dict[str, Program] = field(default_factory=dict)
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {"/", "/etc", "/tmp", "/srv", "/var", "/run"})
    trouble: HostError | None = None
    ran: list[tuple[tuple[str, ...], str | None]] = field(default_factory=list)

    @property
    def host(self) -> Host:
        return self.at

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
        if any("\0" in word for word in words):
            raise UsageError(f"a command word holds a NUL byte: {words!r}")
        self._reach()
        self.ran.append((tuple(words), user))
        started = time.monotonic()
        if words[0] == "sleep" and float(words[1]) > timeout_seconds:
            raise CommandTimedOut(f"{self.at.name}: `{shown(words)}` did not end within {timeout_seconds:g}s")
        program = self.programs.get(words[0]) or self._built_in(words[0], environment or {})
        if program is None:
            code, out, err = 127, b"", f"{words[0]}: no such program".encode()
        else:
            code, out, err = program(words, stdin)
        if on_line is not None:
            for stream in (out, err):
                for line in re.split(rb"[\r\n]", stream):
                    if line:
                        on_line(line.decode(errors="replace"))
        if check and code != 0:
            raise CommandFailed(f"{self.at.name}: `{shown(words)}` ended with {code}: {err.decode(errors='replace')}")
        return CommandResult(exit_code=code, stdout=out, stderr=err, seconds=time.monotonic() - started)

    def read_file(self, path: str, *, user: str | None = None, bytes_max: int = 16 * 1024 * 1024) -> bytes:
        self._reach()
        if path not in self.files:
            raise CommandFailed(f"{self.at.name}: {path}: No such file or directory")
        content = self.files[path][0]
        if len(content) > bytes_max:
            raise CommandFailed(f"{self.at.name}: {path} is larger than {bytes_max} bytes")
        return content

    def write_file(self, path: str, content: bytes, *, mode: int = 0o644, user: str | None = None) -> None:
        self._reach()
        if path.rpartition("/")[0] not in self.folders:
            raise CommandFailed(f"{self.at.name}: {path}: its folder does not exist")
        self.files[path] = (content, mode)

    def forget(self) -> None:
        """Nothing is kept."""

    def _reach(self) -> None:
        if self.trouble is not None:
            raise type(self.trouble)(self.trouble.message, hint=self.trouble.hint)

    def _built_in(self, name: str, environment: dict[str, str]) -> Program | None:
        known: dict[str, Program] = {
            "true": lambda words, stdin: (0, b"", b""),
            "false": lambda words, stdin: (1, b"", b""),
            "sleep": lambda words, stdin: (0, b"", b""),
            "cat": lambda words, stdin: (0, stdin, b""),
            "printf": lambda words, stdin: (0, _printed(words[1], words[2:]).encode(), b""),
            "printenv": lambda words, stdin: (0, (environment[words[1]] + "\n").encode(), b""),
            "stat": lambda words, stdin: (0, f"{self.files[words[-1]][1]:o}\n".encode(), b""),
            "ls": lambda words, stdin: (0, self._listed(words[-1]).encode(), b""),
            "sh": lambda words, stdin: (_exit_code(words[2]), b"", b""),
        }
        return known.get(name)

    def _listed(self, folder: str) -> str:
        inside = [path for path in self.files if path.rpartition("/")[0] == folder]
        return "".join(path.rpartition("/")[2] + "\n" for path in sorted(inside))


def _exit_code(script: str) -> int:
    asked = re.fullmatch(r"exit (\d+)", script)
    if asked is None:
        raise NotImplementedError(f"the fake shell knows `exit N` alone, not {script!r}: give the host a program 'sh'")
    return int(asked[1])


def _printed(form: str, values: Sequence[str]) -> str:
    """printf(1) for `%s`, `%%` and the escapes that laws use; the form is used again while values are left."""
    form = form.replace("\\n", "\n").replace("\\r", "\r").replace("%%", "%")
    if "%s" not in form or not values:
        return form.replace("%s", "")
    return "".join(form.replace("%s", value, 1) for value in values)


def unreachable(host: Host) -> FakeTransport:
    return FakeTransport(host, trouble=HostUnreachable(f"{host.name} cannot be reached: Connection refused"))


def mistaken(host: Host) -> FakeTransport:
    told = f"{host.name}: expected host key SHA256:aaaa (ED25519), but it shows SHA256:bbbb (ED25519)"
    return FakeTransport(host, trouble=HostKeyMismatch(told))


def refused(host: Host) -> FakeTransport:
    return FakeTransport(host, trouble=AccessDenied(f"{host.name} refuses root: Permission denied (publickey)."))


@dataclass
class FakeTransports:
    """contracts.transport.Transports over hosts in memory; an unknown host is made when it is first asked for."""

    known: dict[str, FakeTransport] = field(default_factory=dict)

    def __call__(self, host: Host) -> FakeTransport:
        return self.known.setdefault(host.name, FakeTransport(host))
