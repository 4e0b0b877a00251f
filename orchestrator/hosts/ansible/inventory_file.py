"""The inventory and environment of one play, generated: nothing of the operator's own Ansible set-up takes part."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.foundation.limits import SSH_CONNECT_SECONDS_MAX
from orchestrator.hosts.ssh_connection import SshConnection
from orchestrator.model.host import Host

TASK_SECONDS_MAX = "SKERRY_TASK_SECONDS_MAX"  # in the play's environment: how long a task may last on its host
_FORKS_MAX = 5
# What Ansible and ssh need of our own environment; everything else, credentials above all, stays here.
_KEPT_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR", "TMPDIR", "TZ")


def inventory_of(connections: Mapping[Host, SshConnection]) -> dict[str, Any]:
    """Hosts as Ansible's JSON inventory. Each uses our open connection, and its configuration should that one break."""
    return {"all": {"hosts": {host.name: _host_variables(host, one) for host, one in connections.items()}}}


def _host_variables(host: Host, connection: SshConnection) -> dict[str, Any]:
    configuration = connection.configuration
    become = host.become and configuration.user != "root"
    arguments = ["-F", str(configuration.file), "-o", f"ControlPath={connection.socket}"]
    return {
        "ansible_host": host.name,
        "ansible_connection": "ssh",
        "ansible_shell_type": "bounded",
        "ansible_ssh_args": shlex.join(arguments),
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_become": become,
        "skerry_become": become,
        "skerry_path_prefix": host.path_prefix,
        "skerry_address": host.address,
    }


def play_environment(folder: Path, *, seconds_max: float) -> dict[str, str]:
    """The whole environment of a play that keeps its things below `folder` and has so long."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        TASK_SECONDS_MAX: f"{seconds_max:.3f}",
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_USETTY": "False",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_TIMEOUT": str(SSH_CONNECT_SECONDS_MAX),
        "ANSIBLE_FORKS": str(_FORKS_MAX),
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
        "ANSIBLE_LOCALHOST_WARNING": "False",
    }
