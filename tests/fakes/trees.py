"""File trees in memory that obey the laws of PointStore and TreeMover."""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.contracts.authority import Order
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.contracts.trees import CopyOutlook, FileState, PartedFile, Point, Reading
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.errors import DataError, HostUnreachable, NoSpace, SnapshotError, SourceShrank
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.model.transfer import ContentDigest, TransferReport
from tests.fakes.obeyed import FakeObeyed
from tests.fakes.points import FakePoints


@dataclass
class FakeFile:
    content: bytes
    mode: int = 0o644
    owner: int = 0
    mtime_ns: int = 1_000_000_000
    attributes: dict[str, bytes] = field(default_factory=dict)
    target: str = ""  # of a symbolic link

    def form(self) -> list[object]:
        attributes = {name: value.hex() for name, value in sorted(self.attributes.items())}
        content = hashlib.sha256(self.content).hexdigest()
        return [content, self.mode, self.owner, self.mtime_ns, attributes, self.target]


Files = dict[str, FakeFile]


def _state(file: FakeFile | None) -> FileState | None:
    return None if file is None else FileState(len(file.content), file.mtime_ns)


class FakeHosts:
    """What all hosts hold. `cut` hosts cannot be reached; `full` hosts take nothing new."""

    def __init__(self) -> None:
        self.trees: dict[tuple[str, str], Files] = {}
        self.points: dict[tuple[str, str], dict[str, tuple[Point, Files]]] = {}
        self.cut: set[str] = set()
        self.full: set[str] = set()
        self.ready: set[tuple[str, str]] = set()  # trees and hosts for which the last delta was prepared
        self.moments = 0
        self.obeyed = FakeObeyed()

    def tree(self, host: Host, path: str) -> Files:
        if host.name in self.cut:
            raise HostUnreachable(f"{host.name}: no route")
        found = self.trees.get((host.name, path))
        if found is None:
            raise DataError(f"{host.name}:{path} is not there")
        return found

    def points_of(self, tree: FileTree, host: Host) -> FakePoints[Files]:
        def content() -> Files:
            if (host.name, tree.path) not in self.trees:
                raise SnapshotError(f"{host.name}: {tree.path} is not a folder")
            files = self.tree(host, tree.path)
            if host.name in self.full:
                raise NoSpace(f"{host.name} is full")
            return copy.deepcopy(files)

        return FakePoints(self.points.setdefault((host.name, tree.name), {}), tree, host, content, self.next_moment)

    def next_moment(self) -> int:
        self.moments += 1
        return self.moments


class FakeTreeMover:
    """`TreeMover` over FakeHosts."""

    def __init__(self, hosts: FakeHosts | None = None) -> None:
        self.hosts = hosts or FakeHosts()
        self.may_be_empty: set[str] = set()

    def points(self, tree: FileTree, host: Host) -> FakePoints[Files]:
        return self.hosts.points_of(tree, host)

    def copy(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        *,
        from_point: PointId | None = None,
        order: Order | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        files = self._files(tree, source, from_point)
        if replica.name in self.hosts.cut:
            raise HostUnreachable(f"{replica.name}: no route")
        self.hosts.obeyed.refuse_open(tree, replica, order)
        if replica.name in self.hosts.full:
            raise NoSpace(f"{replica.name}: no room for {tree.name}")
        before = self.hosts.trees.get((replica.name, tree.path), {})
        if before and not files and tree.name not in self.may_be_empty:
            raise SourceShrank(f"{tree.name}: nothing is at {source.name}, and {replica.name} holds something")
        moved = [name for name in sorted(files) if before.get(name) != files[name]]
        self.hosts.trees[replica.name, tree.path] = copy.deepcopy(files)
        wire = sum(len(files[name].content) for name in moved)
        if progress is not None:
            progress(Progress(dataset=tree.name, bytes_done=wire, bytes_total=wire))
        return TransferReport(
            dataset=tree.name,
            source=source.name,
            replica=replica.name,
            method="rsync",
            bytes_total=sum(len(file.content) for file in files.values()),
            bytes_wire=wire,
            files=len(moved),
            seconds=0.0,
            changed=tuple(moved[:50]),
            detail={"deleted": str(len(before.keys() - files.keys()))},
        )

    def let_empty(self, tree: FileTree) -> None:
        self.may_be_empty.add(tree.name)

    def prepare_last(self, tree: FileTree, source: Host, replica: Host) -> str:
        """"in place" trees are never ready, as in reality."""
        if tree.changes != "replaced":
            return f"{tree.name} is changed in place"
        self.hosts.ready |= {(tree.name, source.name), (tree.name, replica.name)}
        return ""

    def copy_last(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        *,
        order: Order | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        return self.copy(tree, source, replica, order=order, progress=progress)

    def release_last(self, tree: FileTree | None = None) -> None:
        self.hosts.ready = {key for key in self.hosts.ready if tree is not None and key[0] != tree.name}

    def outlook(self, tree: FileTree, source: Host, replica: Host) -> CopyOutlook:
        files = self._files(tree, source, None)
        if replica.name in self.hosts.cut:
            raise HostUnreachable(f"{replica.name}: no route")
        before = self.hosts.trees.get((replica.name, tree.path), {})
        return CopyOutlook(
            dataset=tree.name,
            entries_source=len(files),
            bytes_source=sum(len(file.content) for file in files.values()),
            entries_replica=len(before),
            entries_deleted=len(before.keys() - files.keys()),
            bytes_pending=sum(len(file.content) for name, file in files.items() if before.get(name) != file),
        )

    def digest(
        self,
        tree: FileTree,
        host: Host,
        *,
        point: PointId | None = None,
        reading: Reading = "all",
        progress: ProgressSink | None = None,
    ) -> ContentDigest:
        files = self._files(tree, host, point)
        size = sum(len(file.content) for file in files.values())
        if progress is not None:
            progress(Progress(dataset=tree.name, bytes_done=size))
        return ContentDigest(
            dataset=tree.name,
            host=host.name,
            digest=digest_of({name: file.form() for name, file in files.items()}),
            algorithm="tree/v1",
            bytes_read=size,
            entries=len(files),
        )

    def differences(self, tree: FileTree, one: Host, other: Host, *, limit: int = 20) -> Sequence[str]:
        left, right = self._files(tree, one, None), self._files(tree, other, None)
        found = []
        for name in sorted(left.keys() | right.keys()):
            if name not in right or name not in left:
                found.append(f"{name}: file only at {(one if name in left else other).name}")
            elif left[name] != right[name]:
                found.append(f"{name}: content")
        return found[:limit]

    def parted(self, tree: FileTree, one: Host, other: Host, *, limit: int = 1000) -> Sequence[PartedFile]:
        left, right = self._files(tree, one, None), self._files(tree, other, None)
        names = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
        sides = (left, right)
        return [PartedFile(name, *(_state(files.get(name)) for files in sides)) for name in names][:limit]

    def _files(self, tree: FileTree, host: Host, point: PointId | None) -> Files:
        if point is None:
            return self.hosts.tree(host, tree.path)
        kept = self.hosts.points.get((host.name, tree.name), {})
        if point not in kept:
            raise SnapshotError(f"{host.name} has no point {point} of {tree.name}")
        return kept[point][1]


@contextmanager
def cut_off(hosts: FakeHosts, host: Host) -> Iterator[None]:
    """While inside, `host` cannot be reached."""
    hosts.cut.add(host.name)
    try:
        yield
    finally:
        hosts.cut.discard(host.name)
