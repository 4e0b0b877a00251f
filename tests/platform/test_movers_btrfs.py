"""Trees that are btrfs subvolumes, sent as differences between two real file systems, proved by reading all."""

import os
import random
import shlex
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.contracts.access import Access
from orchestrator.contracts.bandwidth import Allowance
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import HostUnreachable, NoSpace, SnapshotError
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.movers.btrfs_send import BtrfsSender
from orchestrator.movers.file_tree import FileTreeMover
from orchestrator.movers.snapshot_send import SnapshotSendMover
from orchestrator.snapshots.stores import HostPointStores

pytestmark = [pytest.mark.platform("btrfs"), pytest.mark.platform("rsync"), pytest.mark.timeout(120)]

MIB = 1 << 20
TREE = FileTree(name="documents", path="/srv/documents", snapshots="btrfs")


@dataclass
class Line:
    """Runs the forced command on this machine; the line is cut after so many bytes."""

    cut_after: int | None = None
    asked: list[str] = field(default_factory=list)

    @contextmanager
    def grant(self, initiator, peer, *, force_command, seconds, peer_user, initiator_user=None):
        self.asked.append(force_command)
        if "rsync" in force_command:
            # rsync adds its own words for the peer, which are not to be run a second time.
            yield Access(ssh_words=(str(self.runs_only(force_command)),), destination="peer")
            return
        cut = "" if self.cut_after is None else f" | head -c {self.cut_after}; exit 255"
        yield Access(ssh_words=("sh", "-c"), destination=force_command + cut)

    def runs_only(self, command: str) -> Path:
        self.script.write_text(f"#!/bin/sh\nexec sh -c {shlex.quote(command)}\n")
        self.script.chmod(0o755)
        return self.script

    script: Path = Path("/nowhere")


@dataclass
class Ends:
    top: Path
    line: Line

    def host(self, name):
        return Host(name=name, site="onprem", address="127.0.0.1", path_prefix=str(self.top / name), become=False)

    @property
    def source(self):
        return self.host("source")

    @property
    def replica(self):
        return self.host("replica")

    @property
    def mover(self):
        stores = HostPointStores(LocalTransport, SystemClock())
        inner = FileTreeMover(LocalTransport, self.line, stores)
        return SnapshotSendMover(LocalTransport, inner, {"btrfs": BtrfsSender(LocalTransport, self.line)})

    def at(self, host) -> Path:
        return Path(host.path(TREE.path))

    def copy(self, **more):
        return self.mover.copy(TREE, self.source, self.replica, **more)

    def digests(self):
        return [self.mover.digest(TREE, host).digest for host in (self.source, self.replica)]

    def received(self):
        return sorted(path for path in (self.at(self.replica).parent / ".skerry-points/documents.received").iterdir())


def btrfs(*words):
    return subprocess.run(["btrfs", *map(str, words)], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def ends(tmp_path):
    for name, mebibytes in (("source", 600), ("replica", 240)):
        image, top = tmp_path / f"{name}.fs", tmp_path / name
        with image.open("wb") as stream:
            stream.truncate(mebibytes * MIB)
        top.mkdir()
        subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(top)], check=True, capture_output=True)
        (top / "srv").mkdir()
    made = Ends(tmp_path, Line(script=tmp_path / "shell"))
    btrfs("subvolume", "create", made.at(made.source))
    fill(made.at(made.source))
    yield made
    for name in ("source", "replica"):
        subprocess.run(["umount", str(tmp_path / name)], check=True)


def fill(tree: Path) -> None:
    for number in range(20):
        (tree / f"d{number % 4}").mkdir(exist_ok=True)
        (tree / f"d{number % 4}" / f"f{number}").write_bytes(random.randbytes(200_000))
    (tree / "d0" / "line\nbreak").write_bytes(b"odd")
    os.link(tree / "d0" / "f0", tree / "d1" / "hard")
    (tree / "d2" / "soft").symlink_to("../nowhere")
    os.mkfifo(tree / "pipe")
    os.setxattr(tree / "d0" / "f0", "user.note", b"kept")
    os.chown(tree / "d3", 1234, 5678)
    with (tree / "sparse").open("wb") as stream:
        stream.truncate(50 * MIB)


def change(tree: Path) -> None:
    with (tree / "d1" / "f5").open("r+b") as stream:
        stream.seek(100_000)
        stream.write(b"changed")
    (tree / "d2" / "f6").unlink()
    (tree / "d3" / "f7").rename(tree / "d0" / "moved")
    (tree / "new").write_bytes(random.randbytes(10_000))


def test_the_whole_tree_goes_once_and_then_its_differences(ends):
    first = ends.copy()
    assert (first.method, first.detail["parent"]) == ("btrfs_send", "none")
    assert first.bytes_wire > 4_000_000
    assert len(set(ends.digests())) == 1
    for _ in range(3):
        change_back(ends)
        report = ends.copy()
        assert report.detail["parent"] != "none"
        assert report.bytes_wire < 300_000
        assert ends.mover.differences(TREE, ends.source, ends.replica) == []
        assert len(set(ends.digests())) == 1
    # One snapshot each is kept, as the next one's parent.
    assert len(ends.received()) == 1
    assert len(list((ends.at(ends.source).parent / ".skerry-points/documents.sent-replica").iterdir())) == 1


def change_back(ends):
    tree = ends.at(ends.source)
    change(tree)
    (tree / "d0" / "moved").rename(tree / "d3" / "f7")
    (tree / "d2" / "f6").write_bytes(b"again")


def test_a_stream_that_crosses_the_border_of_a_window_goes_on_at_the_next_rate(ends):
    began = time.monotonic()

    def bandwidth():
        """First next to nothing, at which the tree would take an hour; three seconds later, all there is."""
        left = began + 3 - time.monotonic()
        return Allowance(bytes_per_second=1024, seconds_left=left) if left > 0 else Allowance()

    sender = BtrfsSender(LocalTransport, ends.line, bandwidth=bandwidth)
    mover = SnapshotSendMover(LocalTransport, ends.mover, {"btrfs": sender})
    report = mover.copy(TREE, ends.source, ends.replica)
    assert report.method == "btrfs_send"
    assert report.bytes_wire > 3 * MIB
    assert 3 < time.monotonic() - began < 600
    one, other = ends.digests()
    assert one == other
    assert not [path for path in ends.received() if path.name == "limit"]


def test_a_stream_in_the_middle_of_which_a_limit_begins_keeps_to_it(ends):
    began = time.monotonic()

    def bandwidth():
        return Allowance(bytes_per_second=4 * MIB if time.monotonic() < began + 1 else MIB, seconds_left=0.5)

    sender = BtrfsSender(LocalTransport, ends.line, bandwidth=bandwidth)
    with (ends.at(ends.source) / "large").open("wb") as stream:
        stream.write(random.randbytes(8 * MIB))
    SnapshotSendMover(LocalTransport, ends.mover, {"btrfs": sender}).copy(TREE, ends.source, ends.replica)
    # 12 MiB: 3 s at the limit with which it began; 4 MiB in the first second, then 8 s.
    assert time.monotonic() - began > 6


def test_what_was_written_at_the_replica_does_not_stay(ends):
    ends.copy()
    (ends.at(ends.replica) / "stray").write_bytes(b"not of the source")
    ends.copy()
    assert len(set(ends.digests())) == 1


def test_a_point_is_sent_as_it_was(ends):
    ends.copy()
    ends.mover.points(TREE, ends.source).take("p1")
    held = ends.mover.digest(TREE, ends.source, point="p1").digest
    change(ends.at(ends.source))
    ends.copy(from_point="p1")
    assert ends.mover.digest(TREE, ends.replica).digest == held
    ends.copy()
    assert len(set(ends.digests())) == 1
    with pytest.raises(SnapshotError, match="source: point never-was of documents"):
        ends.copy(from_point="never-was")


def test_a_line_that_is_cut_leaves_the_last_good_tree_and_the_next_copy_begins_anew(ends):
    ends.copy()
    good = ends.mover.digest(TREE, ends.replica).digest
    fill_more = ends.at(ends.source) / "big"
    fill_more.write_bytes(random.randbytes(3 * MIB))
    ends.line.cut_after = 1_000_000
    with pytest.raises(HostUnreachable, match="copy of documents from source to replica broke off"):
        ends.copy()
    assert ends.mover.digest(TREE, ends.replica).digest == good
    assert len(ends.received()) == 1
    ends.line.cut_after = None
    assert ends.copy().detail["parent"] != "none"
    assert len(set(ends.digests())) == 1


def test_what_a_killed_run_left_is_swept(ends):
    ends.copy()
    folder = ends.received()[0].parent
    btrfs("subvolume", "create", folder / "s-half")
    (folder / "s-half" / "part").write_bytes(b"half")
    btrfs("subvolume", "snapshot", ends.received()[0], folder / "live.new")
    change(ends.at(ends.source))
    ends.copy()
    assert [path.name.startswith("s-0") or path.name.startswith("s-1") for path in ends.received()] == [True]
    assert len(set(ends.digests())) == 1


def test_a_received_snapshot_that_was_opened_for_writing_is_no_parent(ends):
    ends.copy()
    held = ends.received()[0]
    btrfs("property", "set", "-f", "-ts", held, "ro", "false")
    (held / "d0" / "f0").write_bytes(b"tampered with")
    change(ends.at(ends.source))
    assert ends.copy().detail["parent"] == "none"
    assert len(set(ends.digests())) == 1


def test_foreign_snapshots_are_not_touched(ends):
    ends.copy()
    for host in (ends.source, ends.replica):
        btrfs("subvolume", "snapshot", "-r", ends.at(host), ends.at(host).parent / "by-hand")
    btrfs("subvolume", "create", ends.received()[0].parent / "mine")
    change(ends.at(ends.source))
    ends.copy()
    for host in (ends.source, ends.replica):
        assert (ends.at(host).parent / "by-hand" / "d0" / "f0").exists()
    assert "mine" in [path.name for path in ends.received()]


def test_a_full_disk_is_told_and_the_last_good_tree_stays(ends):
    ends.copy()
    good = ends.mover.digest(TREE, ends.replica).digest
    (ends.at(ends.source) / "big").write_bytes(os.urandom(230 * MIB))
    with pytest.raises(NoSpace, match="replica: no room for documents"):
        ends.copy()
    assert ends.mover.digest(TREE, ends.replica).digest == good


def test_a_plain_folder_at_the_replica_is_replaced(ends):
    ends.at(ends.replica).mkdir()
    (ends.at(ends.replica) / "old").write_bytes(b"old")
    ends.copy()
    assert len(set(ends.digests())) == 1


def test_where_it_cannot_be_sent_it_is_copied_and_the_reason_is_told(ends):
    btrfs("subvolume", "create", ends.at(ends.source) / "within")
    (ends.at(ends.source) / "within" / "inner").write_bytes(b"inner")
    report = ends.copy()
    assert report.method == "rsync"
    assert "there are subvolumes within" in report.detail["tracked"]
    assert (ends.at(ends.replica) / "within" / "inner").read_bytes() == b"inner"
    assert len(set(ends.digests())) == 1
