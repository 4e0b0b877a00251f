"""Ansible's shell plugin for hosts of a play: `sh`, but what a module does on its host ends there in time.

ansible-runner leaves a module running on its host when the play is killed. timeout(1) leads a process group with all
that the module starts, and ends that, whatever became of the play and of us. `bounded_play` makes this file known.
"""

import os

from ansible.plugins.shell import sh

from orchestrator.hosts.ansible.inventory_file import TASK_SECONDS_MAX
from orchestrator.hosts.bounded_command import KILL_AFTER_SECONDS

DOCUMENTATION = """
name: bounded
short_description: POSIX shell whose modules end in time
description:
  - Runs each module under timeout(1).
extends_documentation_fragment:
  - shell_common
"""


class ShellModule(sh.ShellModule):  # type: ignore[misc]  # Ansible has no types
    """The only method that starts modules."""

    def build_module_command(self, env_string: str, shebang: str | None, cmd: str, arg_path: str | None = None) -> str:
        command: str = super().build_module_command(env_string, shebang, cmd, arg_path)
        return f"timeout -k {KILL_AFTER_SECONDS:g} {os.environ[TASK_SECONDS_MAX]} env {command}"
