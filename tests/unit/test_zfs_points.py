"""Points by ZFS against a `zfs` in memory: the laws of every store, and the very words that are spoken."""

from dataclasses import dataclass

import pytest

from orchestrator.foundation.errors import NoSpace, SnapshotError
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.snapshots.stores import HostPointStores
from tests.fakes.clock import SetClock
from tests.fakes.transport import FakeTransport
from tests.fakes.zfs import FakeSnapshot, FakeZfs
from tests.laws.point_store_laws import PointStoreLaws

HOST = Host(name="dr-a", site="dr", address="10.20.1.11")
TREE = FileTree(name="documents", path="/tank/documents", snapshots="zfs")


@dataclass
class ZfsGround:
    zfs: FakeZfs
    transport: FakeTransport

    @property
    def store(self):
        return HostPointStores(lambda host: self.transport, SetClock())(TREE, HOST)

    def write(self, name, content):
        self.zfs.files.setdefault("tank/documents", {})[name] = content

    def remove(self, name):
        del self.zfs.files["tank/documents"][name]

    def read_point(self, point):
        name = point.path.removeprefix("/tank/documents/.zfs/snapshot/")
        return self.zfs.snapshots[f"tank/documents@{name}"].files

    def foreign(self):
        self.zfs.snapshots["tank/documents@skerry-by-hand"] = FakeSnapshot({"a": b"precious"})
        return "by-hand"

    def foreign_is_there(self, name):
        return f"tank/documents@skerry-{name}" in self.zfs.snapshots


@pytest.fixture
def ground():
    zfs = FakeZfs({"/tank": "tank", "/tank/documents": "tank/documents"})
    return ZfsGround(zfs, FakeTransport(HOST, programs={"zfs": zfs}))


class TestZfsPoints(PointStoreLaws):
    pass


def test_the_words_of_taking_holding_and_deleting(ground):
    store = ground.store
    store.take("p1")
    store.hold("p1", "drill-7")
    store.release("p1", "drill-7")
    store.delete("p1")
    snapshot = "tank/documents@skerry-p1"
    listing = "zfs list -H -p -t snapshot -d 1 -s createtxg -o name,skerry:point,skerry:made_at,userrefs tank/documents"
    said = [" ".join(words) for words in ground.zfs.log]
    made_at = said[2].partition("made_at=")[2].split()[0]
    assert said == [
        "zfs list -H -o name,mountpoint /tank/documents",
        listing,
        f"zfs snapshot -o skerry:point=p1 -o skerry:made_at={made_at} {snapshot}",
        listing,
        listing,
        f"zfs hold skerry:drill-7 {snapshot}",
        listing,
        f"zfs holds -H {snapshot}",
        listing,
        f"zfs holds -H {snapshot}",
        f"zfs release skerry:drill-7 {snapshot}",
        listing,
        f"zfs destroy {snapshot}",
    ]
    assert {user for _, user in ground.transport.ran} == {"root"}


def test_a_hold_of_others_keeps_a_point_as_well(ground):
    ground.store.take("p1")
    ground.zfs.snapshots["tank/documents@skerry-p1"].holds.append("backup-tool")
    with pytest.raises(SnapshotError, match="held by backup-tool"):
        ground.store.delete("p1")
    ground.store.release("p1", "backup-tool")
    assert ground.zfs.snapshots["tank/documents@skerry-p1"].holds == ["backup-tool"]


def test_a_foreign_snapshot_of_the_same_name_is_in_the_way_and_stays(ground):
    ground.foreign()
    with pytest.raises(SnapshotError, match="dr-a: point by-hand of documents: .*already exists"):
        ground.store.take("by-hand")
    assert ground.foreign_is_there("by-hand")


def test_a_tree_within_a_dataset_is_refused(ground):
    inner = TREE.model_copy(update={"path": "/tank/plain"})
    store = HostPointStores(lambda host: ground.transport, SetClock())(inner, HOST)
    with pytest.raises(SnapshotError, match="not the top of a ZFS dataset, it lies within tank at /tank"):
        store.take("p1")
    assert ground.zfs.snapshots == {}


def test_a_pool_without_room_is_told(ground):
    ground.zfs.full = True
    with pytest.raises(NoSpace, match="out of space"):
        ground.store.take("p1")


def test_a_host_without_zfs_is_told(ground):
    ground.transport.programs = {"zfs": lambda words, stdin: (127, b"", b"sh: zfs: not found")}
    with pytest.raises(SnapshotError, match="zfs is not installed there"):
        ground.store.list()
