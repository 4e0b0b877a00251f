"""The one place that reaches into moto's own objects: states and addresses that its API does not let us set."""

# ruff: noqa: SLF001

from typing import Any

from moto.ec2.models import ec2_backends

from orchestrator.lab.cloud.call import ACCOUNT

STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def address_is_taken(subnet: Any, address: str) -> bool:
    return address in subnet._subnet_ips


def set_state(instance: Any, name: str) -> None:
    """Put moto's instance into a state that AWS passes through and moto does not."""
    instance._state.name = name
    instance._state.code = STATES[name]


def find_instance(instance_id: str) -> Any | None:
    """Moto's instance of that id, in whatever region."""
    for backend in ec2_backends[ACCOUNT].values():
        for reservation in backend.reservations.values():
            for instance in reservation.instances:
                if instance.id == instance_id:
                    return instance
    return None


def all_instances() -> list[Any]:
    return [
        instance
        for backend in ec2_backends[ACCOUNT].values()
        for reservation in backend.reservations.values()
        for instance in reservation.instances
    ]


def release_address(instance: Any) -> None:
    """A terminated instance gives its address back; moto keeps it as long as the object lives."""
    if instance.subnet_id:
        subnet = instance.ec2_backend.get_subnet(instance.subnet_id)
        for address in instance._private_ips:
            subnet.del_subnet_ip(address)
