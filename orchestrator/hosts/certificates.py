"""SSH certificates for one transfer each: one host may run one command on one other, from one address, for minutes.

Rules: the private key is made on the initiating host, in a folder of its own in memory, and never leaves it; the CA's
key never leaves this machine; only the public key and the certificate travel. The initiator trusts exactly the host
keys that this machine trusts for the peer.
"""

import ipaddress
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.contracts.access import Access
from orchestrator.foundation.errors import AccessDenied, HostError, HostKeyMismatch, HostUnreachable
from orchestrator.foundation.limits import (
    SSH_ALIVE_COUNT_MAX,
    SSH_ALIVE_SECONDS,
    SSH_CONNECT_SECONDS_MAX,
    TRANSFER_CERTIFICATE_SECONDS_MAX,
)
from orchestrator.hosts.known_hosts import keys_of, lookup_name, trusted_lines
from orchestrator.hosts.ssh import SshTransport, SshTransports
from orchestrator.model.host import Host

# Hosts' clocks may be this far behind ours before a fresh certificate looks to them as if it came from the future.
_CLOCK_TOLERANCE_SECONDS = 300
# As measured (docs/adr/0005): AES-GCM is the quickest where the processor has AES, and the slowest where it has not.
_AES = "aes128-gcm@openssh.com,aes256-gcm@openssh.com"
_CHACHA = "chacha20-poly1305@openssh.com"

# What a killed run left behind is swept here: its certificate is long over, its key opens nothing.
_MAKE_KEY = """\
umask 077
for place in /run /dev/shm "${TMPDIR:-/tmp}"; do
  find "$place" -maxdepth 1 -name 'skerry-access-*' -user "$(id -u)" -mmin +120 -exec rm -rf {} + 2>/dev/null
  folder=$(mktemp -d "$place/skerry-access-XXXXXXXX" 2>/dev/null) && break
done
[ -n "$folder" ] || { echo "no folder for a key can be made" >&2; exit 1; }
if ! ssh-keygen -q -t ed25519 -N '' -C skerry -f "$folder/key" </dev/null; then rm -rf "$folder"; exit 1; fi
echo "$folder"
cat "$folder/key.pub"
grep -qw aes /proc/cpuinfo && echo aes || echo plain
"""


class CertifiedAccess:
    """contracts.access.TransferAccess by certificates of `authority`, a CA whose public key the hosts trust
    (`TrustedUserCAKeys`). `authority` is the path of its private key, or of the public key when an agent holds it.
    """

    def __init__(self, transports: SshTransports, authority: Path) -> None:
        self._transports = transports
        self._authority = authority

    @contextmanager
    def grant(
        self,
        initiator: Host,
        peer: Host,
        *,
        force_command: str,
        seconds: int,
        peer_user: str,
        initiator_user: str | None = None,
    ) -> Iterator[Access]:
        """See the contract. A `peer_user` that is the peer's own login user is the one OpenSSH really uses for it."""
        if not 0 < seconds <= TRANSFER_CERTIFICATE_SECONDS_MAX:
            raise AccessDenied(
                f"a transfer certificate lasts 1 to {TRANSFER_CERTIFICATE_SECONDS_MAX} seconds, not {seconds}"
            )
        login = self._transports.configuration(peer).user if peer_user == peer.user else peer_user
        transport = self._transports(initiator)
        trusted = self._known_hosts(peer)
        folder, public_key, has_aes = self._make_key(transport, initiator_user)
        try:
            certificate = self._certify(public_key, initiator, peer, login, force_command, seconds)
            transport.write_file(f"{folder}/key-cert.pub", certificate, mode=0o600, user=initiator_user)
            transport.write_file(f"{folder}/known_hosts", trusted, mode=0o600, user=initiator_user)
            words = _ssh_words(folder, initiator, peer, login, has_aes=has_aes)
            yield Access(ssh_words=words, destination=peer.address)
        except BaseException as error:
            try:
                self._remove(transport, folder, initiator_user)
            except HostError as second:
                error.add_note(f"the key of this transfer was left in {folder} on {initiator.name}: {second}")
            if isinstance(error, AccessDenied) and (off := self._clock_offset_seconds(peer)):
                raise _by_clock(error, peer, off) from error
            raise
        else:
            self._remove(transport, folder, initiator_user)

    def _make_key(self, transport: SshTransport, user: str | None) -> tuple[str, str, bool]:
        """(folder on the host, public key, whether its processor knows AES)."""
        answer = transport.run(["/bin/sh", "-c", _MAKE_KEY], user=user)
        lines = answer.text.splitlines()
        if len(lines) != 3 or "/skerry-access-" not in lines[0]:
            raise AccessDenied(f"{transport.host.name}: no key was made for the transfer: {answer.text[:200]!r}")
        return lines[0], lines[1], lines[2] == "aes"

    def _remove(self, transport: SshTransport, folder: str, user: str | None) -> None:
        transport.run(["rm", "-rf", "--", folder], user=user)

    def _clock_offset_seconds(self, peer: Host) -> float:
        """How far the peer's clock is ahead of ours; 0 where that explains no refusal, or cannot be asked."""
        try:
            theirs = float(self._transports(peer).run(["date", "+%s"]).text)
        except (HostError, ValueError):
            return 0.0
        offset = theirs - time.time()
        return offset if abs(offset) >= _CLOCK_TOLERANCE_SECONDS else 0.0

    def _known_hosts(self, peer: Host) -> bytes:
        """The peer's keys as this machine trusts them, under the name by which the initiator reaches it."""
        configuration = self._transports.configuration(peer)
        keys = keys_of(trusted_lines(configuration.known_name, configuration.known_hosts))
        if not keys:
            raise HostKeyMismatch(
                f"{peer.name} ({configuration.known_name}): no host key is known, so no host is sent there",
                hint="Add the key that the host's owner vouches for to a known_hosts file.",
            )
        name = lookup_name(peer.address, peer.port)
        lines = []
        for key in keys:
            words = key.split()
            marker = [words.pop(0)] if words[0].startswith("@") else []
            lines.append(" ".join([*marker, name, *words]))
        return "".join(line + "\n" for line in lines).encode()

    def _certify(
        self, public_key: str, initiator: Host, peer: Host, login: str, force_command: str, seconds: int
    ) -> bytes:
        if not self._authority.is_file():
            raise AccessDenied(
                f"the CA key that certifies transfers is missing: {self._authority}",
                hint="Name it in the inventory's policy as transfer_ca; the hosts trust it by TrustedUserCAKeys.",
            )
        serial = secrets.randbits(62)
        options = ["clear", f"force-command={force_command}", f"source-address={_source_addresses(initiator)}"]
        # In memory where there is such a folder; nothing in it is secret.
        with tempfile.TemporaryDirectory(prefix="skerry-certify-") as folder:
            public = Path(folder) / "key.pub"
            public.write_text(public_key + "\n")
            agent_held = ["-U"] if self._authority.suffix == ".pub" else []
            words = [
                *("ssh-keygen", "-q", *agent_held, "-s", str(self._authority)),
                *("-I", f"skerry:{initiator.name}:{peer.name}:{serial:x}", "-z", str(serial), "-n", login),
                *("-V", f"-{_CLOCK_TOLERANCE_SECONDS}s:+{seconds}s"),
                *[word for option in options for word in ("-O", option)],
                str(public),
            ]
            answer = subprocess.run(
                words,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=SSH_CONNECT_SECONDS_MAX,
                check=False,
            )
            if answer.returncode != 0:
                raise AccessDenied(
                    f"the transfer {initiator.name} to {peer.name} was not certified: {answer.stderr.strip()}"
                )
            return (Path(folder) / "key-cert.pub").read_bytes()


def _by_clock(error: AccessDenied, peer: Host, offset_seconds: float) -> AccessDenied:
    """The refusal, with what explains it: certificates live for minutes, so clocks must agree within minutes."""
    way = "ahead of" if offset_seconds > 0 else "behind"
    return AccessDenied(
        f"{error.message}: the clock of {peer.name} is {abs(offset_seconds):.0f} s {way} this machine's",
        hint=f"Set the clock of {peer.name}, or of this machine, whichever is wrong. Then run the same command again.",
    )


def _source_addresses(initiator: Host) -> str:
    """Where the peer will see the initiator come from, as sshd's list of networks."""
    try:
        found: Sequence[str] = [initiator.address] if ipaddress.ip_address(initiator.address) else []
    except ValueError:
        try:
            answers = socket.getaddrinfo(initiator.address, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise HostUnreachable(f"{initiator.name}: {initiator.address} has no address: {error}") from error
        found = sorted({str(answer[4][0]) for answer in answers})
    return ",".join(f"{address}/{ipaddress.ip_address(address).max_prefixlen}" for address in found)


def _ssh_words(folder: str, initiator: Host, peer: Host, login: str, *, has_aes: bool) -> tuple[str, ...]:
    settings = {
        "BatchMode": "yes",
        "IdentityFile": f"{folder}/key",
        "CertificateFile": f"{folder}/key-cert.pub",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "UserKnownHostsFile": f"{folder}/known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ControlPath": "none",
        "Compression": "no",
        "ConnectTimeout": str(SSH_CONNECT_SECONDS_MAX),
        "ServerAliveInterval": str(SSH_ALIVE_SECONDS),
        "ServerAliveCountMax": str(SSH_ALIVE_COUNT_MAX),
        "LogLevel": "ERROR",
        "Ciphers": f"{_AES},{_CHACHA}" if has_aes else f"{_CHACHA},{_AES}",
    }
    if initiator.path_prefix:
        # Hosts that share one machine are told apart by address alone, so the connection must come from the right one.
        settings["BindAddress"] = initiator.address
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    return ("ssh", "-F", "none", "-T", *options, "-p", str(peer.port), "-l", login)
