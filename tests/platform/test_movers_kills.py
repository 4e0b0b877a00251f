"""Whatever part of a copy is killed, whenever: the last good state stays, and the next copy ends equal.

SKERRY_KILLS says how many times (4 in the ordinary suite, 50 and more in its long form).
"""

import os
import random
import threading
import time

import pytest

from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.ssh import open_transports
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.movers.block_volume import BlockVolumeMover, BlockVolumeSettings
from orchestrator.movers.file_tree import FileTreeSettings
from orchestrator.snapshots.stores import HostPointStores
from tests.platform.moving import TreeGround, file_tree_mover

pytestmark = pytest.mark.platform("hosts", "rsync")

KILLS = int(os.environ.get("SKERRY_KILLS", "4"))
MIB = 1 << 20


@pytest.fixture(scope="module")
def transports(town, tmp_path_factory):
    with open_transports(town.ssh_config, tmp_path_factory.mktemp("run"), None) as opened:
        yield opened


@pytest.fixture
def ground(town, transports):
    tree = FileTree(name="documents", path="/srv/kills/documents", changes="replaced")
    settings = FileTreeSettings(bandwidth_bytes_per_second=40 * MIB)
    made = TreeGround(town, transports, file_tree_mover(town, transports, settings), tree)
    made.clear()
    yield made
    made.clear()


def kill_sometime(ground, patterns, copy):
    """Run `copy`, kill one of its processes at some moment; whether it broke off."""
    broke: list[OrchestratorError] = []

    def run():
        try:
            copy()
        except OrchestratorError as error:
            broke.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(random.uniform(0.05, 1.5))
    host, pattern = random.choice(patterns)
    # One of them, not all: what is killed by chance is a process, not a program.
    script = f"pgrep -f '{pattern}' | shuf -n 1 | xargs -r kill -9"
    ground.transports(host).run(["sh", "-c", script], user="root" if host.become else None, check=False)
    thread.join()
    return bool(broke)


def test_a_tree_survives_kills_at_any_moment(ground):
    patterns = [
        (ground.source, "[r]sync --server"),
        (ground.replica, "[r]sync -aHAX"),
        (ground.replica, "[s]sh -F none"),
        (ground.replica, "[-]I -S - {.words"),
    ]
    for number in range(12):
        ground.write(ground.source, f"f{number:02d}", os.urandom(2 * MIB))
    ground.mover.copy(ground.tree, ground.source, ground.replica)
    for round_number in range(KILLS):
        good = ground.mover.points(ground.tree, ground.replica).take(f"good-{round_number}")
        held = ground.mover.digest(ground.tree, ground.replica, point=good.id).digest
        for number in range(12):
            ground.write(ground.source, f"f{number:02d}", os.urandom(2 * MIB))
        kill_sometime(ground, patterns, lambda: ground.mover.copy(ground.tree, ground.source, ground.replica))
        assert ground.mover.digest(ground.tree, ground.replica, point=good.id).digest == held
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        assert ground.mover.differences(ground.tree, ground.source, ground.replica) == []
        ground.mover.points(ground.tree, ground.replica).delete(good.id)
    assert ground.mover.copy(ground.tree, ground.source, ground.replica).files == 0


def test_a_volume_survives_kills_at_any_moment(ground, town):
    settings = BlockVolumeSettings(bandwidth_bytes_per_second=60 * MIB)
    mover = BlockVolumeMover(
        ground.transports,
        CertifiedAccess(ground.transports, town.user_ca),
        HostPointStores(ground.transports, SystemClock()),
        settings,
    )
    volume = BlockVolume(name="disk", path="/srv/kills/disk.img")
    image = town.path_on_machine("onprem-a", volume.path)
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(os.urandom(MIB) * 130)
    patterns = [
        (ground.source, "[a]gent.py serve"),
        (ground.replica, "[s]sh -F none"),
        (ground.replica, '"do": "[p]ull"'),
    ]
    mover.copy(volume, ground.source, ground.replica)
    for _ in range(KILLS):
        good = mover.digest(volume, ground.replica).digest
        with image.open("r+b") as stream:
            for _ in range(300):
                stream.seek(random.randrange(0, 130 * MIB))
                stream.write(os.urandom(20_000))
            stream.truncate(130 * MIB)
        new = mover.digest(volume, ground.source).digest
        broke = kill_sometime(ground, patterns, lambda: mover.copy(volume, ground.source, ground.replica))
        now = mover.digest(volume, ground.replica).digest
        # Broken off before the commit it is as it was; after it, the next copy finishes what was committed.
        assert now in (good, new) or broke
        mover.copy(volume, ground.source, ground.replica)
        assert mover.digest(volume, ground.replica).digest == new
