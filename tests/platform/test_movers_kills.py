"""Whatever part of a copy is killed, whenever: the last good state stays, and the next copy ends equal.

SKERRY_KILLS says how many processes are killed for each kind of data: 4 by default, 20 in the long form of the suite,
which insists on fifty in all. Copies that end before they are hit do not count.
"""

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from orchestrator.contracts.databases import Role
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import OrchestratorError, RunInProgress
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.ssh import open_transports
from orchestrator.lab.town import open_town
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.movers.block_volume import BlockVolumeMover, BlockVolumeSettings
from orchestrator.movers.file_tree import FileTreeSettings
from orchestrator.snapshots.stores import HostPointStores
from tests.platform.clusters import ClusterGround, make_ground
from tests.platform.moving import TreeGround, file_tree_mover

pytestmark = pytest.mark.platform("hosts", "rsync")

KILLS = int(os.environ.get("SKERRY_KILLS") or ("20" if os.environ.get("SKERRY_LONG") == "1" else "4"))
TRIES_MAX = 8 * KILLS
ALL_HIT: Counter[str] = Counter()
MIB = 1 << 20


TREE = FileTree(name="documents", path="/srv/kills/documents", changes="replaced")
VOLUME = BlockVolume(name="disk", path="/srv/kills/disk.img")
ORCHESTRATOR = "orchestrator"  # among patterns: this program itself
SESSION = "[s]shd: [a-z]"  # of sshd, what serves a connection; not what listens, which a host's init would start again
ALONE = "import sys; from tests.platform.test_movers_kills import alone; alone(*sys.argv[1:])"


def tree_mover(town, transports):
    return file_tree_mover(town, transports, FileTreeSettings(bandwidth_bytes_per_second=40 * MIB))


def volume_mover(town, transports):
    return BlockVolumeMover(
        transports,
        CertifiedAccess(transports, town.user_ca),
        HostPointStores(transports, SystemClock()),
        BlockVolumeSettings(bandwidth_bytes_per_second=60 * MIB),
    )


def copy_tree(town, transports):
    hosts = town.hosts()
    return tree_mover(town, transports).copy(TREE, hosts["onprem-a"], hosts["dr-a"])


def copy_volume(town, transports):
    hosts = town.hosts()
    return volume_mover(town, transports).copy(VOLUME, hosts["onprem-a"], hosts["dr-a"])


def copy_cluster(town, transports):
    made = make_ground(town, transports)
    return made.mover.make_standby(made.cluster, made.source, made.dr)


DEEDS = {"tree": copy_tree, "volume": copy_volume, "cluster": copy_cluster}


def alone(deed, folder):
    """One deed by a process of its own, on a lab that is up."""
    with TemporaryDirectory(prefix="sk") as run:
        town = open_town(Path(folder))
        with open_transports(town.ssh_config, Path(run), None) as transports:
            DEEDS[deed](town, transports)


@pytest.fixture(scope="module")
def transports(town, tmp_path_factory):
    with open_transports(town.ssh_config, tmp_path_factory.mktemp("run"), None) as opened:
        yield opened


@pytest.fixture
def ground(town, transports):
    made = TreeGround(town, transports, tree_mover(town, transports), TREE)
    made.clear()
    yield made
    made.clear()


@dataclass
class Kills:
    """What was killed, and what came of it."""

    deed: str
    ground: TreeGround | ClusterGround
    hit: Counter[str] = field(default_factory=Counter)
    broken_off: int = 0
    tries: int = 0

    def copy(self, transports):
        return DEEDS[self.deed](self.ground.town, transports)

    def sometime(self, patterns):
        """Copy, kill one of its processes, each in its turn, at some moment; whether it broke off."""
        host, pattern = patterns[self.tries % len(patterns)]
        self.tries += 1
        broke = self._orchestrator() if pattern == ORCHESTRATOR else self._process(host, pattern)
        self.broken_off += broke
        return broke

    def _orchestrator(self):
        """This program itself, as a process of its own."""
        words = [sys.executable, "-c", ALONE, self.deed, str(self.ground.town.folder)]
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(1.0, 3.0))
        child.kill()
        killed = child.wait() != 0
        self.hit[ORCHESTRATOR] += killed
        return killed

    def _process(self, host, pattern):
        broke: list[OrchestratorError] = []

        def run():
            try:
                self.copy(self.ground.transports)
            except OrchestratorError as error:
                broke.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        # One of them, not all: what is killed by chance is a process, not a program.
        script = f"pgrep -f '{pattern}' | shuf -n 1 | xargs -r kill -9 -- && echo hit"
        time.sleep(random.uniform(0.0, 1.2))
        while thread.is_alive():
            # From within the host: the connection that would be asked through may be what is killed.
            words = ["sh", "-c", f"[ -z \"$(pgrep -f '{pattern}')\" ] || {{ {script}; }}"]
            if self.ground.town.run_inside(host.name, words, check=False).text:
                self.hit[pattern] += 1
                break
        thread.join()
        return bool(broke)

    def patiently(self):
        """What the killed left on the hosts ends by itself, within moments: until then a copy is refused."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.copy(self.ground.transports)
            except RunInProgress:
                assert time.monotonic() < deadline
                time.sleep(0.2)

    def numbers(self):
        """Of tries, until enough was killed."""
        for number in range(TRIES_MAX):
            if self.hit.total() >= KILLS and self.broken_off:
                break
            yield number
        print(f"{self.hit.total()} kills, {self.broken_off} copies broke off: {dict(self.hit)}")
        assert self.hit.total() >= KILLS
        assert self.broken_off
        ALL_HIT.update(self.hit)


def test_a_tree_survives_kills_at_any_moment(ground):
    patterns = [
        (ground.source, "[r]sync --server"),
        (ground.source, SESSION),
        (ground.replica, "[r]sync -aHAX"),
        (ground.replica, "[s]sh -F none"),
        (ground.replica, "[-]I -S - {.words"),
        (ground.replica, ORCHESTRATOR),
    ]
    kills = Kills("tree", ground)
    for number in range(12):
        ground.write(ground.source, f"f{number:02d}", os.urandom(2 * MIB))
    ground.mover.copy(ground.tree, ground.source, ground.replica)
    for round_number in kills.numbers():
        good = ground.mover.points(ground.tree, ground.replica).take(f"good-{round_number}")
        held = ground.mover.digest(ground.tree, ground.replica, point=good.id).digest
        for number in range(12):
            ground.write(ground.source, f"f{number:02d}", os.urandom(2 * MIB))
        kills.sometime(patterns)
        assert ground.mover.digest(ground.tree, ground.replica, point=good.id).digest == held
        kills.patiently()
        assert ground.mover.differences(ground.tree, ground.source, ground.replica) == []
        ground.mover.points(ground.tree, ground.replica).delete(good.id)
    assert ground.mover.copy(ground.tree, ground.source, ground.replica).files == 0


def test_a_volume_survives_kills_at_any_moment(ground, town):
    mover = volume_mover(town, ground.transports)
    image = town.path_on_machine("onprem-a", VOLUME.path)
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(os.urandom(MIB) * 130)
    patterns = [
        (ground.source, "[a]gent.py serve"),
        (ground.source, SESSION),
        (ground.replica, "[s]sh -F none"),
        (ground.replica, '"do": "[p]ull"'),
        (ground.replica, ORCHESTRATOR),
    ]
    kills = Kills("volume", ground)
    mover.copy(VOLUME, ground.source, ground.replica)
    for _ in kills.numbers():
        good = mover.digest(VOLUME, ground.replica).digest
        with image.open("r+b") as stream:
            for _ in range(300):
                stream.seek(random.randrange(0, 130 * MIB))
                stream.write(os.urandom(20_000))
            stream.truncate(130 * MIB)
        new = mover.digest(VOLUME, ground.source).digest
        broke = kills.sometime(patterns)
        now = mover.digest(VOLUME, ground.replica).digest
        # Broken off before the commit it is as it was; after it, the next copy finishes what was committed.
        assert now in (good, new) or broke
        kills.patiently()
        assert mover.digest(VOLUME, ground.replica).digest == new


@pytest.mark.platform("postgresql")
def test_a_base_backup_survives_kills_at_any_moment(town, transports):
    ground = make_ground(town, transports)
    ground.prepare()
    patterns = [
        (ground.source, "[w]alsender replicator"),
        (ground.dr, "[p]g_basebackup"),
        (ground.dr, "[p]g_verifybackup"),
        (ground.dr, ORCHESTRATOR),
    ]
    kills = Kills("cluster", ground)
    try:
        ground.fresh()
        for number in kills.numbers():
            ground.write(ground.source, f"before {number}")
            primary = ground.mover.digest(ground.cluster, ground.source).digest
            kills.sometime(patterns)
            # A server one of whose processes was killed recovers first; then the primary holds what it held.
            ground.mover._at(ground.cluster, ground.source).sql_when_up("select 1")
            # A standby is whole or not there.
            assert ground.mover.role(ground.cluster, ground.dr) in (Role.MISSING, Role.STOPPED, Role.STANDBY)
            assert ground.mover.digest(ground.cluster, ground.source).digest == primary
            kills.patiently()
            ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=30)
            assert ground.mover.digest(ground.cluster, ground.dr).digest == primary
            ground.clear(ground.dr)
    finally:
        ground.clear()


@pytest.mark.skipif(KILLS < 20, reason="counted in the long form")
@pytest.mark.platform("postgresql")
def test_fifty_were_killed_in_all_and_something_of_every_part():
    print(f"{ALL_HIT.total()} kills in all: {dict(ALL_HIT)}")
    assert ALL_HIT.total() >= 50
    parts = {"[r]sync", "[a]gent", SESSION, "[s]sh", ORCHESTRATOR, "[p]g_", '"do": "[p]ull"'}
    missed = {part for part in parts if not any(hit.startswith(part) for hit in ALL_HIT)}
    assert not missed
