"""Block devices as source and as target: real loop devices, moved by what differs, refused where sizes do not fit."""

import os
import random
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.contracts.access import Access
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import DataError
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.movers.block_volume import BlockVolumeMover
from orchestrator.snapshots.stores import HostPointStores

pytestmark = [pytest.mark.platform("root"), pytest.mark.timeout(120)]

MIB = 1 << 20
SIZE = 24 * MIB + 4096
VOLUME = BlockVolume(name="disk", path="/dev/disk")


class DirectAccess:
    """Runs the forced command on this machine: a line without a network."""

    @contextmanager
    def grant(self, initiator, peer, *, force_command, seconds, peer_user, initiator_user=None):
        yield Access(ssh_words=("sh", "-c"), destination=force_command)


@dataclass
class Devices:
    top: Path
    attached: list[str]

    def host(self, name):
        return Host(name=name, site="onprem", address="127.0.0.1", path_prefix=str(self.top / name), become=False)

    @property
    def mover(self):
        return BlockVolumeMover(LocalTransport, DirectAccess(), HostPointStores(LocalTransport, SystemClock()))

    def attach(self, name, size):
        """A loop device of that size is the host's /dev/disk."""
        backing, node = self.top / f"{name}.backing", self.top / name / "dev/disk"
        with backing.open("wb") as stream:
            stream.truncate(size)
        node.parent.mkdir(parents=True, exist_ok=True)
        node.unlink(missing_ok=True)
        words = ["losetup", "--find", "--show", str(backing)]
        found = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        self.attached.append(found)
        os.mknod(node, 0o600 | 0o060000, os.stat(found).st_rdev)
        return node

    def copy(self, **more):
        return self.mover.copy(VOLUME, self.host("source"), self.host("replica"), **more)

    def digests(self):
        return {self.mover.digest(VOLUME, self.host(name)).digest for name in ("source", "replica")}


@pytest.fixture
def devices(tmp_path):
    made = Devices(tmp_path, [])
    yield made
    for each in made.attached:
        subprocess.run(["losetup", "--detach", each], check=True)


def write(node, offset, content):
    with node.open("r+b", buffering=0) as stream:
        stream.seek(offset)
        stream.write(content)
        os.fsync(stream.fileno())


def test_a_device_is_brought_whole_and_then_by_what_differs(devices):
    source, replica = devices.attach("source", SIZE), devices.attach("replica", SIZE)
    write(source, MIB, random.randbytes(6 * MIB))
    write(replica, 20 * MIB, b"what was there before")
    first = devices.copy()
    assert first.bytes_total == SIZE
    assert first.bytes_wire < 8 * MIB  # zeros cost nothing
    assert replica.read_bytes() == source.read_bytes()
    assert len(devices.digests()) == 1
    write(source, 3 * MIB + 4096, random.randbytes(4096))
    write(source, SIZE - 512, b"the end")
    second = devices.copy()
    assert second.bytes_wire < 60_000
    assert replica.read_bytes() == source.read_bytes()


def test_what_was_written_to_the_replica_is_named_and_undone(devices):
    source, replica = devices.attach("source", SIZE), devices.attach("replica", SIZE)
    write(source, 0, random.randbytes(MIB))
    devices.copy()
    write(replica, 10 * MIB, b"behind our back")
    found = devices.mover.differences(VOLUME, devices.host("source"), devices.host("replica"))
    assert found == [f"bytes {10 * MIB} to {10 * MIB + 65535}"]
    devices.copy()
    assert replica.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("other", [SIZE - 4096, SIZE + 4096], ids=["smaller", "larger"])
def test_a_target_of_another_size_is_refused_and_not_touched(devices, other):
    source, replica = devices.attach("source", SIZE), devices.attach("replica", other)
    write(source, 0, random.randbytes(MIB))
    write(replica, 0, b"as it was")
    with pytest.raises(DataError, match=f"replica: disk at .*/dev/disk: has {other} bytes, the source {SIZE}"):
        devices.copy()
    assert replica.read_bytes()[:9] == b"as it was"


def test_a_source_that_grew_is_refused_until_its_target_grew_too(devices):
    source, replica = devices.attach("source", SIZE), devices.attach("replica", SIZE)
    write(source, 0, random.randbytes(MIB))
    devices.copy()
    good = replica.read_bytes()
    for name in ("source", "replica"):
        with (devices.top / f"{name}.backing").open("r+b") as stream:
            stream.truncate(SIZE + 8 * MIB)
        subprocess.run(["losetup", "--set-capacity", devices.attached[0 if name == "source" else 1]], check=True)
        if name == "source":
            write(source, SIZE + MIB, b"in the new part")
            with pytest.raises(DataError, match="has .* bytes, the source"):
                devices.copy()
            assert replica.read_bytes() == good
    devices.copy()
    assert replica.read_bytes() == source.read_bytes()


def test_a_point_of_a_device_is_copied_as_it_was(devices):
    source, replica = devices.attach("source", SIZE), devices.attach("replica", SIZE)
    write(source, 0, random.randbytes(MIB))
    held = source.read_bytes()
    devices.mover.points(VOLUME, devices.host("source")).take("p1")
    write(source, 0, b"later")
    devices.copy(from_point="p1")
    assert replica.read_bytes() == held
