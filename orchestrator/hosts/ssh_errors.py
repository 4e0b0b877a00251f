"""What OpenSSH says when it does not connect, as errors of our tree. Nothing else of it passes this room."""

import re
from collections.abc import Sequence

from orchestrator.foundation.errors import AccessDenied, HostError, HostKeyMismatch, HostUnreachable
from orchestrator.hosts.known_hosts import fingerprints, keys_of, trusted_lines
from orchestrator.hosts.ssh_configuration import SshConfiguration
from orchestrator.model.host import Host

_SHOWN_KEY = re.compile(r"The fingerprint for the (\S+) key sent by the remote host is\s+(\S+?)\.?\s")
_KEY_TROUBLE = (
    "REMOTE HOST IDENTIFICATION HAS CHANGED",
    "Host key verification failed",
    "host key is known for",
    "REVOKED HOST KEY DETECTED",
    "Certificate invalid: ",
)
_REFUSED = (
    "Permission denied",
    "Too many authentication failures",
    "UNPROTECTED PRIVATE KEY FILE",
    "Bad owner or permissions",
    "no such identity",
)
# Only that the proxy ended without a connection; it has said itself why.
_PROXY_ENDED = ("mm_receive_fd: ", "proxy dialer did not pass back a connection")


def connection_error(host: Host, configuration: SshConfiguration, said: str) -> HostError:
    """The error for what ssh printed on a connection that never came to be."""
    if any(text in said for text in _KEY_TROUBLE):
        return _key_error(host, configuration, said)
    last = _last_line(said)
    if any(text in said for text in _REFUSED):
        return AccessDenied(
            f"{host.name} ({host.address}:{host.port}) refuses {configuration.user}: {last}",
            hint="Check the login user, its key or certificate, and whether the certificate is still valid.",
        )
    return HostUnreachable(f"{host.name} ({host.address}:{host.port}) cannot be reached: {_last_lines(said)}")


def _key_error(host: Host, configuration: SshConfiguration, said: str) -> HostKeyMismatch:
    expected = _told(fingerprints(keys_of(trusted_lines(configuration.known_name, configuration.known_hosts))))
    where = f"{host.name} ({configuration.known_name})"
    shown = _SHOWN_KEY.search(said)
    if not expected:
        files = ", ".join(str(file) for file in configuration.known_hosts)
        return HostKeyMismatch(
            f"{where}: no host key is known, so it is not trusted; looked in {files}",
            hint="Add the key that the host's owner vouches for to a known_hosts file. Nothing was sent to the host.",
        )
    if shown:
        return HostKeyMismatch(f"{where}: expected host key {expected}, but it shows {shown[2]} ({shown[1]})")
    return HostKeyMismatch(f"{where}: expected host key {expected}; {_last_line(said)}")


def _told(found: Sequence[str]) -> str:
    return " or ".join(found)


def _last_lines(said: str) -> str:
    """Why, in few lines: a proxy says what went wrong before ssh says that it did."""
    lines = [line.strip() for line in said.splitlines()[-3:] if line.strip()]
    why = [line for line in lines if not any(text in line for text in _PROXY_ENDED)]
    return " | ".join(why) or _last_line(said)


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "the connection ended without a word"
