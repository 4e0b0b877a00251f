"""Images in a cloud in memory, and a place that nothing leads out of until a test opens it."""

import hashlib
from dataclasses import dataclass, field

from orchestrator.contracts.images import BootFinding, CloudImage, ImageFacts, SeededVolume, SeedWish
from orchestrator.contracts.isolation import IsolationProof
from orchestrator.contracts.progress import ProgressSink
from orchestrator.foundation.errors import DigestMismatch, TargetForbidden
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.model.system import MachineSpec
from tests.fakes.cloud_target import FakeTarget
from tests.fakes.volumes import FakeVolumeMover

BLOCK_BYTES = 512 * 1024


@dataclass
class FakeImages:
    """Snapshots by key, images by name. `spoiled` volumes read back as something else than was sent."""

    mover: FakeVolumeMover
    target: FakeTarget
    snapshots: dict[str, SeededVolume] = field(default_factory=dict)
    made: dict[str, CloudImage] = field(default_factory=dict)
    spoiled: set[str] = field(default_factory=set)

    def look(self, volume: BlockVolume, host: Host, *, path: str) -> ImageFacts:
        found = BootFinding(id="fstab", holds=None, said="no ext file system was found on it")
        return ImageFacts(
            architecture="x86_64", boot_mode="uefi", partitions="gpt", file_system="unknown", findings=(found,)
        )

    def seed(self, wish: SeedWish, *, progress: ProgressSink | None = None) -> SeededVolume:
        volume, host, key = wish.volume, wish.host, wish.key
        if volume.name in self.spoiled:
            raise DigestMismatch(f"{volume.name}: reads back as something else than {wish.expected}")
        if key not in self.snapshots:
            point = wish.path.rsplit("/", 1)[-1]
            content = self.mover.volumes.points[host.name, volume.name][point][1]
            blocks = -(-len(content) // BLOCK_BYTES)
            self.snapshots[key] = SeededVolume(
                dataset=volume.name,
                snapshot="snap-" + hashlib.sha256(key.encode()).hexdigest()[:17],
                parent="",
                digest=self.mover.digest(volume, host, point=point).digest,
                aggregate="",
                kms_key="",
                volume_bytes=len(content),
                blocks_with_data=blocks,
                blocks_written=blocks,
                blocks_sent=blocks,
                bytes_wire=blocks * BLOCK_BYTES,
                seconds=0.1,
                memory_bytes=0,
            )
        return self.snapshots[key]

    def register(self, seeded: SeededVolume, facts: ImageFacts, *, name: str, tags: dict[str, str]) -> CloudImage:
        if name not in self.made:
            identifier = "ami-" + hashlib.sha256(name.encode()).hexdigest()[:17]
            self.made[name] = CloudImage(id=identifier, name=name, snapshot=seeded.snapshot)
            self.target.images.add(identifier)
        return self.made[name]


@dataclass
class FakeIsolation:
    """`leak` is what leads out; empty where nothing does."""

    leak: str = ""
    proofs: list[str] = field(default_factory=list)

    def prove(self, spec: MachineSpec, *, machine_id: str = "") -> IsolationProof:
        if self.leak:
            raise TargetForbidden(f"the drill's network is not closed: {self.leak}")
        self.proofs.append(machine_id)
        return IsolationProof(
            network="vpc-1", subnet=spec.drill_subnet, security_group=spec.drill_security_group, seen=("no route out",)
        )
