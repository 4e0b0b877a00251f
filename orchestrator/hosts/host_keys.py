"""The host keys of machines that a target made for us, in a known_hosts file of our own."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import AccessDenied
from orchestrator.hosts.known_hosts import fingerprints, lookup_name
from orchestrator.model.host import Host


class LearnedHostKeys:
    """contracts.host_keys.HostKeyRing in one file that OpenSSH reads, safe for several processes at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def file(self) -> Path:
        """For `known_hosts_extra`."""
        return self._file

    def learn(self, host: Host, keys: Sequence[str]) -> None:
        """Trust exactly `keys` for `host` from now on; AccessDenied when there is none, or one is no public key."""
        if not keys:
            raise AccessDenied(
                f"{host.name}: its provider reported no host key, so it is not trusted",
                hint="Wait until the machine has printed its host keys on its console, then run it again.",
            )
        plain = [" ".join(key.split()[:2]) for key in keys]
        fingerprints(plain)  # refuses what is no key
        names = _names(host)
        with self._alone():
            kept = [line for line in self._lines() if not set(_names_in(line)) & set(names)]
            wanted = [f"{','.join(names)} {key}" for key in plain]
            if kept + wanted != self._lines():
                replace_file(self._file, "".join(f"{line}\n" for line in kept + wanted).encode(), mode=0o600)

    def fingerprints(self, host: Host) -> Sequence[str]:
        """`SHA256:… (TYPE)` of each learned key, in the order learned; empty for a host that was never learned."""
        names = set(_names(host))
        return fingerprints([" ".join(line.split()[1:3]) for line in self._lines() if names & set(_names_in(line))])

    def _lines(self) -> list[str]:
        if not self._file.exists():
            return []
        return [line for line in self._file.read_text().splitlines() if line.strip()]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer at a time: two machines learned at once must both stay."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file.with_name(self._file.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _names(host: Host) -> list[str]:
    return [host.name, lookup_name(host.address, host.port)]


def _names_in(line: str) -> list[str]:
    return line.split(" ", 1)[0].split(",")
