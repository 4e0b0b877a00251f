"""The ssh configuration of one host: ours first, then the operator's, then defaults; OpenSSH takes the first it finds.

Rules: address and port come from the inventory, for they are what was approved; user, keys, proxies come from the
operator's configuration where it names them; strict host key checking cannot be turned off by anybody.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import AccessDenied, MissingTool
from orchestrator.foundation.limits import SSH_ALIVE_COUNT_MAX, SSH_ALIVE_SECONDS, SSH_CONNECT_SECONDS_MAX
from orchestrator.hosts.known_hosts import lookup_name
from orchestrator.hosts.shell_words import configuration_path, included_path
from orchestrator.model.host import Host

NO_CLIENT_HINT = "Install it here: apt-get install -y openssh-client"


@dataclass(frozen=True)
class SshConfiguration:
    """Where the file lies, and what OpenSSH makes of it."""

    file: Path
    user: str
    known_name: str  # under which the host's keys are looked up
    known_hosts: tuple[Path, ...]


def write_configuration(
    host: Host, folder: Path, operator_file: Path | None, known_hosts_extra: Path | None
) -> SshConfiguration:
    """Write a file below `folder` and ask OpenSSH what it means; AccessDenied when it refuses the operator's file."""
    # One name may be looked for at two places, and neither may be led to the other.
    file = folder / f"{host.name}-{host.address}-{host.port}.conf"
    replace_file(file, _text(host, operator_file, ()).encode(), mode=0o600)
    asked = _effective(file, host)
    known_hosts = _paths(asked.get("userknownhostsfile", ""))
    if known_hosts_extra is not None and known_hosts_extra not in known_hosts:
        known_hosts = (*known_hosts, known_hosts_extra)
    replace_file(file, _text(host, operator_file, known_hosts).encode(), mode=0o600)
    return SshConfiguration(
        file=file,
        user=asked["user"],
        known_name=asked.get("hostkeyalias") or lookup_name(host.address, host.port),
        known_hosts=(*known_hosts, *_paths(asked.get("globalknownhostsfile", ""))),
    )


def _text(host: Host, operator_file: Path | None, known_hosts: tuple[Path, ...]) -> str:
    included = [operator_file] if operator_file else [Path.home() / ".ssh" / "config", Path("/etc/ssh/ssh_config")]
    known = " ".join(configuration_path(path) for path in known_hosts)
    return "\n".join(
        [
            "Host *",
            f"  HostName {host.address}",
            f"  Port {host.port}",
            "  BatchMode yes",
            "  StrictHostKeyChecking yes",
            "  UpdateHostKeys no",
            *([f"  UserKnownHostsFile {known}"] if known else []),
            f"  ConnectTimeout {SSH_CONNECT_SECONDS_MAX}",
            "  ConnectionAttempts 1",
            f"  ServerAliveInterval {SSH_ALIVE_SECONDS}",
            f"  ServerAliveCountMax {SSH_ALIVE_COUNT_MAX}",
            "  ControlMaster no",
            "  ControlPath none",
            "  ControlPersist no",
            "  RequestTTY no",
            "  ForwardAgent no",
            "  ForwardX11 no",
            "  ClearAllForwardings yes",
            "  PermitLocalCommand no",
            "  LogLevel ERROR",
            *[f"Include {included_path(path.absolute())}" for path in included],
            "Host *",
            f"  User {host.user}",
            "",
        ]
    )


def _effective(file: Path, host: Host) -> dict[str, str]:
    try:
        answer = subprocess.run(
            ["ssh", "-G", "-F", str(file), host.name],
            capture_output=True,
            text=True,
            timeout=SSH_CONNECT_SECONDS_MAX,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise MissingTool("this machine has no ssh client", hint=NO_CLIENT_HINT) from error
    if answer.returncode != 0:
        raise AccessDenied(
            f"{host.name}: OpenSSH refuses its configuration: {answer.stderr.strip()}",
            hint="Mend the named file or its permissions, then run the same command again.",
        )
    pairs = (line.partition(" ") for line in answer.stdout.splitlines())
    return {key: value for key, _, value in pairs}


def _paths(value: str) -> tuple[Path, ...]:
    """Files of a list that OpenSSH prints without quotes: one with blanks is taken whole where such a file exists."""
    whole = Path(value).expanduser()
    if not value or value == "none":
        return ()
    if whole.is_file():
        return (whole,)
    return tuple(Path(word).expanduser() for word in value.split() if word != "none")
