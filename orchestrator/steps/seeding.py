"""SeedImage: what DR holds of the last recovery point becomes an image that machines of the cloud start from."""

from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.images import SeedWish
from orchestrator.contracts.progress import ProgressSink
from orchestrator.foundation.errors import PlanningError, SnapshotError
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.recovery_point import RecoveryPoint, SeededImage
from orchestrator.model.site import Side
from orchestrator.steps.places import host_at, hosts_at
from orchestrator.steps.points import last_point


def run_tags(deed: Deed) -> dict[str, str]:
    """What everything that a run makes in the cloud carries."""
    return {"skerry:system": deed.system_plan.system.name, "skerry:run": deed.run}


def seeded_volumes(deed: Deed) -> list[BlockVolume]:
    """The volumes that machines of the cloud side start from."""
    machines = [deed.plan.machines[host.name] for host in hosts_at(deed, Side.CLOUD) if host.name in deed.plan.machines]
    names = {machine.seeded_from for machine in machines} - {""}
    volumes = {each.name: each for each in deed.system_plan.system.datasets if isinstance(each, BlockVolume)}
    if missing := sorted(names - volumes.keys()):
        raise PlanningError(f"{', '.join(missing)} is no block volume of {deed.system_plan.system.name}")
    return [volumes[name] for name in sorted(names)]


@dataclass(frozen=True)
class SeedImageHandler:
    """One snapshot and one image for each volume and point: asked again, it finds what there is."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # what is there already is found, and what was read back is observed

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        volumes = seeded_volumes(deed)
        if not volumes:
            raise PlanningError(
                f"no machine of {deed.system_plan.system.name} starts from a volume of it",
                hint="Give a machine of the cloud side the image dataset:NAME, or leave this step out.",
            )
        point = last_point(self.drivers.catalogue, deed, Side.DR)
        seeded = {volume.name: self._seed(deed, volume, point, progress, emit) for volume in volumes}
        kept = tuple(SeededImage(**{name: each[name] for name in SeededImage.model_fields}) for each in seeded.values())
        others = tuple(each for each in point.images if each.dataset not in seeded)
        self.drivers.catalogue.put(
            "recovery_point",
            f"{point.system}/{point.id}",
            point.model_copy(update={"images": (*others, *kept)}).model_dump(mode="json"),
        )
        bytes_wire = sum(each["bytes_wire"] for each in seeded.values())
        return Outcome.done(
            f"{len(seeded)} images of {point.id} are in the cloud", point=point.id, images=seeded, bytes_wire=bytes_wire
        )

    def _seed(
        self, deed: Deed, volume: BlockVolume, point: RecoveryPoint, progress: ProgressSink, emit: Emit
    ) -> dict[str, Any]:
        host = host_at(deed, Side.DR, volume.name)
        system = deed.system_plan.system.name
        expected = next((each.digest for each in point.datasets if each.dataset == volume.name), "")
        store = self.drivers.volumes.points(volume, host)
        if not expected or store.find(point.id) is None:
            raise SnapshotError(f"{host.name} has no point {point.id} of {volume.name}")
        # Whatever prunes meanwhile, the point must stay until all of it has arrived.
        held = store.hold(point.id, f"seed-{deed.run}")
        try:
            facts = self.drivers.images.look(volume, host, path=held.path)
            wish = SeedWish(
                volume=volume,
                host=host,
                path=held.path,
                expected=expected,
                key=f"{system}/{volume.name}/{point.id}",
                tags=run_tags(deed),
            )
            done = self.drivers.images.seed(wish, progress=progress)
        finally:
            store.release(point.id, f"seed-{deed.run}")
        name = f"{system}-{volume.name}-{point.id}"
        image = self.drivers.images.register(done, facts, name=name, tags=run_tags(deed))
        seeded = {**done.model_dump(mode="json"), "image": image.id, "name": name, "point": point.id}
        seeded["needs"] = [each.model_dump(mode="json") for each in facts.findings]
        seeded["boot"] = {"architecture": facts.architecture, "mode": facts.boot_mode, "partitions": facts.partitions}
        self.drivers.catalogue.put("cloud_image", f"{system}/{volume.name}", seeded)
        emit("image.seeded", {"host": host.name, **seeded})
        return seeded
