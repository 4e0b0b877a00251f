"""Limits of bandwidth with real rsync between real hosts: kept, changed in the middle of a file, and shared."""

import os
import threading
import time

import pytest

from orchestrator.contracts.bandwidth import Allowance
from orchestrator.foundation.clock import SystemClock
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.ssh import open_transports
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.movers.block_volume import BlockVolumeMover
from orchestrator.movers.file_tree import FileTreeMover
from orchestrator.snapshots.stores import HostPointStores
from tests.platform.moving import TreeGround

pytestmark = pytest.mark.platform("hosts", "rsync")

MIB = 1024**2


@pytest.fixture
def make_ground(town, tmp_path):
    made = []
    with open_transports(town.ssh_config, tmp_path / "run", None) as transports:

        def make(bandwidth, name="limited"):
            stores = HostPointStores(transports, SystemClock())
            access = CertifiedAccess(transports, town.user_ca)
            mover = FileTreeMover(transports, access, stores, bandwidth=bandwidth)
            ground = TreeGround(town, transports, mover, FileTree(name=name, path=f"/srv/{name}/{name}"))
            ground.clear()
            made.append(ground)
            return ground

        yield make
        for ground in made:
            ground.clear()


def equal(ground):
    here, there = (ground.mover.digest(ground.tree, host) for host in (ground.source, ground.replica))
    return here.digest == there.digest


def test_a_file_in_the_middle_of_which_the_window_ends_is_finished_under_the_next_limit(make_ground):
    asked = []

    def bandwidth():
        """The window ends some seconds after it was first asked for: a slow machine takes some to begin."""
        asked.append(time.monotonic())
        left = asked[0] + 8 - asked[-1]
        return Allowance(bytes_per_second=2 * MIB, seconds_left=left) if left > 0 else Allowance()

    ground = make_ground(bandwidth)
    ground.write(ground.source, "large", bytes(range(256)) * (64 * MIB // 256))
    ground.write(ground.source, "small", b"x")
    report = ground.mover.copy(ground.tree, ground.source, ground.replica)
    # 64 MiB at 2 MiB/s would take 32 s: without a border that is obeyed, nothing would have been stopped.
    assert int(report.detail["relimited"]) >= 1
    assert report.detail["passes"] == "1"
    assert equal(ground)
    assert ground.traces() == []


def test_a_limit_is_kept_by_copies_of_every_kind_together(make_ground, town):
    """Two trees and a volume; none of them is told of the others but by their turns."""

    def bandwidth():
        return Allowance(bytes_per_second=2 * MIB)

    grounds = [make_ground(bandwidth, name) for name in ("one", "two")]
    mover = grounds[0].mover
    for ground in grounds:
        ground.write(ground.source, "file", b"y" * (4 * MIB) + ground.tree.name.encode())
    image = BlockVolume(name="image", path="/srv/one/image")
    town.path_on_machine(grounds[0].source.name, image.path).write_bytes(os.urandom(4 * MIB))
    access, stores = CertifiedAccess(mover._transports, town.user_ca), HostPointStores(mover._transports, SystemClock())
    volumes = BlockVolumeMover(mover._transports, access, stores, bandwidth=bandwidth, turns=mover._turns)
    begun = time.monotonic()
    copies = [
        threading.Thread(target=mover.copy, args=(ground.tree, ground.source, ground.replica)) for ground in grounds
    ]
    copies.append(threading.Thread(target=volumes.copy, args=(image, grounds[0].source, grounds[0].replica)))
    for copy in copies:
        copy.start()
    for copy in copies:
        copy.join()
    # 12 MiB at 2 MiB/s: 6 s, of which rsync gives away some at its start; side by side it would be a third of that.
    assert time.monotonic() - begun > 4.5
    assert all(equal(ground) for ground in grounds)
    here, there = (volumes.digest(image, host).digest for host in (grounds[0].source, grounds[0].replica))
    assert here == there
