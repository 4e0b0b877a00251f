"""Volumes on a file system that shares blocks: only what changed is read, and a digest of all of it agrees."""

import os
import random
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.contracts.access import Access
from orchestrator.foundation.clock import SystemClock
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.movers.block_volume import BlockVolumeMover
from orchestrator.movers.host_programs.block_delta.extent_maps import (
    EXTENT_UNWRITTEN,
    changed_pages,
    differing_bytes,
)
from orchestrator.snapshots.stores import HostPointStores

MIB = 1 << 20
VOLUME = BlockVolume(name="disk", path="/disk.img")


class DirectAccess:
    """Runs the forced command on this machine: a line without a network."""

    @contextmanager
    def grant(self, initiator, peer, *, force_command, seconds, peer_user, initiator_user=None):
        yield Access(ssh_words=("sh", "-c"), destination=force_command)


@pytest.fixture(params=["xfs", "btrfs"])
def ends(request, tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    with (tmp_path / "image").open("wb") as stream:
        stream.truncate(900 * MIB)
    subprocess.run([f"mkfs.{request.param}", "-q", str(tmp_path / "image")], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(tmp_path / "image"), str(top)], check=True)
    hosts = []
    for name in ("source", "replica"):
        (top / name).mkdir()
        hosts.append(Host(name=name, site="onprem", address="127.0.0.1", path_prefix=str(top / name), become=False))
    mover = BlockVolumeMover(LocalTransport, DirectAccess(), HostPointStores(LocalTransport, SystemClock()))
    yield mover, hosts[0], hosts[1], top / "source/disk.img"
    subprocess.run(["umount", str(top)], check=True)


def fill(path: Path, mebibytes: int) -> None:
    with path.open("wb") as stream:
        for _ in range(mebibytes):
            stream.write(random.randbytes(MIB))


def change(path: Path, places: int) -> int:
    with path.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        for _ in range(places):
            stream.seek(random.randrange(0, size // 4096) * 4096)
            stream.write(random.randbytes(4096))
    return places * 4096


@pytest.mark.platform("xfs", "btrfs")
def test_only_what_changed_is_read_and_it_is_all_that_changed(ends):
    mover, source, replica, image = ends
    fill(image, 96)
    assert mover.copy(VOLUME, source, replica).detail["tracked"] == "none"
    for _ in range(4):
        changed = change(image, 40)
        with image.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, 4096)
            subprocess.run(
                ["fallocate", "-p", "-o", str(random.randrange(90) * MIB), "-l", "200000", str(image)], check=True
            )
        report = mover.copy(VOLUME, source, replica)
        assert report.detail["tracked"] == "extent maps"
        assert report.bytes_wire < 3 * changed + 400_000
        # The maps are believed by the copy, and judged by reading everything at both ends.
        assert mover.digest(VOLUME, source).digest == mover.digest(VOLUME, replica).digest
    assert mover.copy(VOLUME, source, replica).bytes_wire < 1000


@pytest.mark.platform("xfs", "btrfs")
def test_maps_are_not_believed_of_a_replica_that_was_changed(ends):
    mover, source, replica, image = ends
    fill(image, 20)
    mover.copy(VOLUME, source, replica)
    change(Path(replica.path("/disk.img")), 5)
    change(image, 5)
    assert mover.copy(VOLUME, source, replica).detail["tracked"] == "none"
    assert mover.digest(VOLUME, source).digest == mover.digest(VOLUME, replica).digest


@pytest.mark.platform("xfs", "btrfs")
def test_a_volume_may_be_written_while_its_shared_copy_is_served(ends):
    mover, source, replica, image = ends
    fill(image, 40)
    before = mover.digest(VOLUME, source).digest
    report = mover.copy(VOLUME, source, replica, progress=lambda _: change(image, 1))
    assert report.detail["digest"] == before == mover.digest(VOLUME, replica).digest


@pytest.mark.parametrize(
    ("new", "old", "ranges"),
    [
        ([(0, 1000, 100, 0)], [(0, 1000, 100, 0)], []),
        ([(0, 1000, 100, 0)], [(0, 5000, 100, 0)], [(0, 100)]),
        ([(0, 1000, 100, 0)], [], [(0, 100)]),
        ([], [(0, 1000, 50, 0)], [(0, 50)]),
        ([(0, 1000, 40, 0), (40, 7000, 10, 0), (50, 1050, 50, 0)], [(0, 1000, 100, 0)], [(40, 50)]),
        ([(20, 1020, 60, 0)], [(0, 1000, 100, 0)], [(0, 20), (80, 100)]),
        ([(0, 1000, 100, 4)], [(0, 1000, 100, 0)], [(0, 100)]),
        ([(0, 1000, 100, EXTENT_UNWRITTEN)], [(0, 1000, 100, 0)], [(0, 100)]),
        ([(0, 1000, 100, EXTENT_UNWRITTEN)], [(0, 1000, 100, EXTENT_UNWRITTEN)], []),
    ],
)
def test_maps_are_compared_by_place(new, old, ranges):
    assert list(differing_bytes(new, old, 100)) == ranges


@pytest.mark.parametrize(
    ("ranges", "pages"),
    [
        ([], []),
        ([(0, 1)], [(0, [0])]),
        ([(4095, 4097)], [(0, [0, 1])]),
        ([(0, 100), (200, 300), (5000, 5001)], [(0, [0, 1])]),
        ([(15 * 4096, 17 * 4096)], [(0, [15]), (1, [0])]),
        ([(0, 4 * 65536)], [(0, [*range(16)]), (1, [*range(16)]), (2, [*range(8)])]),
    ],
)
def test_ranges_touch_pages_of_leaves(ranges, pages):
    assert list(changed_pages(ranges, 2 * 65536 + 7 * 4096 + 1, 65536, 4096)) == pages
