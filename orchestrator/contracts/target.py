"""The cloud: machines, and the name that clients use."""

from enum import StrEnum
from typing import Protocol, TypeVar

from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.system import HaproxyFront, MachineSpec, Route53Front


class Machine(Frozen):
    """A machine of the target. `host_keys` are the SSH host keys as the provider reports them (console output)."""

    id: str
    state: str
    private_address: str
    host_keys: tuple[str, ...] = ()
    tags: dict[str, str] = {}


class Ability(StrEnum):
    """What a target may be able to do with the machine of a host."""

    MAKE = "make"  # from an image, with host keys that the provider vouches for; and end it
    POWER = "power"  # stop and start it


class Target(Protocol):
    """Machines at the target.

    Laws (tests/laws/target_laws.py):
      abilities what it can do for a host; the rest it refuses with TargetLacks, and changes nothing
      ensure    twice with one key makes one machine; returns when it is running and, where it was made from `spec`, its
                host keys are known. Without `spec` the machine is one that stands already: it is marked as ours.
                `first_boot` is shell that a machine which is made runs last in its first boot; its console shows what
                that prints
      find      sees only machines with our run tag; a foreign machine is never touched
      stop, start, terminate are idempotent and return when the state is reached
    Fails only with TargetError and its kin; where machines are asked themselves, with HostError too. Nothing is called
    when region or account is not allowed.
    """

    def abilities(self, host: Host) -> frozenset[Ability]: ...
    def ensure(
        self, host: Host, spec: MachineSpec | None, *, key: str, tags: dict[str, str], first_boot: str = ""
    ) -> Machine: ...
    def find(self, host: Host) -> Machine | None: ...
    def stop(self, machine_id: str) -> None: ...
    def start(self, machine_id: str) -> None: ...
    def terminate(self, machine_id: str) -> None: ...


class FrontAnswer(Frozen):
    address: str
    ttl_seconds: int


Wish_contra = TypeVar("Wish_contra", bound=Route53Front | HaproxyFront, contravariant=True)


class Front(Protocol[Wish_contra]):
    """What clients of a system speak to, of one kind or of all.

    Laws (tests/laws/front_laws.py):
      switch    returns when the change is in force at the authority, and gives what was before; the same switch twice
                is one; at no moment do two sides serve
      current   is what the authority says now, None where it sends clients nowhere
      lower_ttl changes how long answers are kept, never where they lead; it gives what was before. A record that is
                kept as shortly already, or not there, stays as it is. A switch keeps what was lowered: the way back is
                as quick as the way there
      settle    gives answers the time again that the estate names, and changes nothing else
    """

    def current(self, front: Wish_contra) -> FrontAnswer | None: ...
    def switch(self, front: Wish_contra, address: str, *, key: str) -> FrontAnswer | None: ...
    def lower_ttl(self, front: Wish_contra, ttl_seconds: int, *, key: str) -> FrontAnswer | None: ...
    def settle(self, front: Wish_contra, *, key: str) -> None: ...
