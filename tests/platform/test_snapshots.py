"""Point stores on the file systems they are made for: XFS with reflink, btrfs; real ones, on loop devices."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.contracts.transport import Transport
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import NoSpace, SnapshotError
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.movers.tree_digests import tree_digest
from orchestrator.snapshots.stores import HostPointStores
from tests.laws.point_store_laws import PointStoreLaws


@dataclass
class LocalGround:
    """A tree on a file system of its own, reached on this machine."""

    top: Path
    tree: FileTree
    transport: Transport

    @property
    def store(self):
        return HostPointStores(lambda host: self.transport, SystemClock())(self.tree, self.transport.host)

    @property
    def path(self) -> Path:
        return Path(self.transport.host.path(self.tree.path))

    def write(self, name, content):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.parent / ".aside"
        aside.write_bytes(content)
        aside.replace(path)

    def remove(self, name):
        (self.path / name).unlink()

    def read_point(self, point):
        top = Path(point.path)
        return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}

    def foreign(self):
        folder = self.path.parent / ".skerry-points" / self.tree.name / "by-hand" / "tree"
        folder.mkdir(parents=True)
        (folder / "a").write_bytes(b"precious")
        return "by-hand"

    def foreign_is_there(self, name):
        return (self.path.parent / ".skerry-points" / self.tree.name / name / "tree/a").read_bytes() == b"precious"

    def bytes_free(self):
        os.sync()
        found = os.statvfs(self.top)
        return found.f_bavail * found.f_frsize


def mounted(folder: Path, make: list[str], mebibytes: int) -> Path:
    image, top = folder / "image", folder / "top"
    with image.open("wb") as stream:
        stream.truncate(mebibytes << 20)
    top.mkdir()
    subprocess.run([*make, str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(top)], check=True, capture_output=True)
    return top


def local(top: Path, snapshots: str) -> LocalGround:
    host = Host(name="here", site="onprem", address="127.0.0.1", path_prefix=str(top), become=False)
    tree = FileTree(name="documents", path="/srv/documents", changes="in_place", snapshots=snapshots)
    return LocalGround(top, tree, LocalTransport(host))


class BlocksAreSharedLaws:
    def test_a_point_of_much_costs_little(self, ground):
        ground.write("big", os.urandom(40 << 20))
        before = ground.bytes_free()
        ground.store.take("p1")
        assert before - ground.bytes_free() < 4 << 20

    def test_a_point_digests_like_its_tree_and_survives_writes_in_place(self, ground):
        ground.write("a", os.urandom(100_000))
        os.setxattr(ground.path / "a", "user.note", b"kept")
        whole = tree_digest(ground.transport, str(ground.path), "documents").digest
        point = ground.store.take("p1")
        assert tree_digest(ground.transport, point.path, "documents").digest == whole
        with (ground.path / "a").open("r+b") as stream:
            stream.write(b"written over")
        (ground.path / "a").chmod(0o600)
        assert tree_digest(ground.transport, point.path, "documents").digest == whole


@pytest.mark.platform("xfs")
class TestXfsReflinkPoints(PointStoreLaws, BlocksAreSharedLaws):
    @pytest.fixture
    def ground(self, tmp_path):
        top = mounted(tmp_path, ["mkfs.xfs", "-q", "-m", "reflink=1"], 400)
        made = local(top, "xfs_reflink")
        made.path.mkdir(parents=True)
        yield made
        subprocess.run(["umount", str(top)], check=True)


@pytest.mark.platform("btrfs")
class TestBtrfsPoints(PointStoreLaws, BlocksAreSharedLaws):
    @pytest.fixture
    def ground(self, tmp_path):
        top = mounted(tmp_path, ["mkfs.btrfs", "-q"], 400)
        made = local(top, "btrfs")
        made.path.parent.mkdir(parents=True)
        subprocess.run(["btrfs", "subvolume", "create", str(made.path)], check=True, capture_output=True)
        yield made
        subprocess.run(["umount", str(top)], check=True)

    def test_a_point_is_read_only(self, ground):
        ground.write("a", b"one")
        point = ground.store.take("p1")
        with pytest.raises(OSError, match="Read-only"):
            (Path(point.path) / "a").write_bytes(b"two")

    def test_a_tree_that_is_no_subvolume_is_refused_and_leaves_nothing(self, ground):
        plain = ground.tree.model_copy(update={"path": "/srv/plain", "name": "plain"})
        Path(ground.transport.host.path("/srv/plain")).mkdir()
        store = HostPointStores(lambda host: ground.transport, SystemClock())(plain, ground.transport.host)
        with pytest.raises(SnapshotError, match="here: point p1 of plain: btrfs"):
            store.take("p1")
        assert list((ground.path.parent / ".skerry-points/plain").iterdir()) == []


@pytest.mark.platform("root")
class TestPointsWithoutReflink:
    def test_reflink_is_refused_where_the_file_system_cannot(self, tmp_path):
        top = mounted(tmp_path, ["mkfs.ext4", "-q"], 64)
        try:
            ground = local(top, "xfs_reflink")
            ground.write("a", b"one")
            with pytest.raises(SnapshotError, match="here: point p1 of documents"):
                ground.store.take("p1")
            assert ground.store.list() == []
        finally:
            subprocess.run(["umount", str(top)], check=True)

    def test_a_copy_that_does_not_fit_is_no_point(self, tmp_path):
        top = mounted(tmp_path, ["mkfs.ext4", "-q"], 64)
        try:
            ground = local(top, "portable")
            ground.write("big", os.urandom(40 << 20))
            with pytest.raises(NoSpace):
                ground.store.take("p1")
            assert ground.store.list() == []
            assert ground.bytes_free() > 10 << 20
        finally:
            subprocess.run(["umount", str(top)], check=True)

    def test_what_a_crash_left_aside_is_swept(self, tmp_path):
        ground = local(tmp_path, "portable")
        ground.write("a", b"one")
        points = ground.path.parent / ".skerry-points" / "documents"
        (points / ".making-p0" / "tree").mkdir(parents=True)
        (points / ".deleting-p9-abcd" / "tree").mkdir(parents=True)
        ground.store.take("p1")
        assert sorted(path.name for path in points.iterdir()) == ["p1"]
