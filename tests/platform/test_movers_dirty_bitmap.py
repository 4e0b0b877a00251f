"""Images that QEMU has open: its dirty bitmap tells what changed; where it cannot be believed everything is read."""

import json
import os
import random
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.contracts.access import Access
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.dataset import BlockVolume, DirtyBitmap
from orchestrator.model.host import Host
from orchestrator.movers.block_volume import BlockVolumeMover, BlockVolumeSettings
from orchestrator.snapshots.stores import HostPointStores

pytestmark = [pytest.mark.platform("qemu"), pytest.mark.timeout(120)]

MIB = 1 << 20
SIZE = 48 * MIB


class DirectAccess:
    """Runs the forced command on this machine: a line without a network."""

    @contextmanager
    def grant(self, initiator, peer, *, force_command, seconds, peer_user, initiator_user=None):
        yield Access(ssh_words=("sh", "-c"), destination=force_command)


@dataclass
class Ends:
    top: Path
    serves_nbd: bool
    daemon: subprocess.Popen[bytes] | None = None
    image_format: str = "raw"

    def host(self, name):
        return Host(name=name, site="onprem", address="127.0.0.1", path_prefix=str(self.top / name), become=False)

    @property
    def volume(self):
        nbd = "/nbd" if self.serves_nbd else None
        return BlockVolume(name="disk", path="/disk.img", dirty_bitmap=DirtyBitmap(qmp="/qmp", node="disk0", nbd=nbd))

    @property
    def image(self) -> Path:
        return self.top / "source/disk.img"

    @property
    def mover(self):
        stores = HostPointStores(LocalTransport, SystemClock())
        return BlockVolumeMover(LocalTransport, DirectAccess(), stores, BlockVolumeSettings(share_blocks=False))

    def copy(self):
        return self.mover.copy(self.volume, self.host("source"), self.host("replica"))

    def equal(self):
        digests = {self.mover.digest(self.volume, self.host(name)).digest for name in ("source", "replica")}
        return len(digests) == 1

    def start(self):
        source = self.top / "source"
        words = ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=file0,filename={self.image}"]
        words += ["--blockdev", f"driver={self.image_format},node-name=disk0,file=file0"]
        words += ["--chardev", f"socket,id=m,path={source}/qmp,server=on,wait=off", "--monitor", "chardev=m"]
        if self.serves_nbd:
            words += ["--nbd-server", f"addr.type=unix,addr.path={source}/nbd"]
        self.daemon = subprocess.Popen(words)
        while not (source / "qmp").exists():
            assert self.daemon.poll() is None
            time.sleep(0.01)

    def stop(self):
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
            (self.top / "source/qmp").unlink()
            (self.top / "source/nbd").unlink(missing_ok=True)
            self.daemon = None

    def ask(self, command, **arguments):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.top / "source/qmp"))
            with line.makefile("rwb") as stream:
                stream.readline()
                for execute, given in (("qmp_capabilities", {}), (command, arguments)):
                    stream.write(json.dumps({"execute": execute, "arguments": given}).encode() + b"\n")
                    stream.flush()
                    answer = json.loads(stream.readline())
                    while "event" in answer:
                        answer = json.loads(stream.readline())
        assert "return" in answer, answer
        return answer["return"]

    def write(self, places):
        """As a guest writes: through QEMU."""
        address = self.top / "source/nbd"
        if not self.serves_nbd:
            self.ask("nbd-server-start", addr={"type": "unix", "data": {"path": str(address)}})
        self.ask(
            "block-export-add", type="nbd", id="guest", **{"node-name": "disk0", "name": "guest", "writable": True}
        )
        words = ["qemu-io", "-f", "raw"]
        for place in places:
            words += ["-c", f"write -P {random.randrange(1, 255)} {place} 4096"]
        done = subprocess.run([*words, f"nbd+unix:///guest?socket={address}"], capture_output=True, check=True)
        assert done.stdout.count(b"wrote 4096/4096") == len(places)
        self.ask("block-export-del", id="guest", mode="hard")
        while self.ask("query-block-exports"):
            time.sleep(0.01)
        if not self.serves_nbd:
            self.ask("nbd-server-stop")

    def bitmaps(self):
        nodes = self.ask("query-named-block-nodes")
        return next(node.get("dirty-bitmaps", []) for node in nodes if node["node-name"] == "disk0")


@pytest.fixture(params=[True, False], ids=["its own NBD server", "an NBD server while needed"])
def ends(request):
    # Short, for sockets have short paths.
    with tempfile.TemporaryDirectory(prefix="sk") as folder:
        made = Ends(Path(folder), request.param)
        for name in ("source", "replica"):
            (made.top / name).mkdir()
        with made.image.open("wb") as stream:
            stream.write(random.randbytes(SIZE // 2))
            stream.truncate(SIZE)
        made.start()
        yield made
        made.stop()


def places(count):
    return [random.randrange(SIZE // 4096) * 4096 for _ in range(count)]


def test_only_what_the_bitmap_marks_is_read_and_it_is_all_that_changed(ends):
    assert ends.copy().detail["tracked"] == "none: no bitmap was begun before"
    for _ in range(3):
        ends.write(places(12))
        report = ends.copy()
        assert report.detail["tracked"] == "dirty bitmap"
        assert report.bytes_wire < 12 * 4_300 + 2_000  # the pages, not the leaves in which they lie
        assert ends.equal()
        assert len(ends.bitmaps()) == 1
    assert ends.copy().bytes_wire < 2_000


def test_a_page_that_was_written_past_qemu_comes_with_the_leaf_in_which_it_lies(ends):
    ends.copy()
    ends.write([0, SIZE // 2])
    with ends.image.open("r+b") as stream:
        for place in (4096, SIZE // 2 + 8192):
            stream.seek(place)
            stream.write(random.randbytes(4096))
    assert ends.copy().detail["tracked"] == "dirty bitmap"
    assert ends.equal()


def test_a_bitmap_that_was_lost_is_told_and_everything_is_read(ends):
    ends.copy()
    ends.stop()
    with ends.image.open("r+b") as stream:
        stream.seek(5 * MIB)
        stream.write(b"written while no QEMU looked")
    ends.start()
    report = ends.copy()
    assert report.detail["tracked"].startswith("none: the bitmap skerry-")
    assert report.detail["tracked"].endswith("is missing")
    assert ends.equal()


def test_a_bitmap_that_was_switched_off_is_not_believed(ends):
    ends.copy()
    (bitmap,) = ends.bitmaps()
    ends.ask("block-dirty-bitmap-disable", node="disk0", name=bitmap["name"])
    ends.write(places(3))
    assert ends.copy().detail["tracked"].endswith("did not record all the time")
    assert ends.equal()


def test_without_qemu_everything_is_read(ends):
    ends.stop()
    assert ends.copy().detail["tracked"].startswith("none: no monitor answers at")
    assert ends.equal()


def test_a_copy_that_came_to_nothing_loses_no_change(ends):
    ends.copy()
    ends.write(places(5))
    kept = ends.top / "kept"
    replica = ends.top / "replica/disk.img"
    replica.rename(kept)
    replica.mkdir()  # a target that no copy can be made to
    with pytest.raises(OrchestratorError):
        ends.copy()
    replica.rmdir()
    kept.rename(replica)
    ends.write(places(5))
    ends.copy()
    assert ends.equal()
    ends.write(places(5))
    assert ends.copy().detail["tracked"] == "dirty bitmap"
    assert ends.equal()
    assert len(ends.bitmaps()) == 1


def test_a_replica_that_was_changed_is_not_told_of_by_the_bitmap(ends):
    ends.copy()
    ends.write(places(5))
    with (ends.top / "replica/disk.img").open("r+b") as stream:
        stream.write(os.urandom(100))
    assert ends.copy().detail["tracked"] == "none: the replica is not what it was when the bitmap was begun"
    assert ends.equal()


def test_foreign_bitmaps_stay(ends):
    ends.ask("block-dirty-bitmap-add", node="disk0", name="backup-tool")
    for _ in range(2):
        ends.copy()
    assert "backup-tool" in [each["name"] for each in ends.bitmaps()]


def test_an_image_of_another_format_is_read_whole(ends):
    ends.stop()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(ends.image), "32M"], check=True)
    ends.image_format = "qcow2"
    ends.start()
    assert "only raw images" in ends.copy().detail["tracked"]
    assert ends.equal()
