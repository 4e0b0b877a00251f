"""ProvisionTarget and EndTarget: the cloud side's machines.

They exist, show the host keys their provider vouches for, answer, and have the programs that the system needs; or they
are ended, where this run made them and the system lives elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.contracts.transport import CommandResult
from orchestrator.foundation.errors import (
    AccessDenied,
    AuthorityError,
    HostUnreachable,
    MissingTool,
    OrchestratorError,
    PlanningError,
    TargetError,
)
from orchestrator.model.action import EndTarget, ProvisionTarget
from orchestrator.model.host import Host
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.model.system import MachineSpec
from orchestrator.steps.asked import asked
from orchestrator.steps.looking import look_at
from orchestrator.steps.places import clusters, host_at, hosts_at

ANSWERS_SECONDS_MAX = 300.0  # user data runs last of all that boots
INSTALLED_SECONDS_MAX = 900.0
POLL_SECONDS = 0.2

Found = TypeVar("Found")


def spec_of(catalogue: Catalogue, deed: Deed, host: Host) -> MachineSpec:
    """The host's machine as planned, with the image that was seeded last where it starts from a volume of ours."""
    spec = deed.plan.machines[host.name]
    if not spec.seeded_from:
        return spec
    system = deed.system_plan.system.name
    found = catalogue.get("cloud_image", f"{system}/{spec.seeded_from}")
    if found is None:
        raise PlanningError(
            f"{host.name} starts from {spec.seeded_from} of {system}, of which the cloud has no image",
            hint="Seed it first: the step seed_image.",
        )
    return spec.model_copy(update={"image": str(found["image"])})


@dataclass(frozen=True)
class ProvisionTargetHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # whether it answers is asked anew; ensuring a machine that runs changes nothing

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        observed: dict[str, Any] = {}
        side = asked(deed, ProvisionTarget).side
        if side is not Side.CLOUD:  # the cloud may be what was lost
            return Outcome.done(f"no machines are made at {side.value}")
        for host in hosts_at(deed, Side.CLOUD):
            progress(Progress(text=f"asking for {host.name}"))
            machine = self.drivers.target.ensure(
                host,
                spec_of(self.drivers.catalogue, deed, host) if host.name in deed.plan.machines else None,
                key=f"{deed.key}:{host.name}",
                tags={"skerry:system": deed.system_plan.system.name, "skerry:run": deed.run, "skerry:host": host.name},
            )
            if machine.private_address != host.address:
                raise TargetError(f"{host.name}: the machine has {machine.private_address}, planned was {host.address}")
            if machine.host_keys:
                self.drivers.host_keys.learn(host, machine.host_keys)
            progress(Progress(text=f"waiting for {host.name} to answer"))
            self._await_answer(host)
            progress(Progress(text=f"waiting for what {host.name} is asked to install"))
            found = self._await_tools(deed, host)
            observed[host.name] = {
                "tools": found["tools"],
                "machine": machine.id,
                "address": machine.private_address,
                "host_keys": list(self.drivers.host_keys.fingerprints(host)),
            }
            emit("machine.ready", {"host": host.name, **observed[host.name]})
        return Outcome.done(f"{len(observed)} machines answer", machines=observed)

    def _await_answer(self, host: Host) -> None:
        """SSH answers before user data has run: until then the machine trusts nobody of ours."""
        transport = self.drivers.transports(host)

        def ask() -> CommandResult:
            transport.forget()
            return transport.run(["true"], timeout_seconds=20)

        self._again(ask, (HostUnreachable, AccessDenied), ANSWERS_SECONDS_MAX)

    def _await_tools(self, deed: Deed, host: Host) -> dict[str, dict[str, Any]]:
        """What an image lacks is installed by user data after the CA is trusted; where nothing is, it must be there."""
        spec = deed.plan.machines.get(host.name)
        seconds_max = INSTALLED_SECONDS_MAX if spec is not None and spec.packages else 0.0
        return self._again(lambda: look_at(self.drivers, deed, host), (MissingTool,), seconds_max)

    def _again(
        self, ask: Callable[[], Found], not_yet: tuple[type[OrchestratorError], ...], seconds_max: float
    ) -> Found:
        clock = self.drivers.clock
        deadline = clock.monotonic_seconds() + seconds_max
        while True:
            try:
                return ask()
            except not_yet:
                if clock.monotonic_seconds() >= deadline:
                    raise
            clock.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class EndTargetHandler:
    """Only what this run made is ended, and never where the system may be written to."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # what is gone is found gone, and what stays is told anew

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        system = deed.system_plan.system.name
        lives_there = self.drivers.authority.read(system).side is Side.CLOUD
        ended: dict[str, str] = {}
        kept: dict[str, str] = {}
        for host in hosts_at(deed, Side.CLOUD):
            machine = self.drivers.target.find(host) if host.name in deed.plan.machines else None
            if machine is None:
                continue
            if asked(deed, EndTarget).machines == "keep":
                why = "the system lives there" if lives_there else "kept for analysis; what it holds is a replica"
                kept[host.name] = f"{machine.id}: {why}"
            elif machine.tags.get("skerry:run") != deed.run or machine.tags.get("skerry:system") != system:
                kept[host.name] = f"{machine.id}: made by run {machine.tags.get('skerry:run')}"
            elif lives_there:
                raise AuthorityError(f"{system} lives at the cloud; its machines are not ended")
            else:
                progress(Progress(text=f"ending {host.name}"))
                self.drivers.target.terminate(machine.id)
                ended[host.name] = machine.id
                emit("machine.ended", {"host": host.name, "machine": machine.id})
        if not lives_there:
            self._forget_standbys(deed, kept)
        return Outcome.done(f"{len(ended)} machines ended, {len(kept)} kept", ended=ended, kept=kept)

    def _forget_standbys(self, deed: Deed, kept: dict[str, str]) -> None:
        """What a database keeps for a standby that is gone would fill its disk."""
        for cluster in clusters(deed):
            standby = host_at(deed, Side.CLOUD, cluster.name)
            if standby.name in deed.plan.machines and standby.name not in kept:
                for side in (Side.SOURCE, Side.DR):
                    self.drivers.databases.forget_standby(cluster, host_at(deed, side, cluster.name), standby)
