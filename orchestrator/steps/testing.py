"""StartTestMachine and EndTestMachine: machines of a drill, where nothing leads out, and what they show."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.bubble_machines import MachineSeen
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.errors import PlanningError, TargetError
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.model.machine_boot import MachineBoot
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.model.system import MachineSpec
from orchestrator.steps.bubble_system import CheckSeen
from orchestrator.steps.console_checks import asking_script, told_checks, wrong_checks
from orchestrator.steps.machine_shown import MachineShown, complain_of, shown_of, watched
from orchestrator.steps.places import hosts_at
from orchestrator.steps.provisioning import spec_of
from orchestrator.steps.seeding import run_tags

LOOK_AGAIN_SECONDS = 5.0  # a provider that is asked more often answers with throttling


def hosts_beside(deed: Deed) -> list[tuple[Host, Host]]:
    """(host of the cloud side, its test machine). A test machine takes whatever address it is given."""
    hosts = [host for host in hosts_at(deed, Side.CLOUD) if host.name in deed.plan.machines]
    return [(host, host.model_copy(update={"name": f"{host.name}-drill", "address": ""})) for host in hosts]


@dataclass(frozen=True)
class StartTestMachineHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # a machine that runs is found, and what leads out is read back anew

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        observed: dict[str, Any] = {}
        for host, tested in hosts_beside(deed):
            spec, asking = self._spec(deed, host), _asking(deed, host)
            before = self.drivers.isolation.prove(spec)
            progress(Progress(text=f"asking for {tested.name}"))
            machine = self.drivers.target.ensure(
                tested,
                # Nothing can be installed where nothing leads out.
                spec.model_copy(
                    update={"subnet": spec.drill_subnet, "security_group": spec.drill_security_group, "packages": ()}
                ),
                key=f"{deed.key}:{tested.name}",
                tags={**run_tags(deed), "skerry:host": tested.name},
                first_boot=asking,
            )
            after = self.drivers.isolation.prove(spec, machine_id=machine.id)
            observed[tested.name] = {
                "machine": machine.id,
                "image": spec.image,
                "network": before.network,
                "isolated_before": list(before.seen),
                "isolated_after": list(after.seen),
                "host_keys": len(machine.host_keys),
            }
            emit("test_machine.started", {"host": tested.name, **observed[tested.name]})
            shown, checks = self._shown(deed, host, machine.id, emit, asked=bool(asking))
            observed[tested.name] |= {"up": shown.up, "console": shown.console, "picture": shown.picture}
            observed[tested.name]["checks"] = [each.model_dump(mode="json") for each in checks]
            complain_of(shown)
        if not observed:
            raise PlanningError(f"no machine of {deed.system_plan.system.name} is made by the cloud")
        return Outcome.done(f"{len(observed)} test machines started, nothing leads out", machines=observed)

    def _shown(
        self, deed: Deed, host: Host, machine_id: str, emit: Emit, *, asked: bool
    ) -> tuple[MachineShown, list[CheckSeen]]:
        """What its console and screen show, kept; it is up when it says what its volume is to say, and that all checks
        passed where it was `asked` them.
        """
        spec, console = deed.plan.machines[host.name], self.drivers.machine_console
        last = ""

        def look() -> MachineSeen:
            nonlocal last
            last = console.printed(machine_id)
            return MachineSeen(ended="", console=last)

        def serves() -> Iterator[str]:
            return wrong_checks(last) if asked else iter(())

        found = watched(self.drivers.clock, _boot_of(deed, host), look, serves, every_seconds=LOOK_AGAIN_SECONDS)
        about = spec.seeded_from or host.name
        shown, told = shown_of(about, machine_id, spec.instance_type, found, console.picture(machine_id))
        emit("machine.seen", told)
        return shown, told_checks(last)

    def _spec(self, deed: Deed, host: Host) -> MachineSpec:
        spec = spec_of(self.drivers.catalogue, deed, host)
        if not spec.drill_subnet or not spec.drill_security_group:
            raise PlanningError(
                f"{host.name} has no place for test machines",
                hint="Name a closed one in the estate: drill_subnet and drill_security_group of the machine.",
            )
        return spec


def _boot_of(deed: Deed, host: Host) -> MachineBoot:
    """What the volume that its machine starts from says of that."""
    volumes = {each.name: each for each in deed.system_plan.system.datasets if isinstance(each, BlockVolume)}
    volume = volumes.get(deed.plan.machines[host.name].seeded_from)
    return (volume.boot if volume else None) or MachineBoot()


def _asking(deed: Deed, host: Host) -> str:
    """What its test machine runs to ask the system's checks; "" for one that does not serve them."""
    system = deed.system_plan.system
    if host.name != system.host_of(Side.CLOUD):
        return ""
    return asking_script(system, host, seconds_max=_boot_of(deed, host).up_within)


@dataclass(frozen=True)
class EndTestMachineHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        gone = all(self.drivers.target.find(tested) is None for _, tested in hosts_beside(deed))
        return Probe.APPLIED if gone else Probe.ABSENT

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        ended = []
        for _, tested in hosts_beside(deed):
            machine = self.drivers.target.find(tested)
            if machine is None:
                continue
            if machine.tags.get("skerry:system") != deed.system_plan.system.name:
                raise TargetError(f"{tested.name}: {machine.id} belongs to {machine.tags.get('skerry:system')}")
            self.drivers.target.terminate(machine.id)
            ended.append(machine.id)
            emit("test_machine.ended", {"host": tested.name, "machine": machine.id})
        return Outcome.done(f"{len(ended)} test machines ended", machines=ended)
