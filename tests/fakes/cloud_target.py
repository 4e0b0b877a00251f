"""A cloud in memory that obeys the laws of Target and Front."""

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.contracts.bubble_machines import Picture
from orchestrator.contracts.cloud_things import CloudThing
from orchestrator.contracts.target import Ability, FrontAnswer, Machine
from orchestrator.foundation.errors import PlanningError, TargetError, TargetForbidden
from orchestrator.model.host import Host
from orchestrator.model.system import MachineSpec, Route53Front

OURS = ("skerry:host", "skerry:run")


@dataclass
class FakeTarget:
    """Machines by id. `images` are the images there are; `calls` counts what would have cost money."""

    images: set[str] = field(default_factory=lambda: {"plain"})
    machines: dict[str, Machine] = field(default_factory=dict)
    calls: int = 0
    told: dict[str, str] = field(default_factory=dict)  # what it runs last in its first boot, by machine

    def abilities(self, host: Host) -> frozenset[Ability]:
        return frozenset(Ability)

    def ensure(
        self, host: Host, spec: MachineSpec | None, *, key: str, tags: dict[str, str], first_boot: str = ""
    ) -> Machine:
        if spec is None:
            raise PlanningError(f"{host.name}: nothing says which machine it shall be")
        wanted = {**tags, "skerry:host": host.name, "Name": host.name}
        found = self._live(host)
        if found is not None:
            if found.tags["skerry:system"] != wanted["skerry:system"]:
                raise TargetForbidden(f"{host.name}: {found.id} belongs to {found.tags['skerry:system']}")
            self.start(found.id)
            return self.machines[found.id]
        if spec.image not in self.images:
            raise TargetError(f"no image of ours is called {spec.image}")
        made = self.run(host.name, host.address, wanted)
        self.told[made] = first_boot
        return self.machines[made]

    def run(self, name: str, address: str, tags: dict[str, str]) -> str:
        """Start a machine, ours or not."""
        if any(each.private_address == address and each.state != "terminated" for each in self.machines.values()):
            raise TargetError(f"Address {address} is in use.")
        self.calls += 1
        identifier = f"i-{self.calls:017x}"
        key = "ssh-ed25519 " + hashlib.sha256(identifier.encode()).hexdigest()
        self.machines[identifier] = Machine(
            id=identifier, state="running", private_address=address, host_keys=(key,), tags={"Name": name, **tags}
        )
        return identifier

    def find(self, host: Host) -> Machine | None:
        return self._live(host)

    def stop(self, machine_id: str) -> None:
        self._put(machine_id, "stopped")

    def start(self, machine_id: str) -> None:
        self._put(machine_id, "running")

    def terminate(self, machine_id: str) -> None:
        if machine_id in self.machines:
            self._put(machine_id, "terminated")

    def _live(self, host: Host) -> Machine | None:
        for machine in self.machines.values():
            ours = all(tag in machine.tags for tag in OURS) and machine.tags["skerry:host"] == host.name
            if ours and machine.state != "terminated":
                return machine
        return None

    def _put(self, machine_id: str, state: str) -> None:
        machine = self.machines.get(machine_id)
        if machine is None:
            raise TargetError(f"machine {machine_id} does not exist")
        if not all(tag in machine.tags for tag in OURS):
            raise TargetForbidden(f"machine {machine_id} does not carry our tags; it is not touched")
        self.machines[machine_id] = machine.model_copy(update={"state": state})


@dataclass
class FakeConsole:
    """Of machines that run: they print once they were looked at `late` times. `dark` machines have no screen.

    One that asks itself checks at its first boot tells that those of `failing` failed; `mute`, it tells nothing.
    """

    target: FakeTarget
    text: str = "filing login: "
    late: int = 1
    dark: bool = False
    failing: set[str] = field(default_factory=set)
    mute: bool = False

    def printed(self, machine_id: str) -> str:
        self._machine(machine_id)
        self.late -= 1
        return "" if self.late >= 0 else self.text + self._asked(machine_id)

    def picture(self, machine_id: str) -> Picture | None:
        machine = self._machine(machine_id)
        if self.dark or machine.state != "running":
            return None
        return Picture(content=b"\xff\xd8\xff a screen", media_type="image/jpeg")

    def _asked(self, machine_id: str) -> str:
        """As the program of its first boot would tell, had it a machine to run on."""
        script = self.target.told.get(machine_id, "")  # nothing was handed to a machine that we did not begin
        if self.mute or not script:
            return ""
        words = shlex.split(script[script.index("request=") :].split("| sed")[0])
        request = next(json.loads(word) for word in words if word.startswith("{"))
        checks = {
            each["name"]: {
                "level": each["level"],
                "passed": each["name"] not in self.failing,
                "wrong": ["no answer"] if each["name"] in self.failing else [],
            }
            for each in request["checks"]
        }
        return "skerry-checks<" + json.dumps({"report": {"checks": checks}}) + ">skerry-checks\n"

    def _machine(self, machine_id: str) -> Machine:
        if machine_id not in self.target.machines:
            raise TargetError(f"machine {machine_id} does not exist")
        return self.target.machines[machine_id]


@dataclass
class FakeFront:
    """Records by name; the zones there are."""

    zones: set[str] = field(default_factory=lambda: {"skerry.test"})
    records: dict[str, FrontAnswer] = field(default_factory=dict)

    def current(self, front: Route53Front) -> FrontAnswer | None:
        self._check(front)
        return self.records.get(front.name)

    def switch(self, front: Route53Front, address: str, *, key: str) -> FrontAnswer | None:
        before = self.current(front)
        ttl_seconds = min(front.ttl_seconds, before.ttl_seconds) if before else front.ttl_seconds
        self.records[front.name] = FrontAnswer(address=address, ttl_seconds=ttl_seconds)
        return before

    def lower_ttl(self, front: Route53Front, ttl_seconds: int, *, key: str) -> FrontAnswer | None:
        before = self.current(front)
        if before is not None and before.ttl_seconds > ttl_seconds:
            self.records[front.name] = before.model_copy(update={"ttl_seconds": ttl_seconds})
        return before

    def settle(self, front: Route53Front, *, key: str) -> None:
        if (before := self.current(front)) is not None:
            self.records[front.name] = before.model_copy(update={"ttl_seconds": front.ttl_seconds})

    def _check(self, front: Route53Front) -> None:
        if front.zone not in self.zones:
            raise TargetError(f"one public zone must be called {front.zone}; found 0")


class FakeThings:
    """`CloudThings`: whatever is put there."""

    def __init__(self) -> None:
        self.things: list[CloudThing] = []

    def all(self) -> Sequence[CloudThing]:
        return tuple(self.things)
