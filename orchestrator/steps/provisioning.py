"""ProvisionTarget: the cloud side's machines exist, show the host keys their provider vouches for, and answer."""

from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.errors import HostUnreachable, PlanningError, TargetError
from orchestrator.model.host import Host
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.model.system import MachineSpec
from orchestrator.steps.places import hosts_at

ANSWERS_SECONDS_MAX = 120.0


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
        for host in hosts_at(deed, Side.CLOUD):
            if host.name in deed.plan.machines:
                machine = self.drivers.target.find(host)
                if machine is None or machine.state != "running" or not self.drivers.host_keys.fingerprints(host):
                    return Probe.ABSENT
        return Probe.ABSENT  # whether it answers is asked anew; ensuring a machine that runs changes nothing

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        observed: dict[str, Any] = {}
        for host in hosts_at(deed, Side.CLOUD):
            if host.name not in deed.plan.machines:
                continue
            progress(Progress(text=f"asking for {host.name}"))
            machine = self.drivers.target.ensure(
                host,
                spec_of(self.drivers.catalogue, deed, host),
                key=f"{deed.key}:{host.name}",
                tags={"skerry:system": deed.system_plan.system.name, "skerry:run": deed.run, "skerry:host": host.name},
            )
            if machine.private_address != host.address:
                raise TargetError(f"{host.name}: the machine has {machine.private_address}, planned was {host.address}")
            self.drivers.host_keys.learn(host, machine.host_keys)
            progress(Progress(text=f"waiting for {host.name} to answer"))
            self._await_answer(host)
            observed[host.name] = {
                "machine": machine.id,
                "address": machine.private_address,
                "host_keys": list(self.drivers.host_keys.fingerprints(host)),
            }
            emit("machine.ready", {"host": host.name, **observed[host.name]})
        return Outcome.done(f"{len(observed)} machines answer", machines=observed)

    def _await_answer(self, host: Host) -> None:
        clock = self.drivers.clock
        deadline = clock.monotonic_seconds() + ANSWERS_SECONDS_MAX
        transport = self.drivers.transports(host)
        while True:
            try:
                transport.run(["true"], timeout_seconds=20)
            except HostUnreachable:
                if clock.monotonic_seconds() > deadline:
                    raise
                transport.forget()
                clock.sleep(0.2)
            else:
                return
