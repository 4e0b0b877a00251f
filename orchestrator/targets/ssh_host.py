"""Machines that stand already and are reached by SSH: nobody makes, stops or ends them for us.

Whose a machine is stands in a note on it; one without a note is not ours.
"""

import json

from orchestrator.contracts.programs import root_user
from orchestrator.contracts.target import Ability, Machine
from orchestrator.contracts.transport import Transports
from orchestrator.foundation.errors import CommandFailed, TargetError, TargetForbidden, TargetLacks
from orchestrator.model.host import Host
from orchestrator.model.system import MachineSpec

NOTE = "/var/lib/skerry/machine.json"
ID_PREFIX = "ssh:"
NEEDED_TAGS = ("skerry:system", "skerry:run")


class SshHosts:
    """contracts.target.Target over hosts that are there."""

    def __init__(self, transports: Transports) -> None:
        self._transports = transports

    def abilities(self, host: Host) -> frozenset[Ability]:
        return frozenset()

    def ensure(
        self, host: Host, spec: MachineSpec | None, *, key: str, tags: dict[str, str], first_boot: str = ""
    ) -> Machine:
        """The machine as it stands, marked as ours. Its host key is what the operator's known_hosts has of it."""
        if spec is not None:
            raise TargetLacks(f"{host.name} is reached by SSH alone: no machine is made for it from {spec.image}")
        for needed in NEEDED_TAGS:
            if needed not in tags:
                raise TargetError(f"{host.name}: a machine needs the tag {needed}")
        found = self.find(host)
        if found is None:
            written = {**tags, "skerry:host": host.name, "Name": host.name}
            user, note = root_user(host), host.path(NOTE)
            transport = self._transports(host)
            transport.run(["mkdir", "-p", note.rpartition("/")[0]], user=user)
            transport.write_file(note, json.dumps(written, indent=1, sort_keys=True).encode(), user=user)
            return _machine(host, written)
        if found.tags["skerry:system"] != tags["skerry:system"]:
            raise TargetForbidden(
                f"{host.name} belongs to {found.tags['skerry:system']}, not {tags['skerry:system']}",
                hint=f"Where it is free again, remove {NOTE} on {host.name}.",
            )
        return found

    def find(self, host: Host) -> Machine | None:
        transport, note = self._transports(host), host.path(NOTE)
        if transport.run(["test", "-e", note], user=root_user(host), check=False).exit_code:
            return None
        try:
            tags = {str(name): str(value) for name, value in json.loads(transport.read_file(note)).items()}
        except (ValueError, AttributeError) as error:
            raise CommandFailed(f"{host.name}: {NOTE} cannot be read: {error}") from error
        if tags.get("skerry:host") != host.name:
            raise TargetError(f"{host.name}: {NOTE} says that this machine is {tags.get('skerry:host')}")
        return _machine(host, tags)

    def stop(self, machine_id: str) -> None:
        raise _lacks(machine_id, "stopped")

    def start(self, machine_id: str) -> None:
        raise _lacks(machine_id, "started")

    def terminate(self, machine_id: str) -> None:
        raise _lacks(machine_id, "ended")


def _machine(host: Host, tags: dict[str, str]) -> Machine:
    return Machine(id=f"{ID_PREFIX}{host.name}", state="running", private_address=host.address, tags=tags)


def _lacks(machine_id: str, done: str) -> TargetLacks:
    return TargetLacks(
        f"{machine_id} is reached by SSH alone and is not {done} by us", hint="Ask whoever runs the machine."
    )
