"""Limits of bandwidth that end while a volume is on its way: it stops there, and goes on under the next one."""

import random
from contextlib import contextmanager

import pytest

from orchestrator.contracts.access import Access
from orchestrator.contracts.bandwidth import Allowance
from orchestrator.foundation.clock import SystemClock
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.movers.block_volume import BlockVolumeMover
from orchestrator.snapshots.stores import HostPointStores

pytestmark = pytest.mark.timeout(120)

MIB = 1 << 20
VOLUME = BlockVolume(name="disk", path="/disk.img")


class CountedAccess:
    """Runs the forced command on this machine, and counts how often it was granted."""

    def __init__(self):
        self.granted = 0

    @contextmanager
    def grant(self, initiator, peer, *, force_command, seconds, peer_user, initiator_user=None):
        self.granted += 1
        yield Access(ssh_words=("sh", "-c"), destination=force_command)


@pytest.mark.parametrize("base", [False, True], ids=["first copy", "changes"])
def test_a_volume_whose_window_ends_goes_on_under_the_next_limit(tmp_path, base):
    hosts = {}
    for name in ("source", "replica"):
        (tmp_path / name).mkdir()
        prefix = str(tmp_path / name)
        hosts[name] = Host(name=name, site="onprem", address="127.0.0.1", path_prefix=prefix, become=False)
    image = tmp_path / "source/disk.img"
    allowances = [Allowance()] if base else []
    allowances += [Allowance(bytes_per_second=4 * MIB, seconds_left=1.5), Allowance()]
    access = CountedAccess()
    stores = HostPointStores(LocalTransport, SystemClock())
    mover = BlockVolumeMover(LocalTransport, access, stores, bandwidth=lambda: allowances.pop(0))
    if base:
        image.write_bytes(random.randbytes(40 * MIB))
        mover.copy(VOLUME, hosts["source"], hosts["replica"])
    image.write_bytes(random.randbytes(40 * MIB))
    before = access.granted
    report = mover.copy(VOLUME, hosts["source"], hosts["replica"])
    assert report.detail["relimited"] == "1"
    assert access.granted - before == 2
    # What had arrived before is not sent a second time.
    assert 40 * MIB <= report.bytes_wire < 43 * MIB
    assert image.read_bytes() == (tmp_path / "replica/disk.img").read_bytes()
    assert mover.digest(VOLUME, hosts["replica"]).digest == report.detail["digest"]
