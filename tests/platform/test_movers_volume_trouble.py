"""Sharp trouble for volumes: damaged frames, targets that shrink or are written behind our back, sources that fail.

The programs are the real ones; the line between them is a pipe of this machine, so that it can be damaged at will.
"""

import os
import random
import shlex
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.contracts.access import Access
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import DataError, HostUnreachable, OrchestratorError, SourceChanged, SourceShrank
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.movers.block_volume import BlockVolumeMover, BlockVolumeSettings
from orchestrator.snapshots.stores import HostPointStores

pytestmark = pytest.mark.timeout(60)

MIB = 1 << 20
VOLUME = BlockVolume(name="disk", path="/disk.img")

# Passes a stream on and turns one bit of the byte at a given place of it.
DAMAGE = """
import os, sys
place = int(sys.argv[1])
seen = 0
while True:
    data = bytearray(os.read(0, 65536))
    if not data:
        break
    if seen <= place < seen + len(data):
        data[place - seen] ^= 0x10
    seen += len(data)
    while data:
        del data[: os.write(1, data)]
"""


@dataclass
class Line:
    """Runs the forced command on this machine; `damage_at` counts the bytes that come from the source."""

    damage_at: int | None = None

    @contextmanager
    def grant(self, initiator, peer, *, force_command, seconds, peer_user, initiator_user=None):
        if self.damage_at is not None:
            damage = shlex.join([sys.executable, "-c", DAMAGE, str(self.damage_at)])
            force_command = f"{force_command} | {damage}"
        yield Access(ssh_words=("sh", "-c"), destination=force_command)


@dataclass
class Ends:
    top: Path
    line: Line

    def mover(self, **settings):
        return BlockVolumeMover(
            LocalTransport,
            self.line,
            HostPointStores(LocalTransport, SystemClock()),
            BlockVolumeSettings(streams=1, share_blocks=False, **settings),
        )

    def host(self, name):
        return Host(name=name, site="onprem", address="127.0.0.1", path_prefix=str(self.top / name), become=False)

    @property
    def source(self):
        return self.host("source")

    @property
    def replica(self):
        return self.host("replica")

    @property
    def source_image(self) -> Path:
        return self.top / "source/disk.img"

    @property
    def replica_image(self) -> Path:
        return self.top / "replica/disk.img"

    def copy(self, **settings):
        return self.mover(**settings).copy(VOLUME, self.source, self.replica)

    def equal(self):
        return self.source_image.read_bytes() == self.replica_image.read_bytes()


@pytest.fixture
def ends(tmp_path):
    for name in ("source", "replica"):
        (tmp_path / name).mkdir()
    made = Ends(tmp_path, Line())
    made.source_image.write_bytes(random.randbytes(3 * MIB))
    return made


def change(path: Path, places: int) -> None:
    with path.open("r+b") as stream:
        for _ in range(places):
            stream.seek(random.randrange(0, 3 * MIB - 4096))
            stream.write(random.randbytes(64))


@pytest.mark.parametrize("place", [0, 3, 13, 19, 22, 30, 80, 100, 700, 40_000, 1_200_000, 3_100_000])
def test_a_first_copy_over_a_line_that_damages_a_byte_is_refused_and_resumed(ends, place):
    ends.line.damage_at = place
    with pytest.raises(HostUnreachable, match="copy of disk from source to replica broke off"):
        ends.copy()
    assert not ends.replica_image.exists()
    ends.line.damage_at = None
    ends.copy()
    assert ends.equal()


@pytest.mark.parametrize("place", [0, 5, 25, 60, 90, 130, 200, 400, 800, 2_000, 20_000, 60_000])
def test_a_delta_over_a_line_that_damages_a_byte_changes_nothing(ends, place):
    ends.copy()
    good = ends.replica_image.read_bytes()
    change(ends.source_image, 40)
    ends.line.damage_at = place
    try:
        ends.copy()
    except HostUnreachable:
        assert ends.replica_image.read_bytes() == good
        ends.line.damage_at = None
        ends.copy()
    # A page that arrived damaged is asked for once more, so that a copy may also go well.
    assert ends.equal()


def test_a_target_that_shrank_is_made_whole(ends):
    ends.copy()
    os.truncate(ends.replica_image, MIB + 5)
    ends.copy()
    assert ends.equal()


def test_a_target_that_shrinks_during_the_copy_is_told_and_healed_by_the_next(ends):
    ends.copy()
    change(ends.source_image, 60)
    mover = ends.mover(bandwidth_bytes_per_second=60_000)
    with pytest.raises(DataError, match="replica: disk at .*disk.img: .*(became shorter|somebody else changed it)"):
        mover.copy(VOLUME, ends.source, ends.replica, progress=lambda _: os.truncate(ends.replica_image, MIB))
    ends.copy()
    assert ends.equal()


def test_a_target_that_is_written_during_the_copy_is_told_and_healed_by_the_next(ends):
    ends.copy()
    change(ends.source_image, 60)
    mover = ends.mover(bandwidth_bytes_per_second=60_000)
    with pytest.raises(DataError, match="somebody else changed it while it was copied to"):
        mover.copy(VOLUME, ends.source, ends.replica, progress=lambda _: change(ends.replica_image, 1))
    ends.copy()
    assert ends.equal()


def test_a_source_that_is_cut_off_while_it_is_read_is_told_and_nothing_changes(ends):
    ends.copy()
    good = ends.replica_image.read_bytes()
    change(ends.source_image, 400)
    mover = ends.mover(bandwidth_bytes_per_second=200_000)
    with pytest.raises(SourceChanged, match="source: disk (became shorter|changed)"):
        mover.copy(VOLUME, ends.source, ends.replica, progress=lambda _: os.truncate(ends.source_image, MIB))
    assert ends.replica_image.read_bytes() == good
    # What is left holds a third of the data: only a person can say that this is meant.
    with pytest.raises(SourceShrank):
        ends.copy()
    assert ends.replica_image.read_bytes() == good
    mover.let_empty(VOLUME)
    mover.copy(VOLUME, ends.source, ends.replica)
    assert ends.equal()


@contextmanager
def mounted(image: Path, top: Path, *options: str):
    subprocess.run(["mount", "-o", ",".join(["loop", *options]), str(image), str(top)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(top)], check=True, capture_output=True)


def file_system(folder: Path, mebibytes: int) -> Path:
    image = folder.with_suffix(".fs")
    with image.open("wb") as stream:
        stream.truncate(mebibytes * MIB)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
    return image


@pytest.mark.platform("root")
def test_a_read_error_at_the_source_is_told_and_the_replica_stays(ends):
    ends.copy()
    good = ends.replica_image.read_bytes()
    folder = ends.top / "source"
    ends.source_image.unlink()
    image = file_system(folder, 48)
    with mounted(image, folder):
        ends.source_image.write_bytes(random.randbytes(30 * MIB))
    with mounted(image, folder, "ro"):
        # The end of the disk is gone: the kernel answers with an error where it should read.
        os.truncate(image, 24 * MIB)
        with pytest.raises(DataError, match="source: disk cannot be read: .*Input/output error"):
            ends.copy()
        with pytest.raises(DataError, match="source: disk .*Input/output error"):
            ends.mover().digest(VOLUME, ends.source)
    assert ends.replica_image.read_bytes() == good


@pytest.mark.platform("root")
def test_a_cache_that_lies_is_found_by_a_digest_and_forgotten(ends):
    """What is written below the file system changes neither time nor inode: only reading everything tells."""
    folder = ends.top / "replica"
    image = file_system(folder, 64)
    with mounted(image, folder):
        ends.copy()
    raw = image.read_bytes()
    place = raw.index(ends.source_image.read_bytes()[MIB : MIB + 4096])
    with image.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"written below the file system")
    with mounted(image, folder):
        mover = ends.mover()
        assert mover.copy(VOLUME, ends.source, ends.replica).detail["bytes_written"] == "0"
        here = mover.digest(VOLUME, ends.source)
        assert mover.digest(VOLUME, ends.replica).digest != here.digest
        assert mover.differences(VOLUME, ends.source, ends.replica) == [f"bytes {MIB} to {MIB + 65535}"]
        mover.copy(VOLUME, ends.source, ends.replica)
        assert mover.digest(VOLUME, ends.replica).digest == here.digest


def test_of_two_copies_at_once_one_is_refused_and_the_target_is_whole(ends):
    ends.copy()
    change(ends.source_image, 60)
    refused: list[OrchestratorError] = []

    def second(_):
        try:
            ends.mover().copy(VOLUME, ends.source, ends.replica)
        except OrchestratorError as error:
            refused.append(error)

    ends.mover(bandwidth_bytes_per_second=60_000).copy(VOLUME, ends.source, ends.replica, progress=second)
    assert {type(error).__name__ for error in refused} == {"RunInProgress"}
    assert ends.equal()
