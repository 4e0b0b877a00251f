"""The volumes in memory obey the laws that the real mover and its points obey."""

from dataclasses import dataclass, field

import pytest

from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from tests.fakes.obeyed import FakeObeyed
from tests.fakes.volumes import FakeVolumeMover
from tests.laws.volume_mover_laws import SIZE, VolumeMoverLaws

VOLUME = BlockVolume(name="disk", path="/srv/disk.img")
SOURCE = Host(name="onprem-a", site="onprem", address="10.10.1.11")
REPLICA = Host(name="dr-a", site="dr", address="10.20.1.11")


@dataclass
class VolumesGround:
    mover: FakeVolumeMover = field(default_factory=FakeVolumeMover)
    volume: BlockVolume = VOLUME
    source: Host = SOURCE
    replica: Host = REPLICA

    def put(self, host, offset, content):
        now = bytearray(self.mover.volumes.content.get((host.name, VOLUME.path), bytes(SIZE)))
        now[offset : offset + len(content)] = content
        self.mover.volumes.content[host.name, VOLUME.path] = bytes(now)

    def obeyed(self, **orders):
        newest = {self.replica.name: max(orders.values(), default=(0, 0))}
        self.mover.volumes.obeyed = FakeObeyed({self.replica.name} if "json" in orders else (), newest)

    def read(self, host):
        return self.mover.volumes.content[host.name, VOLUME.path]


class TestFakeVolumeMover(VolumeMoverLaws):
    @pytest.fixture
    def ground(self):
        return VolumesGround()
