"""What ssh needs outside the lab: a configuration with every host, and a known_hosts file with their keys."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from orchestrator.lab.blueprint import address_in
from orchestrator.lab.ground import HostRecord
from orchestrator.lab.host_files import HOST_KEY, HostStyle, ssh_port, write_whole
from orchestrator.lab.machine import SYSTEM_PYTHON
from orchestrator.lab.pki import public_key

# ControlMaster is left to the caller: a master in the background would outlive the command that made it.
EVERY_HOST = """Host *
  User {login}
{way_in}  IdentityFile "{folder}/pki/operator"
  CertificateFile "{folder}/pki/operator-cert.pub"
  IdentitiesOnly yes
  UserKnownHostsFile "{folder}/known_hosts"
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  UpdateHostKeys no
  PreferredAuthentications publickey
  ConnectTimeout 10
  ServerAliveInterval 5
  ServerAliveCountMax 3
"""


def write_client_files(folder: Path, style: HostStyle, records: Sequence[HostRecord]) -> None:
    """`folder`/ssh_config and `folder`/known_hosts, naming every host and its address."""
    hosts, keys = [], []
    for record in records:
        address, port = address_in(style.kind, record.host.address), ssh_port(style.kind, record.host)
        hosts.append(f"Host {record.name} {address}\n  HostName {address}\n  Port {port}\n")
        seen_as = [address] if port == 22 else [f"[{address}]:{port}", f"[{record.name}]:{port}"]
        keys.append(f"{','.join([record.name, *seen_as])} {public_key(record.tree / HOST_KEY.lstrip('/'))}\n")
    connector = [SYSTEM_PYTHON, "-S", "-E", str(Path(__file__).with_name("connector.py")), str(folder)]
    command = shlex.join(connector).replace("%", "%%")
    way_in = "" if style.kind == "loopback" else f"  ProxyCommand {command} %h %p\n  ProxyUseFdpass yes\n"
    settings = EVERY_HOST.format(login=style.login, way_in=way_in, folder=folder)
    write_whole(folder / "known_hosts", "".join(keys).encode(), mode=0o600)
    write_whole(folder / "ssh_config", ("".join(hosts) + settings).encode(), mode=0o600)
