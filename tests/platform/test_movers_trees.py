"""File trees between real hosts: rsync, certificates, points, digests."""

import os
import shutil
import threading
import time
from contextlib import contextmanager

import pytest

from orchestrator.contracts.programs import root_user
from orchestrator.foundation.errors import (
    DataError,
    HostUnreachable,
    MissingTool,
    NoSpace,
    RunInProgress,
    SourceChanged,
)
from orchestrator.hosts.ssh import open_transports
from orchestrator.lab.faults import Fault, parse_fault
from orchestrator.model.dataset import FileTree
from orchestrator.movers.file_tree import FileTreeSettings
from orchestrator.movers.host_programs.rsync_line import LIVED_SECONDS_MIN
from tests.laws.point_store_laws import PointStoreLaws
from tests.laws.tree_mover_laws import TreeMoverLaws
from tests.platform.moving import PointGround, TreeGround, file_tree_mover

pytestmark = pytest.mark.platform("hosts", "rsync")


@pytest.fixture(scope="module")
def transports(town, tmp_path_factory):
    with open_transports(town.ssh_config, tmp_path_factory.mktemp("run"), None) as opened:
        yield opened


def make_ground(town, transports, changes="replaced"):
    tree = FileTree(name="documents", path="/srv/movers/documents", changes=changes)
    ground = TreeGround(town, transports, file_tree_mover(town, transports), tree)
    ground.clear()
    return ground


@contextmanager
def fault(town, *words):
    put = parse_fault(words)
    town.put_fault(put)
    try:
        yield
    finally:
        town.heal(put)


@pytest.fixture
def ground(town, transports):
    made = make_ground(town, transports)
    yield made
    made.clear()


def test_what_was_prepared_brings_changes_by_name_over_an_open_line(ground):
    for number in range(20):
        ground.write(ground.source, f"{number % 4}/{number}", b"x" * 1000)
    mover, tree, source, replica, cloud = ground.mover, ground.tree, ground.source, ground.replica, ground.cloud
    mover.copy(tree, source, replica)
    mover.copy(tree, replica, cloud)
    ground.write(source, "3/3", b"before it was prepared")
    assert mover.prepare_last(tree, source, replica) == ""
    mover.copy(tree, source, replica)
    assert mover.prepare_last(tree, replica, cloud) == ""
    mover.copy(tree, replica, cloud)
    ground.write(source, "1/1", b"changed")
    ground.write(source, "new/deep/one", b"new")
    ground.remove(source, "2/2")
    for one, other in ((source, replica), (replica, cloud)):
        report = mover.copy_last(tree, one, other)
        assert report.detail["way"] == "what changed, by name"
        assert ground.read(other) == ground.read(source)
    digests = {mover.digest(tree, host, reading="watched").digest for host in (source, replica, cloud)}
    assert digests == {mover.digest(tree, source).digest}
    mover.release_last(tree)


def test_an_rsync_stands_ready_over_the_line_and_one_that_ended_is_replaced(ground):
    mover, tree, source, replica = ground.mover, ground.tree, ground.source, ground.replica

    def standing():
        words = ["pgrep", "-f", f"^rsync .*--files-from=- .*{replica.path(tree.path)}/$"]
        return ground.transports(replica).run(words, user=root_user(replica), check=False).text.split()

    def await_standing(right):
        deadline = time.monotonic() + 30
        while not right(standing()):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def bring(content):
        ground.write(source, "a", content)
        assert mover.copy_last(tree, source, replica).detail["way"] == "what changed, by name"
        assert ground.read(replica)["a"] == content

    ground.write(source, "a", b"one")
    mover.copy(tree, source, replica)
    assert mover.prepare_last(tree, source, replica) == ""
    first = standing()
    assert len(first) == 1
    bring(b"two")
    assert standing() == []  # it was used, and clients may still wait
    assert mover.prepare_last(tree, source, replica) == ""
    second = standing()
    assert len(second) == 1
    assert mover.prepare_last(tree, source, replica) == ""
    assert standing() == second
    time.sleep(LIVED_SECONDS_MIN)
    ground.run(replica, ["kill", *second])
    await_standing(lambda found: found and found != second)
    bring(b"three")
    assert mover.prepare_last(tree, source, replica) == ""
    ground.run(replica, ["kill", *standing()])
    await_standing(lambda found: not found)
    bring(b"four")  # at once: none stands ready
    mover.release_last(tree)


def test_no_name_leads_out_of_the_tree_over_an_open_line(ground):
    """Neither through a link of the tree, whatever a replica asks for, nor where a folder became one meanwhile."""
    mover, tree, source, replica = ground.mover, ground.tree, ground.source, ground.replica
    outside = ground.path(source).parent / "outside"
    for name in ("folder/file", "kept/one"):
        ground.write(source, name, b"within")
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    (ground.path(source) / "link").symlink_to("../outside")
    mover.copy(tree, source, replica)
    assert mover.prepare_last(tree, source, replica) == ""
    ground.write(source, "folder/file", b"changed")
    seen = mover._ready.seen(tree, source)
    assert "folder/file" in seen.names
    shutil.rmtree(ground.path(source) / "folder")
    (ground.path(source) / "folder").symlink_to("../outside")
    mover._ready.pull(tree, source, replica, [*seen.names, "link/file"], None)
    assert b"secret" not in ground.read(replica).values()
    mover.copy_last(tree, source, replica)
    assert mover.digest(tree, replica).digest == mover.digest(tree, source).digest
    mover.release_last(tree)


@pytest.mark.platform("root")  # hosts of an ordinary user let nobody mount
def test_a_tree_with_other_file_systems_below_it_has_no_line(ground):
    ground.write(ground.source, "disk/a", b"one")
    disk = f"{ground.source.path(ground.tree.path)}/disk"
    ground.mover.copy(ground.tree, ground.source, ground.replica)
    ground.run(ground.source, ["mount", "--bind", disk, disk])
    try:
        why = ground.mover.prepare_last(ground.tree, ground.source, ground.replica)
    finally:
        ground.run(ground.source, ["umount", disk])
    assert "other file systems are mounted below" in why
    ground.mover.release_last()


def test_where_a_line_or_a_watch_is_gone_the_long_way_is_taken(ground):
    ground.write(ground.source, "a", b"one")
    ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert ground.mover.prepare_last(ground.tree, ground.source, ground.replica) == ""
    ground.transports(ground.replica).forget()  # whatever ran over the connection ends
    ground.write(ground.source, "a", b"two")
    report = ground.mover.copy_last(ground.tree, ground.source, ground.replica)
    assert "way" not in report.detail
    assert ground.read(ground.replica) == {"a": b"two"}
    watched = ground.mover.digest(ground.tree, ground.replica, reading="watched")
    assert watched.digest == ground.mover.digest(ground.tree, ground.source).digest
    ground.mover.release_last()


def test_a_tree_that_is_changed_in_place_is_not_watched(town, transports):
    ground = make_ground(town, transports, changes="in_place")
    ground.write(ground.source, "a", b"one")
    assert "changed in place" in ground.mover.prepare_last(ground.tree, ground.source, ground.replica)
    ground.clear()


class TestFileTreeMover(TreeMoverLaws):
    pass


class TestPortablePointsByLinks(PointStoreLaws):
    @pytest.fixture
    def ground(self, town, transports):
        trees = make_ground(town, transports)
        yield PointGround(trees)
        trees.clear()


class TestPortablePointsByCopies(PointStoreLaws):
    @pytest.fixture
    def ground(self, town, transports):
        trees = make_ground(town, transports, changes="in_place")
        yield PointGround(trees)
        trees.clear()

    def test_a_point_of_a_tree_written_in_place_keeps_its_content(self, ground):
        ground.write("a", b"one")
        point = ground.store.take("p1")
        with (ground.trees.path(ground.trees.source) / "a").open("r+b") as stream:
            stream.write(b"two")
        assert ground.read_point(point) == {"a": b"one"}


def test_hard_links_that_became_two_files_are_found(ground):
    ground.write(ground.source, "one", b"linked")
    os.link(ground.path(ground.source) / "one", ground.path(ground.source) / "two")
    ground.mover.copy(ground.tree, ground.source, ground.replica)
    there = ground.path(ground.replica)
    before, folder = (there / "two").stat(), there.stat()
    (there / "two").unlink()
    (there / "two").write_bytes(b"linked")
    os.utime(there / "two", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(there, ns=(folder.st_atime_ns, folder.st_mtime_ns))
    found = ground.mover.differences(ground.tree, ground.source, ground.replica)
    assert found == ["one: one file with two only at onprem-a"]


def test_a_file_of_many_pieces_is_compared_to_the_last_bit(ground):
    content = os.urandom(1 << 20) * 70
    ground.write(ground.source, "big", content + b"end")
    ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert ground.mover.differences(ground.tree, ground.source, ground.replica) == []
    path = ground.path(ground.replica) / "big"
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(33 * 1024 * 1024 + 5)
        bit = stream.read(1)[0] ^ 0x10
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([bit]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    # Size and time say that nothing changed, so rsync has nothing to do; the digest knows better.
    assert ground.mover.copy(ground.tree, ground.source, ground.replica).files == 0
    assert ground.mover.differences(ground.tree, ground.source, ground.replica) == ["big: content"]


def test_a_change_within_one_second_arrives(ground):
    """Of equal size, and with a time that differs in its nanoseconds only; of a folder nothing but the time differs."""
    ground.write(ground.source, "folder/record", b"first")
    file, folder = ground.path(ground.source) / "folder/record", ground.path(ground.source) / "folder"
    second = 1_700_000_000 * 10**9
    os.utime(file, ns=(second, second + 1))
    os.utime(folder, ns=(second, second + 1))
    ground.mover.copy(ground.tree, ground.source, ground.replica)
    file.write_bytes(b"later")
    os.utime(file, ns=(second, second + 2))
    os.utime(folder, ns=(second, second + 2))
    ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert ground.mover.differences(ground.tree, ground.source, ground.replica) == []
    assert ground.read(ground.replica) == {"folder/record": b"later"}


def test_a_tree_that_changes_while_it_is_digested_has_no_digest(ground):
    ground.write(ground.source, "still", b"x")
    ground.write(ground.source, "busy", os.urandom(48 << 20))  # reading it lasts much longer than the writer rests
    stop = threading.Event()

    def scribble():
        with (ground.path(ground.source) / "busy").open("r+b", buffering=0) as stream:
            while not stop.wait(0.001):
                os.pwrite(stream.fileno(), os.urandom(64), 0)

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        with pytest.raises(SourceChanged, match="busy .changed while it was read"):
            # A machine that lets the writer wait for so long may see the file at rest: then it is asked again.
            for _ in range(20):
                ground.mover.digest(ground.tree, ground.source)
    finally:
        stop.set()
        writer.join()


def test_a_missing_source_is_refused_and_deletes_nothing(ground):
    ground.write(ground.replica, "kept", b"last good copy")
    with pytest.raises(DataError, match="documents"):
        ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert ground.read(ground.replica) == {"kept": b"last good copy"}


def test_two_copies_to_one_replica_do_not_run_at_once(ground):
    for number in range(30):
        ground.write(ground.source, f"f{number:02d}", os.urandom(2 << 20))
    slow = file_tree_mover(ground.town, ground.transports, FileTreeSettings(bandwidth_bytes_per_second=20 << 20))
    outcomes = []
    first = threading.Thread(
        target=lambda: outcomes.append(
            slow.copy(ground.tree, ground.source, ground.replica, progress=lambda _: begun.set())
        )
    )
    begun = threading.Event()
    first.start()
    begun.wait(20)
    with pytest.raises(RunInProgress):
        ground.mover.copy(ground.tree, ground.source, ground.replica)
    first.join()
    assert outcomes[0].files == 30
    assert outcomes[0].seconds > 1.5  # the limit held


def test_a_copy_killed_in_the_middle_is_resumed(ground):
    for number in range(20):
        ground.write(ground.source, f"f{number:02d}", os.urandom(2 << 20))
    slow = file_tree_mover(ground.town, ground.transports, FileTreeSettings(bandwidth_bytes_per_second=20 << 20))
    begun = threading.Event()
    failures = []

    def note(moment):
        if moment.bytes_done:
            begun.set()

    def copy():
        try:
            slow.copy(ground.tree, ground.source, ground.replica, progress=note)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=copy)
    thread.start()
    assert begun.wait(20)
    ground.run(ground.source, ["pkill", "-9", "-x", "rsync"])
    thread.join()
    assert "broke off" in str(failures[0])
    arrived = len(ground.read(ground.replica))
    assert 0 < arrived < 20
    report = ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert report.files <= 20 - arrived + 1
    assert ground.mover.differences(ground.tree, ground.source, ground.replica) == []
    assert ground.traces() == []


def test_a_full_disk_is_told_and_what_was_there_stays(ground, town):
    ground.write(ground.source, "a", b"small")
    ground.path(ground.replica).parent.mkdir(parents=True)
    with fault(town, "disk-full", "dr-a", "/srv/movers", "12"):
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        ground.mover.points(ground.tree, ground.replica).take("good")
        good = ground.mover.digest(ground.tree, ground.replica, point="good").digest
        ground.write(ground.source, "big", os.urandom(24 << 20))
        with pytest.raises(NoSpace, match="dr-a: no room for documents"):
            ground.mover.copy(ground.tree, ground.source, ground.replica)
        assert ground.mover.digest(ground.tree, ground.replica, point="good").digest == good
        assert [point.id for point in ground.mover.points(ground.tree, ground.replica).list()] == ["good"]


def test_a_point_that_does_not_fit_leaves_nothing_behind(town, transports):
    trees = make_ground(town, transports, changes="in_place")
    trees.path(trees.source).parent.mkdir(parents=True)
    with fault(town, "disk-full", "onprem-a", "/srv/movers", "12"):
        top = trees.source.path(trees.tree.path)
        trees.run(trees.source, ["sh", "-c", f"mkdir -p {top} && head -c 8000000 /dev/urandom > {top}/big"])
        store = trees.mover.points(trees.tree, trees.source)
        with pytest.raises(NoSpace, match="onprem-a: point p1 of documents"):
            store.take("p1")
        assert store.list() == []
        assert trees.run(trees.source, ["ls", "-A", f"{top}/../.skerry-points/documents"]) == ""
    trees.clear()


def test_a_cut_line_breaks_the_copy_off_and_it_is_resumed(ground, town):
    for number in range(20):
        ground.write(ground.source, f"f{number:02d}", os.urandom(2 << 20))
    settings = FileTreeSettings(bandwidth_bytes_per_second=10 << 20, stall_seconds=5)
    slow = file_tree_mover(town, ground.transports, settings)
    cut = threading.Event()

    def on_progress(moment):
        if moment.bytes_done and not cut.is_set():
            cut.set()
            town.put_fault(Fault("partition", ("onprem", "dr")))

    try:
        with pytest.raises(HostUnreachable, match="broke off"):
            slow.copy(ground.tree, ground.source, ground.replica, progress=on_progress)
    finally:
        town.heal()
    arrived = len(ground.read(ground.replica))
    assert 0 < arrived < 20
    report = ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert report.files <= 20 - arrived + 1
    assert ground.mover.differences(ground.tree, ground.source, ground.replica) == []
    assert ground.traces() == []


def test_files_that_vanish_during_the_copy_are_named_and_never_pass_as_equal(ground):
    for number in range(400):
        ground.write(ground.source, f"f{number:03d}", os.urandom(64 << 10))
    slow = file_tree_mover(ground.town, ground.transports, FileTreeSettings(bandwidth_bytes_per_second=12 << 20))
    gone = threading.Event()

    def on_progress(moment):
        if moment.bytes_done and not gone.is_set():
            gone.set()
            for number in range(300, 400):
                ground.remove(ground.source, f"f{number:03d}")

    report = slow.copy(ground.tree, ground.source, ground.replica, progress=on_progress)
    assert int(report.detail["passes"]) > 1
    assert "f3" in report.detail["copied_again"]
    assert "unsettled" not in report.detail
    assert sorted(ground.read(ground.replica)) == [f"f{number:03d}" for number in range(300)]


def test_a_path_that_rsync_cannot_take_fails_by_name(ground):
    top = ground.path(ground.source)
    top.mkdir(parents=True)
    deep = os.open(top, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=deep)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    # The digest goes down all the way; a copy that could not is told as failed.
    assert ground.mover.digest(ground.tree, ground.source).entries == 26
    with pytest.raises(DataError, match="max-path"):
        ground.mover.copy(ground.tree, ground.source, ground.replica)


def test_a_host_without_rsync_is_named(ground, town):
    ground.write(ground.source, "a", b"x")
    asked = []

    class WithoutRsync:
        """The replica's transport, on a host that finds no rsync."""

        def __init__(self, inner):
            self.inner = inner
            self.host = inner.host

        def run(self, words, **more):
            asked.append(words[0])
            if words[0] == "python3":
                words = ["env", "PATH=/nonexistent", "/usr/bin/python3", *words[1:]]
            return self.inner.run(words, **more)

        def __getattr__(self, name):
            return getattr(self.inner, name)

    mover = file_tree_mover(town, ground.transports)
    plain = ground.transports
    mover._transports = lambda host: WithoutRsync(plain(host)) if host.name == "dr-a" else plain(host)
    with pytest.raises(MissingTool, match="dr-a: rsync is missing"):
        mover.copy(ground.tree, ground.source, ground.replica)
    assert asked == ["python3"]
