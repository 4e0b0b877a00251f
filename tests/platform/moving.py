"""Grounds for tests of movers: trees on the hosts of the lab, changed from outside, read from inside."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.contracts.transport import Transports
from orchestrator.foundation.clock import SystemClock
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.ssh import SshTransports
from orchestrator.lab.town import Town
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.movers.file_tree import FileTreeMover, FileTreeSettings
from orchestrator.snapshots.stores import HostPointStores
from tests.laws.copy_order_laws import obeyed_on


def file_tree_mover(town: Town, transports: SshTransports, settings: FileTreeSettings | None = None) -> FileTreeMover:
    access = CertifiedAccess(transports, town.user_ca)
    return FileTreeMover(transports, access, HostPointStores(transports, SystemClock()), settings)


@dataclass
class TreeGround:
    """One dataset on three hosts of the lab, empty at the beginning."""

    town: Town
    transports: Transports
    mover: FileTreeMover
    tree: FileTree

    def host(self, name: str) -> Host:
        return self.town.hosts()[name]

    @property
    def source(self) -> Host:
        return self.host("onprem-a")

    @property
    def replica(self) -> Host:
        return self.host("dr-a")

    @property
    def cloud(self) -> Host:
        return self.host("cloud-a")

    def path(self, host: Host) -> Path:
        return self.town.path_on_machine(host.name, self.tree.path)

    def clear(self) -> None:
        for host in (self.source, self.replica, self.cloud):
            self.run(host, ["rm", "-rf", "--", host.path(str(Path(self.tree.path).parent))])

    def run(self, host: Host, words: list[str]) -> str:
        return self.transports(host).run(words, user="root" if host.become else None).text

    def write(self, host: Host, name: str, content: bytes) -> None:
        """Aside and renamed, as a tree whose files are `replaced` is changed."""
        path = self.path(host) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.parent / ".aside"
        aside.write_bytes(content)
        aside.replace(path)

    def remove(self, host: Host, name: str) -> None:
        (self.path(host) / name).unlink()

    def change(self, host: Host, name: str, aspect: str) -> None:
        path = self.path(host) / name
        before = path.lstat()
        if aspect == "bit":
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        elif aspect == "mode":
            path.chmod(before.st_mode ^ 0o100)
        elif aspect == "owner":
            if os.geteuid() != 0:
                pytest.skip("only root gives files away")
            os.chown(path, before.st_uid + 1, before.st_gid)
        elif aspect == "mtime":
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        elif aspect == "attribute":
            os.setxattr(path, "user.note", b"x")
        else:
            folder = path.parent.stat()
            path.unlink()
            path.symlink_to(f"elsewhere{before.st_size}")
            os.utime(path.parent, ns=(folder.st_atime_ns, folder.st_mtime_ns))

    def read(self, host: Host) -> dict[str, bytes]:
        top = self.path(host)
        return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}

    def obeyed(self, **orders: tuple[int, int]) -> None:
        obeyed_on(self.transports, self.replica, **orders)

    def traces(self) -> list[str]:
        places = "/run/skerry-access-* /dev/shm/skerry-access-* /tmp/skerry-access-* ~/.ssh/authorized_keys"
        script = f"ls -d {places} 2>/dev/null; true"
        return [line for host in (self.source, self.replica) for line in self.run(host, ["sh", "-c", script]).split()]


@dataclass
class PointGround:
    """The points of one tree on one host."""

    trees: TreeGround

    def __post_init__(self) -> None:
        self.store = self.trees.mover.points(self.trees.tree, self.trees.source)
        self.trees.path(self.trees.source).mkdir(parents=True)

    def write(self, name: str, content: bytes) -> None:
        self.trees.write(self.trees.source, name, content)

    def remove(self, name: str) -> None:
        self.trees.remove(self.trees.source, name)

    def _outside(self, path: str) -> Path:
        prefix = self.trees.source.path_prefix
        return self.trees.town.path_on_machine(self.trees.source.name, path.removeprefix(prefix))

    def read_point(self, point) -> dict[str, bytes]:
        top = self._outside(point.path)
        return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}

    def foreign(self) -> str:
        folder = self.trees.path(self.trees.source).parent / ".skerry-points" / self.trees.tree.name / "by-hand"
        (folder / "tree").mkdir(parents=True)
        (folder / "tree" / "a").write_bytes(b"precious")
        return "by-hand"

    def foreign_is_there(self, name: str) -> bool:
        folder = self.trees.path(self.trees.source).parent / ".skerry-points" / self.trees.tree.name / name
        return (folder / "tree" / "a").read_bytes() == b"precious"
