"""Trouble with copies between real hosts: lossy lines, damaged streams, failing disks, lies, wrong clocks.

In all of it the last good point stays, what is wrong is told or found, and the next copy ends equal.
"""

import os
import random
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import AccessDenied, DataError, HostError, HostUnreachable, SourceChanged
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.ssh import SshTransports, open_transports
from orchestrator.lab.faults import parse_fault
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.model.host import Host
from orchestrator.movers.block_volume import BlockVolumeMover, BlockVolumeSettings
from orchestrator.movers.file_tree import FileTreeMover, FileTreeSettings
from orchestrator.snapshots.stores import HostPointStores
from tests.platform.local_sshd import sshd_pair
from tests.platform.moving import TreeGround
from tests.platform.test_movers_volume_trouble import DAMAGE, file_system, mounted

pytestmark = [pytest.mark.platform("hosts", "rsync"), pytest.mark.timeout(300)]

KIB, MIB = 1 << 10, 1 << 20
TREE = FileTree(name="documents", path="/srv/trouble/documents", changes="replaced")
VOLUME = BlockVolume(name="disk", path="/srv/trouble/disk.img")


@dataclass
class DamagedAccess:
    """Grants as `inner` does, but one bit of what the source sends within the forced command is turned."""

    inner: CertifiedAccess
    place: int | None = None

    @contextmanager
    def grant(self, initiator, peer, *, force_command, **more):
        if self.place is not None:
            force_command += " | " + shlex.join(["python3", "-c", DAMAGE, str(self.place)])
        with self.inner.grant(initiator, peer, force_command=force_command, **more) as access:
            yield access


@dataclass
class Copies:
    """The tree and the volume of one pair of hosts, and what is held of them at the replica."""

    transports: SshTransports
    access: DamagedAccess
    source: Host
    replica: Host

    def __post_init__(self) -> None:
        stores = HostPointStores(self.transports, SystemClock())
        settings = FileTreeSettings(stall_seconds=20)
        self.trees = FileTreeMover(self.transports, self.access, stores, settings)
        whole = BlockVolumeSettings(streams=1, share_blocks=False)
        self.volumes = BlockVolumeMover(self.transports, self.access, stores, whole)

    def copy(self, what):
        mover = self.trees if what is TREE else self.volumes
        return mover.copy(what, self.source, self.replica)

    def digest(self, what, host, **more):
        mover = self.trees if what is TREE else self.volumes
        return mover.digest(what, host, **more).digest

    def equal(self, what):
        return self.digest(what, self.source) == self.digest(what, self.replica)

    def differences(self, what):
        mover = self.trees if what is TREE else self.volumes
        return list(mover.differences(what, self.source, self.replica))


@pytest.fixture(scope="module")
def transports(town, tmp_path_factory):
    with open_transports(town.ssh_config, tmp_path_factory.mktemp("run"), None) as opened:
        yield opened


@pytest.fixture
def copies(town, transports) -> Iterator[Copies]:
    """Between onprem-a and dr-a of the lab."""
    hosts = town.hosts()
    access = DamagedAccess(CertifiedAccess(transports, town.user_ca))
    made = Copies(transports, access, hosts["onprem-a"], hosts["dr-a"])
    ground = TreeGround(town, transports, made.trees, TREE)
    ground.clear()
    yield made
    ground.clear()


@pytest.fixture
def outside(town, copies):
    """Where a path of the source lies on this machine."""
    return lambda what: town.path_on_machine(copies.source.name, what.path)


def write_tree(top: Path, files: int, size: int) -> None:
    for number in range(files):
        path = top / f"folder{number % 3}" / f"file {number:02d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(".aside")
        aside.write_bytes(random.randbytes(size))
        aside.replace(path)


def change(what, path: Path) -> None:
    if what is TREE:
        write_tree(path, 12, 96 * KIB)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if path.exists() else "wb") as stream:
        stream.write(random.randbytes(2 * MIB))


@pytest.mark.platform("nft", "namespaces")
@pytest.mark.parametrize("what", [TREE, VOLUME], ids=["tree", "volume"])
def test_a_line_that_loses_three_packets_of_ten_delays_a_copy_or_breaks_it_off_by_name(town, copies, outside, what):
    change(what, outside(what))
    copies.copy(what)
    point = (copies.trees if what is TREE else copies.volumes).points(what, copies.replica).take("good")
    good = copies.digest(what, copies.replica, point=point.id)
    change(what, outside(what))
    fault = parse_fault(["loss", "onprem", "dr", "300"])
    town.put_fault(fault)
    ends = []
    try:
        for _ in range(2):
            try:
                copies.copy(what)
            except HostUnreachable as error:
                ends.append(error.message)
            else:
                ends.append("arrived")
                assert copies.equal(what)
    finally:
        town.heal(fault)
    assert all(end == "arrived" or f"copy of {what.name} from onprem-a to dr-a broke off" in end for end in ends), ends
    assert copies.digest(what, copies.replica, point=point.id) == good
    copies.copy(what)
    assert copies.equal(what)


@pytest.mark.parametrize("place", [2, 40, 300, 2_000, 40_000, 500_000])
@pytest.mark.parametrize("what", [TREE, VOLUME], ids=["tree", "volume"])
def test_a_bit_that_is_turned_within_the_stream_never_passes_as_equal(copies, outside, what, place):
    change(what, outside(what))
    copies.copy(what)
    good = copies.digest(what, copies.replica)
    change(what, outside(what))
    copies.access.place = place
    try:
        copies.copy(what)
    except (HostError, DataError) as error:
        said = error.message
        assert f"{what.name} from onprem-a to dr-a" in said
        if what is VOLUME:
            assert copies.digest(what, copies.replica) == good
    copies.access.place = None
    # Whatever arrived: the digests are equal only where nothing differs, and the next copy mends the rest.
    assert copies.equal(what) == (not copies.differences(what))
    copies.copy(what)
    assert copies.differences(what) == []


# Every program of the host reads a clock that is off; the kernel's own, and ours, are right.
CLOCK = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t which, struct timespec *now) {
    long code = syscall(SYS_clock_gettime, which, now);
    if (!code && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += OFFSET;
    return code;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    int code = clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return code;
}
time_t time(time_t *where) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (where) *where = found.tv_sec;
    return found.tv_sec;
}
"""


@contextmanager
def clock_off(town, host: Host, seconds: int, folder: Path):
    program = folder / "clock.c"
    program.write_text(CLOCK)
    library = town.path_on_machine(host.name, "/srv/clock.so")
    words = ["gcc", "-shared", "-fPIC", "-O1", f"-DOFFSET=({seconds})", "-o", str(library), str(program)]
    subprocess.run(words, check=True, capture_output=True)
    library.chmod(0o755)
    preload = town.path_on_machine(host.name, "/etc/ld.so.preload")
    preload.write_text("/srv/clock.so\n")
    try:
        yield
    finally:
        preload.unlink()
        library.unlink()


DAY = 24 * 3600


@pytest.mark.platform("gcc", "namespaces")
@pytest.mark.parametrize("what", [TREE, VOLUME], ids=["tree", "volume"])
@pytest.mark.parametrize(("seconds", "said"), [(DAY, "ahead of"), (-DAY, "behind")])
def test_a_source_whose_clock_is_off_by_a_day_is_named_with_its_clock(
    town, copies, outside, tmp_path, what, seconds, said
):
    change(what, outside(what))
    copies.copy(what)
    good = copies.digest(what, copies.replica)
    change(what, outside(what))
    with (
        clock_off(town, copies.source, seconds, tmp_path),
        pytest.raises(AccessDenied, match=rf"clock of onprem-a is 8\d{{4}} s {said} this machine's") as refused,
    ):
        copies.copy(what)
    assert "Set the clock of onprem-a" in refused.value.hint
    assert copies.digest(what, copies.replica) == good
    copies.copy(what)
    assert copies.equal(what)


@pytest.mark.platform("gcc", "namespaces")
@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_replica_whose_clock_is_off_by_a_day_gets_its_copy_all_the_same(town, copies, outside, tmp_path, seconds):
    change(TREE, outside(TREE))
    with clock_off(town, copies.replica, seconds, tmp_path):
        copies.copy(TREE)
        assert copies.equal(TREE)
        change(TREE, outside(TREE))
        copies.copy(TREE)
        assert copies.equal(TREE)


@pytest.fixture
def beside(tmp_path) -> Iterator[tuple[Copies, Path, Path]]:
    """Two real sshds that share this machine's file systems, so that a test can take one from under them."""
    with ExitStack() as held:
        one, other = held.enter_context(sshd_pair(tmp_path / "sshd"))
        transports = held.enter_context(open_transports(one.ssh_config, tmp_path / "run", None))
        hosts = []
        for sshd, name in ((one, "source"), (other, "replica")):
            (tmp_path / name / "srv/trouble").mkdir(parents=True)
            changed = {"name": name, "path_prefix": str(tmp_path / name), "become": False}
            hosts.append(sshd.host.model_copy(update=changed))
        access = DamagedAccess(CertifiedAccess(transports, one.user_ca))
        source, replica = (Path(host.path("/srv/trouble")) for host in hosts)
        yield Copies(transports, access, *hosts), source, replica


@pytest.mark.platform("root")
def test_a_tree_of_which_the_disk_cannot_read_a_file_is_told_and_the_good_point_stays(beside):
    copies, source, replica = beside
    image = file_system(source, 48)
    with mounted(image, source):
        write_tree(source / "documents", 10, 3 * MIB)
        copies.copy(TREE)
    good = copies.trees.points(TREE, copies.replica).take("good")
    held = copies.digest(TREE, copies.replica, point=good.id)
    with mounted(image, source, "ro"):
        # The end of the disk is gone: the kernel answers with an error where it should read.
        os.truncate(image, 20 * MIB)
        for path in sorted((replica / "documents").rglob("file*")):
            path.unlink()
        with pytest.raises(DataError, match=r"documents from source to replica failed: .*Input/output error"):
            copies.copy(TREE)
        with pytest.raises(DataError, match=r"source.*Input/output error"):
            copies.digest(TREE, copies.source)
    assert copies.digest(TREE, copies.replica, point=good.id) == held


@pytest.mark.platform("root")
def test_a_tree_that_rots_below_its_file_system_is_found_by_reading_all_and_healed_by_the_next_copy(beside):
    copies, source, replica = beside
    write_tree(source / "documents", 4, 512 * KIB)
    image = file_system(replica, 64)
    with mounted(image, replica):
        copies.copy(TREE)
        assert copies.equal(TREE)
        copies.digest(TREE, copies.replica, reading="changed")  # what it remembers from now on
        os.sync()
        wanted = (source / "documents/folder1/file 01").read_bytes()[:4096]
        with image.open("r+b") as stream:
            place = stream.read().index(wanted) + 100
            stream.seek(place)
            stream.write(bytes([wanted[100] ^ 1]))
        # Neither size nor any time tells of it: who reads only what changed believes it.
        assert copies.digest(TREE, copies.replica, reading="changed") == copies.digest(TREE, copies.source)
        with pytest.raises(DataError, match="file 01"):
            copies.digest(TREE, copies.replica, reading="scrub")
        assert copies.digest(TREE, copies.replica) != copies.digest(TREE, copies.source)
        assert copies.differences(TREE) == ["folder1/file 01: content"]
        copies.copy(TREE)
        assert copies.differences(TREE) == []
        assert copies.equal(TREE)
        # Healed is healed: the next copy reads no more than any other.
        assert copies.copy(TREE).files == 0


def test_a_target_that_somebody_shrinks_or_empties_is_made_whole(beside):
    copies, source, replica = beside
    write_tree(source / "documents", 6, 200 * KIB)
    copies.copy(TREE)
    files = sorted((replica / "documents").rglob("file*"))
    os.truncate(files[0], 10)
    files[1].write_bytes(b"")
    files[2].unlink()
    assert not copies.equal(TREE)
    copies.copy(TREE)
    assert copies.equal(TREE)
    subprocess.run(["rm", "-rf", str(replica / "documents")], check=True)
    copies.copy(TREE)
    assert copies.equal(TREE)


def test_a_source_that_is_modified_during_the_copy_never_passes_as_equal(beside):
    copies, source, _ = beside
    write_tree(source / "documents", 6, 4 * MIB)
    copies.trees._settings = FileTreeSettings(bandwidth_bytes_per_second=16 * MIB)
    busy = source / "documents/folder2/file 05"

    def scribble(_):
        with busy.open("r+b") as stream:
            stream.seek(random.randrange(0, 4 * MIB - 100))
            stream.write(random.randbytes(100))

    copies.trees.copy(TREE, copies.source, copies.replica, progress=scribble)
    try:
        assert copies.equal(TREE) == (not copies.differences(TREE))
    except SourceChanged:
        pytest.fail("nobody writes any more")
    copies.trees._settings = FileTreeSettings()
    copies.copy(TREE)
    assert copies.differences(TREE) == []
