"""Disk images between real hosts: leaves, logs, commits, and everything that dies meanwhile."""

import os
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import (
    DataError,
    HostUnreachable,
    NoSpace,
    OrchestratorError,
    RunInProgress,
    SourceChanged,
)
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.ssh import SshTransports, open_transports
from orchestrator.lab.faults import Fault, parse_fault
from orchestrator.lab.town import Town
from orchestrator.model.dataset import BlockVolume
from orchestrator.movers.block_volume import BlockVolumeMover, BlockVolumeSettings
from orchestrator.snapshots.stores import HostPointStores
from tests.laws.copy_order_laws import obeyed_on
from tests.laws.volume_mover_laws import MIB, SIZE, VolumeMoverLaws

pytestmark = pytest.mark.platform("hosts")


@pytest.fixture(scope="module")
def transports(town, tmp_path_factory):
    with open_transports(town.ssh_config, tmp_path_factory.mktemp("run"), None) as opened:
        yield opened


@dataclass
class VolumeGround:
    town: Town
    transports: SshTransports
    mover: BlockVolumeMover
    volume: BlockVolume

    @property
    def source(self):
        return self.town.hosts()["onprem-a"]

    @property
    def replica(self):
        return self.town.hosts()["dr-a"]

    def path(self, host) -> Path:
        return self.town.path_on_machine(host.name, self.volume.path)

    def run(self, host, *words):
        return self.transports(host).run(words, user="root" if host.become else None, check=False).text

    def clear(self):
        for host in (self.source, self.replica):
            self.run(host, "rm", "-rf", host.path("/srv/volumes"))

    def put(self, host, offset, content):
        path = self.path(host)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if os.fstat(descriptor).st_size < SIZE:
            os.ftruncate(descriptor, SIZE)
        os.pwrite(descriptor, content, offset)
        os.close(descriptor)

    def read(self, host):
        return self.path(host).read_bytes()

    def obeyed(self, **orders):
        obeyed_on(self.transports, self.replica, **orders)

    def slow(self, mib_per_second, streams=2):
        access = CertifiedAccess(self.transports, self.town.user_ca)
        settings = BlockVolumeSettings(bandwidth_bytes_per_second=int(mib_per_second * MIB), streams=streams)
        return BlockVolumeMover(self.transports, access, HostPointStores(self.transports, SystemClock()), settings)

    def big(self, mib):
        """A source of `mib` MiB of data, beyond what one stripe holds."""
        path = self.path(self.source)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            for _ in range(mib):
                stream.write(random.randbytes(MIB))

    def traces(self):
        places = "/run/skerry-a* /dev/shm/skerry-a* /tmp/skerry-a*"
        return [
            line
            for host in (self.source, self.replica)
            for line in self.run(host, "sh", "-c", f"ls -d {places} 2>/dev/null").split()
        ]


@pytest.fixture
def ground(town, transports):
    access = CertifiedAccess(transports, town.user_ca)
    volume = BlockVolume(name="disk", path="/srv/volumes/disk.img")
    mover = BlockVolumeMover(transports, access, HostPointStores(transports, SystemClock()))
    made = VolumeGround(town, transports, mover, volume)
    made.clear()
    yield made
    made.clear()


class TestBlockVolumeMover(VolumeMoverLaws):
    def test_the_digest_of_the_copy_is_the_digest_of_both_ends(self, ground):
        self.fill(ground)
        report = ground.mover.copy(ground.volume, ground.source, ground.replica)
        assert report.detail["digest"] == ground.mover.digest(ground.volume, ground.source).digest
        assert report.detail["digest"] == ground.mover.digest(ground.volume, ground.replica).digest
        assert ground.traces() == []


def test_the_source_may_grow_and_shrink(ground):
    for mib in (6, 70, 40):
        ground.big(mib)
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        assert ground.read(ground.replica) == ground.read(ground.source)


def test_a_signature_is_believed_only_for_the_very_volume(ground):
    ground.big(20)
    ground.mover.copy(ground.volume, ground.source, ground.replica)
    again = ground.mover.copy(ground.volume, ground.source, ground.replica)
    assert again.detail["bytes_rescanned"] == "0"
    # Written behind our back, with size and mtime as they were: ctime tells.
    path = ground.path(ground.replica)
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(5 * MIB)
        stream.write(b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    mended = ground.mover.copy(ground.volume, ground.source, ground.replica)
    assert int(mended.detail["bytes_rescanned"]) == 20 * MIB
    assert ground.read(ground.replica) == ground.read(ground.source)


def test_a_damaged_signature_is_made_anew(ground):
    ground.big(4)
    ground.mover.copy(ground.volume, ground.source, ground.replica)
    signature = ground.path(ground.replica).parent / ".skerry-points" / "disk.img.volume" / "signature"
    content = bytearray(signature.read_bytes())
    content[-40] ^= 1
    signature.write_bytes(content)
    assert ground.mover.copy(ground.volume, ground.source, ground.replica).detail["bytes_rescanned"] != "0"


def in_background(ground, mover):
    """A copy in a thread: (thread, event of its first progress, list of errors)."""
    begun, errors = threading.Event(), []

    def copy():
        try:
            mover.copy(
                ground.volume, ground.source, ground.replica, progress=lambda moment: moment.bytes_done and begun.set()
            )
        except OrchestratorError as error:
            errors.append(error)

    thread = threading.Thread(target=copy)
    thread.start()
    return thread, begun, errors


@pytest.mark.parametrize("victim", ["source", "replica", "ssh"])
def test_a_first_copy_killed_in_the_middle_is_resumed(ground, victim):
    ground.big(160)
    thread, begun, errors = in_background(ground, ground.slow(60))
    assert begun.wait(60)
    host = ground.source if victim == "source" else ground.replica
    pattern = {"source": "[a]gent.py serve", "replica": '"do": "[p]ull"', "ssh": "[s]sh -F none"}[victim]
    ground.run(host, "pkill", "-9", "-f", pattern)
    thread.join()
    assert errors, "the copy ended before it was killed"
    assert not ground.path(ground.replica).exists()
    report = ground.mover.copy(ground.volume, ground.source, ground.replica)
    assert report.detail["base"] == "target"
    assert report.bytes_wire < 158 * MIB
    assert ground.read(ground.replica) == ground.read(ground.source)


def test_a_delta_killed_in_the_middle_leaves_the_last_good_state_and_is_resumed(ground):
    ground.big(130)
    ground.mover.copy(ground.volume, ground.source, ground.replica)
    good = ground.mover.digest(ground.volume, ground.replica).digest
    ground.big(130)
    thread, begun, errors = in_background(ground, ground.slow(30))
    assert begun.wait(60)
    time.sleep(1)
    ground.run(ground.replica, "pkill", "-9", "-f", '"do": "[p]ull"')
    thread.join()
    assert errors
    assert ground.mover.digest(ground.volume, ground.replica).digest == good
    report = ground.mover.copy(ground.volume, ground.source, ground.replica)
    assert int(report.detail["leaves_resumed"]) > 0
    assert report.bytes_wire < 130 * MIB
    assert ground.read(ground.replica) == ground.read(ground.source)


def test_what_was_logged_for_another_base_is_not_believed(ground):
    ground.big(130)
    ground.mover.copy(ground.volume, ground.source, ground.replica)
    for offset in range(0, 130 * MIB, MIB):
        ground.put(ground.source, offset + 100, os.urandom(8))
    thread, begun, errors = in_background(ground, ground.slow(0.1))
    assert begun.wait(60)
    time.sleep(1.5)
    ground.run(ground.replica, "pkill", "-9", "-f", '"do": "[p]ull"')
    thread.join()
    assert errors
    # The log holds pages against a base that is no longer what it was.
    for offset in range(0, 130 * MIB, MIB):
        ground.put(ground.replica, offset + 50_000, os.urandom(8))
    ground.mover.copy(ground.volume, ground.source, ground.replica)
    assert ground.read(ground.replica) == ground.read(ground.source)


def test_a_source_that_changes_is_refused_and_the_replica_stays(ground):
    ground.big(70)
    ground.mover.copy(ground.volume, ground.source, ground.replica)
    good = ground.mover.digest(ground.volume, ground.replica).digest
    stop = threading.Event()

    def scribble():
        while not stop.is_set():
            ground.put(ground.source, random.randrange(0, 70 * MIB), b"again")
            time.sleep(0.005)

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        with pytest.raises(SourceChanged, match="onprem-a: disk changed while it was copied"):
            ground.mover.copy(ground.volume, ground.source, ground.replica)
    finally:
        stop.set()
        writer.join()
    assert ground.mover.digest(ground.volume, ground.replica).digest == good
    ground.mover.copy(ground.volume, ground.source, ground.replica)
    assert ground.read(ground.replica) == ground.read(ground.source)


def test_a_full_disk_is_told_and_the_last_good_state_stays(ground, town):
    ground.put(ground.source, 3 * MIB, os.urandom(MIB))
    ground.path(ground.replica).parent.mkdir(parents=True)
    full = parse_fault(["disk-full", "dr-a", "/srv/volumes", "6"])
    town.put_fault(full)
    try:
        ground.mover.copy(ground.volume, ground.source, ground.replica)
        good = ground.mover.digest(ground.volume, ground.replica).digest
        ground.put(ground.source, 0, os.urandom(12 * MIB))
        with pytest.raises(NoSpace, match="dr-a: no room for disk"):
            ground.mover.copy(ground.volume, ground.source, ground.replica)
        assert ground.mover.digest(ground.volume, ground.replica).digest == good
    finally:
        town.heal(full)


def test_a_cut_line_breaks_the_copy_off(ground, town):
    ground.big(160)
    thread, begun, errors = in_background(ground, ground.slow(20))
    assert begun.wait(60)
    town.put_fault(Fault("partition", ("onprem", "dr")))
    try:
        thread.join()
    finally:
        town.heal()
    assert isinstance(errors[0], HostUnreachable)
    ground.mover.copy(ground.volume, ground.source, ground.replica)
    assert ground.read(ground.replica) == ground.read(ground.source)


def test_two_copies_do_not_run_at_once(ground):
    ground.big(80)
    thread, begun, errors = in_background(ground, ground.slow(30))
    assert begun.wait(60)
    with pytest.raises(RunInProgress):
        ground.mover.copy(ground.volume, ground.source, ground.replica)
    thread.join()
    assert errors == []


def test_a_source_that_cannot_be_read_is_named(ground):
    ground.run(ground.source, "mkdir", "-p", ground.source.path("/srv/volumes/disk.img"))
    with pytest.raises(DataError, match="onprem-a: disk"):
        ground.mover.copy(ground.volume, ground.source, ground.replica)
    assert ground.traces() == []
