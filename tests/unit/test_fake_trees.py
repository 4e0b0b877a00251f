"""The trees in memory obey the laws that the real ones obey."""

import copy
from dataclasses import dataclass

import pytest

from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from tests.fakes.obeyed import FakeObeyed
from tests.fakes.trees import FakeFile, FakeHosts, FakeTreeMover
from tests.laws.point_store_laws import PointStoreLaws
from tests.laws.tree_mover_laws import TreeMoverLaws

SOURCE = Host(name="onprem-a", site="onprem", address="10.10.1.11")
REPLICA = Host(name="dr-a", site="dr", address="10.20.1.11")
TREE = FileTree(name="documents", path="/srv/documents")


@dataclass
class FakeGround:
    mover: FakeTreeMover
    tree: FileTree = TREE
    source: Host = SOURCE
    replica: Host = REPLICA

    def write(self, host, name, content):
        self.mover.hosts.trees.setdefault((host.name, self.tree.path), {})[name] = FakeFile(content)

    def remove(self, host, name):
        del self.mover.hosts.trees[host.name, self.tree.path][name]

    def change(self, host, name, aspect):
        file = self.mover.hosts.trees[host.name, self.tree.path][name]
        if aspect == "bit":
            file.content = bytes([file.content[0] ^ 1]) + file.content[1:]
        elif aspect == "mode":
            file.mode ^= 0o100
        elif aspect == "owner":
            file.owner += 1
        elif aspect == "mtime":
            file.mtime_ns += 1
        elif aspect == "attribute":
            file.attributes["user.note"] = b"x"
        else:
            file.target += "elsewhere"

    def read(self, host):
        return {name: file.content for name, file in self.mover.hosts.tree(host, self.tree.path).items()}

    def traces(self):
        return []

    def obeyed(self, **orders):
        newest = {self.replica.name: max(orders.values(), default=(0, 0))}
        self.mover.hosts.obeyed = FakeObeyed({self.replica.name} if "json" in orders else (), newest)


class TestFakeTreeMover(TreeMoverLaws):
    @pytest.fixture
    def ground(self):
        return FakeGround(FakeTreeMover())


class FakePointGround:
    def __init__(self):
        self.hosts = FakeHosts()
        self.hosts.trees[SOURCE.name, TREE.path] = {}
        self.store = FakeTreeMover(self.hosts).points(TREE, SOURCE)
        self.others = {}

    def write(self, name, content):
        self.hosts.trees[SOURCE.name, TREE.path][name] = FakeFile(content)

    def remove(self, name):
        del self.hosts.trees[SOURCE.name, TREE.path][name]

    def read_point(self, point):
        files = copy.deepcopy(self.hosts.points[SOURCE.name, TREE.name][point.id][1])
        return {name: file.content for name, file in files.items()}

    def foreign(self):
        self.others["by-hand"] = True
        return "by-hand"

    def foreign_is_there(self, name):
        return self.others[name]


class TestFakePointStore(PointStoreLaws):
    @pytest.fixture
    def ground(self):
        return FakePointGround()
