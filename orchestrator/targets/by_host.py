"""Which target a host is of: machines that are made are the cloud's, those that stand are reached by SSH."""

from collections.abc import Collection

from orchestrator.contracts.target import Ability, Machine, Target
from orchestrator.model.host import Host
from orchestrator.model.names import HostName
from orchestrator.model.system import MachineSpec
from orchestrator.targets.ssh_host import ID_PREFIX


class TargetByHost:
    """contracts.target.Target: each deed goes to the target that the host's machine is of."""

    def __init__(self, cloud: Target, standing: Target, hosts: Collection[HostName]) -> None:
        """`hosts`: names of those that stand already."""
        self._cloud = cloud
        self._standing = standing
        self._hosts = hosts

    def abilities(self, host: Host) -> frozenset[Ability]:
        return self._of(host).abilities(host)

    def ensure(
        self, host: Host, spec: MachineSpec | None, *, key: str, tags: dict[str, str], first_boot: str = ""
    ) -> Machine:
        return self._of(host).ensure(host, spec, key=key, tags=tags, first_boot=first_boot)

    def find(self, host: Host) -> Machine | None:
        return self._of(host).find(host)

    def stop(self, machine_id: str) -> None:
        self._with(machine_id).stop(machine_id)

    def start(self, machine_id: str) -> None:
        self._with(machine_id).start(machine_id)

    def terminate(self, machine_id: str) -> None:
        self._with(machine_id).terminate(machine_id)

    def _of(self, host: Host) -> Target:
        return self._standing if host.name in self._hosts else self._cloud

    def _with(self, machine_id: str) -> Target:
        return self._standing if machine_id.startswith(ID_PREFIX) else self._cloud
