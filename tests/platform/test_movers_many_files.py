"""A tree of many small files is no special case: it is copied, told apart and followed like any other."""

import os
import shutil

import pytest

from orchestrator.contracts.programs import root_user
from orchestrator.hosts.ssh import open_transports
from orchestrator.model.dataset import FileTree
from tests.platform.moving import TreeGround, file_tree_mover

pytestmark = pytest.mark.platform("hosts", "rsync")
FILES, FOLDERS = 200_000, 500


@pytest.fixture
def ground(town, tmp_path):
    with open_transports(town.ssh_config, tmp_path / "run", None) as transports:
        tree = FileTree(name="many", path="/srv/many/files", changes="replaced")
        made = TreeGround(town, transports, file_tree_mover(town, transports), tree)
        made.clear()
        yield made
        for host in (made.source, made.replica):
            transports(host).run(["rm", "-rf", "--", host.path("/srv/many")], user=root_user(host), timeout_seconds=600)


@pytest.mark.timeout(1800)  # a slow disk makes and removes a million names in minutes
def test_two_hundred_thousand_small_files_arrive_equal_and_their_changes_are_followed(ground):
    top = ground.path(ground.source)
    for folder in range(FOLDERS):
        here = top / f"d{folder:03d}"
        here.mkdir(parents=True)
        for number in range(FILES // FOLDERS):
            (here / f"f{number:03d}").write_bytes(b"%d/%d" % (folder, number))
    first = ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert first.files == FILES
    one, other = (ground.mover.digest(ground.tree, host) for host in (ground.source, ground.replica))
    assert (one.digest, one.entries) == (other.digest, other.entries)
    assert one.entries > FILES
    # One file among them all, of the same size and time: only its content tells.
    changed = ground.path(ground.replica) / "d250" / "f100"
    times = changed.stat()
    changed.write_bytes(b"250/101")
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ground.mover.differences(ground.tree, ground.source, ground.replica) == ["d250/f100: content"]
    shutil.rmtree(top / "d007")
    ground.write(ground.source, "d008/f008", b"another")
    again = ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert again.files == 2
    assert not (ground.path(ground.replica) / "d007").exists()
    assert ground.mover.differences(ground.tree, ground.source, ground.replica) == []
