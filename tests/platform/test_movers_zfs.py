"""Trees sent by ZFS: the laws of every mover, broken streams resumed, foreign snapshots; by a `zfs` over plain folders.

This kernel need not know ZFS: tests/fakes/zfs_program.py stands in for the program on both hosts.
"""

import json
import os
import shlex
import stat
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.access import Access
from orchestrator.contracts.bandwidth import Allowance
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import HostUnreachable
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.movers.file_tree import FileTreeMover
from orchestrator.movers.snapshot_send import SnapshotSendMover
from orchestrator.movers.zfs_send import ZfsSender
from orchestrator.snapshots.stores import HostPointStores
from tests.laws.tree_mover_laws import TreeMoverLaws
from tests.platform.moving import TreeGround

pytestmark = [pytest.mark.platform("root", "rsync"), pytest.mark.timeout(180)]

FAKE = Path(__file__).parents[1] / "fakes" / "zfs_program.py"


@dataclass
class Line:
    """Runs the forced command on this machine; the line is cut after so many bytes."""

    folder: Path
    cut_after: int | None = None
    asked: list[str] = field(default_factory=list)
    open: int = 0

    @contextmanager
    def grant(self, initiator, peer, *, force_command, seconds, peer_user, initiator_user=None):
        self.asked.append(force_command)
        self.open += 1
        cut = "" if self.cut_after is None else f" | head -c {self.cut_after}; exit 255"
        script = self.folder / "shell"
        script.write_text(f"#!/bin/sh\nexec sh -c {shlex.quote(force_command + cut)}\n")
        script.chmod(0o755)
        try:
            yield Access(ssh_words=(str(script),), destination="peer")
        finally:
            self.open -= 1


@dataclass
class Window:
    """A limit that holds for so many seconds from when it is first asked for; none where it was never opened."""

    seconds: float = 0.0
    until: float | None = None

    def __call__(self) -> Allowance:
        if self.until is None:
            self.until = time.monotonic() + self.seconds
        left = self.until - time.monotonic()
        return Allowance(bytes_per_second=1_000_000, seconds_left=left) if left > 0 else Allowance()


@dataclass
class ZfsGround(TreeGround):
    """Two hosts on this machine, each with a pool at its /srv; what is within is a dataset."""

    top: Path = Path("/nowhere")
    line: Line = field(default_factory=lambda: Line(Path("/nowhere")))
    window: Window = field(default_factory=Window)

    def host(self, name: str) -> Host:
        return Host(name=name, site="onprem", address="127.0.0.1", path_prefix=str(self.top / name), become=False)

    def path(self, host: Host) -> Path:
        return Path(host.path(self.tree.path))

    def traces(self) -> list[str]:
        return ["a grant is open"] * self.line.open

    def state(self):
        return json.loads((self.top / "zfs/state.json").read_text())

    def names(self, host):
        return [name for name in self.state()["versions"] if name.startswith(f"{host.name}/documents")]

    def said(self, verb):
        lines = (self.top / "zfs/log").read_text().splitlines()
        return [line for line in lines if line.split()[0] == verb]

    def equal(self):
        return self.mover.digest(self.tree, self.source).digest == self.mover.digest(self.tree, self.replica).digest


@pytest.fixture
def ground(tmp_path, monkeypatch):
    folder = tmp_path / "zfs"
    (folder / "content").mkdir(parents=True)
    datasets = {}
    for name in ("onprem-a", "dr-a"):
        (tmp_path / name / "srv").mkdir(parents=True)
        datasets[name] = str(tmp_path / name / "srv")
    (tmp_path / "onprem-a/srv/documents").mkdir()
    datasets["onprem-a/documents"] = str(tmp_path / "onprem-a/srv/documents")
    (folder / "state.json").write_text(json.dumps({"datasets": datasets, "versions": {}, "partial": {}, "txg": 1}))
    program = tmp_path / "bin" / "zfs"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("SKERRY_FAKE_ZFS", str(folder))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    tree = FileTree(name="documents", path="/srv/documents", snapshots="zfs")
    line = Line(tmp_path)
    inner = FileTreeMover(LocalTransport, line, HostPointStores(LocalTransport, SystemClock()))
    window = Window()
    sender = ZfsSender(LocalTransport, line, bandwidth=window)
    given: dict[str, Any] = {
        "town": None,  # these hosts are folders of this machine
        "mover": SnapshotSendMover(LocalTransport, inner, {"zfs": sender}),
    }
    return ZfsGround(transports=LocalTransport, tree=tree, top=tmp_path, line=line, window=window, **given)


class TestZfsSendMover(TreeMoverLaws):
    counts_files = False

    def test_a_copy_from_a_point_brings_the_point(self, ground):
        """Without the point's digest: the stand-in has no `.zfs` in which a snapshot could be read."""
        self.fill(ground)
        ground.mover.points(ground.tree, ground.source).take("p1")
        held = ground.mover.digest(ground.tree, ground.source).digest
        ground.write(ground.source, "a", b"later")
        report = ground.mover.copy(ground.tree, ground.source, ground.replica, from_point="p1")
        assert report.method == "zfs_send"
        assert ground.mover.digest(ground.tree, ground.replica).digest == held
        (point,) = ground.mover.points(ground.tree, ground.source).list()
        assert (point.id, point.holds) == ("p1", ())
        assert ground.mover.points(ground.tree, ground.replica).list() == []
        ground.mover.copy(ground.tree, ground.source, ground.replica)
        assert ground.equal()


def test_the_words_of_a_first_copy_and_of_the_next(ground):
    ground.write(ground.source, "a", b"one")
    first = ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert (first.method, first.detail["parent"]) == ("zfs_send", "none")
    (bookmark,) = ground.names(ground.source)
    assert bookmark.startswith("onprem-a/documents#skerrysend-dr-a-")
    (kept,) = ground.names(ground.replica)
    assert kept == f"dr-a/documents@skerrysend-{first.detail['snapshot']}"
    ground.write(ground.source, "a", b"two")
    second = ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert second.detail["parent"] == bookmark
    whole, difference = ground.said("send")
    assert whole.split()[:2] == ["send", whole.split()[-1]]
    assert difference.split()[:3] == ["send", "-i", bookmark]
    assert ground.said("receive")[-1] == f"receive -s -F dr-a/documents@skerrysend-{second.detail['snapshot']}"
    # One bookmark at the source and one snapshot at the replica are all that stays.
    assert len(ground.names(ground.source)) == len(ground.names(ground.replica)) == 1
    assert ground.equal()


def test_a_stream_that_broke_off_is_resumed_by_its_token(ground):
    ground.write(ground.source, "a", os.urandom(300_000))
    ground.line.cut_after = 100_000
    with pytest.raises(HostUnreachable, match="copy of documents from onprem-a to dr-a broke off"):
        ground.mover.copy(ground.tree, ground.source, ground.replica)
    ground.line.cut_after = None
    ground.write(ground.source, "b", b"written meanwhile")
    report = ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert report.detail["parent"].startswith("resumed, ")
    assert any("zfs send -t" in command for command in ground.line.asked)
    assert ground.equal()
    assert len(ground.names(ground.source)) == 1


def test_a_token_whose_snapshot_is_gone_is_let_go_of(ground):
    ground.write(ground.source, "a", os.urandom(300_000))
    ground.line.cut_after = 100_000
    with pytest.raises(HostUnreachable):
        ground.mover.copy(ground.tree, ground.source, ground.replica)
    ground.line.cut_after = None
    (left,) = ground.names(ground.source)
    ground.run(ground.source, ["zfs", "destroy", left])
    assert ground.mover.copy(ground.tree, ground.source, ground.replica).detail["parent"] == "none"
    assert ground.said("receive")[1] == "receive -A dr-a/documents"
    assert ground.equal()


def test_a_transfer_whose_time_is_over_goes_on_under_the_next_limit(ground):
    ground.write(ground.source, "a", os.urandom(3_000_000))
    ground.window.seconds = 1.5
    report = ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert report.detail["parent"] == "none, resumed"
    assert report.seconds < 20
    assert ground.equal()


def test_foreign_snapshots_stay_and_where_one_is_the_last_files_are_copied(ground):
    ground.write(ground.source, "a", b"one")
    ground.mover.copy(ground.tree, ground.source, ground.replica)
    ground.run(ground.source, ["zfs", "snapshot", "onprem-a/documents@by-hand"])
    ground.write(ground.source, "a", b"two")
    ground.mover.copy(ground.tree, ground.source, ground.replica)
    ground.run(ground.replica, ["zfs", "snapshot", "dr-a/documents@by-hand"])
    ground.write(ground.source, "a", b"three")
    report = ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert report.method == "rsync"
    assert report.detail["tracked"] == "none: dr-a: onprem-a lacks the last snapshot of dr-a/documents"
    assert ground.equal()
    for host in (ground.source, ground.replica):
        assert f"{host.name}/documents@by-hand" in ground.names(host)
    assert len(ground.names(ground.source)) == 2  # by-hand and the bookmark: nothing of the attempt is left


def test_a_folder_within_a_dataset_is_copied_file_by_file(ground):
    ground.write(ground.source, "a", b"one")
    ground.path(ground.replica).mkdir()
    report = ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert report.method == "rsync"
    assert "is not the top of a ZFS dataset, it lies within dr-a" in report.detail["tracked"]
    assert ground.equal()
