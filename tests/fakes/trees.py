"""File trees in memory that obey the laws of PointStore and TreeMover."""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.contracts.trees import CopyOutlook, Point, Reading
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.errors import DataError, HostUnreachable, NoSpace, SnapshotError, SourceShrank
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.model.transfer import ContentDigest, TransferReport


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


class FakeHosts:
    """What all hosts hold. `cut` hosts cannot be reached; `full` hosts take nothing new."""

    def __init__(self) -> None:
        self.trees: dict[tuple[str, str], Files] = {}
        self.points: dict[tuple[str, str], dict[str, tuple[Point, Files]]] = {}
        self.cut: set[str] = set()
        self.full: set[str] = set()
        self.ready: set[tuple[str, str]] = set()  # trees and hosts for which the last delta was prepared
        self.moments = 0

    def tree(self, host: Host, path: str) -> Files:
        if host.name in self.cut:
            raise HostUnreachable(f"{host.name}: no route")
        found = self.trees.get((host.name, path))
        if found is None:
            raise DataError(f"{host.name}:{path} is not there")
        return found


class FakePointStore:
    def __init__(self, hosts: FakeHosts, tree: FileTree, host: Host) -> None:
        self._hosts = hosts
        self._tree = tree
        self._host = host
        self._points = hosts.points.setdefault((host.name, tree.name), {})

    def take(self, point: PointId) -> Point:
        if point in self._points:
            return self._points[point][0]
        if (self._host.name, self._tree.path) not in self._hosts.trees:
            raise SnapshotError(f"{self._host.name}: {self._tree.path} is not a folder")
        files = self._hosts.tree(self._host, self._tree.path)
        if self._host.name in self._hosts.full:
            raise NoSpace(f"{self._host.name} is full")
        self._hosts.moments += 1
        made_at = f"2026-11-21T22:{self._hosts.moments // 60:02d}:{self._hosts.moments % 60:02d}.000Z"
        made = Point(id=point, path=f"/points/{self._tree.name}/{point}", made_at=made_at)
        self._points[point] = (made, copy.deepcopy(files))
        return made

    def list(self) -> Sequence[Point]:
        return [made for made, _ in self._points.values()]

    def find(self, point: PointId) -> Point | None:
        return self._points[point][0] if point in self._points else None

    def delete(self, point: PointId) -> None:
        found = self.find(point)
        if found is not None and found.holds:
            raise SnapshotError(f"{self._host.name}: point {point} is held by {', '.join(found.holds)}")
        self._points.pop(point, None)

    def hold(self, point: PointId, by: str) -> Point:
        found = self.find(point)
        if found is None:
            raise SnapshotError(f"{self._host.name}: there is no point {point} to hold")
        return self._with_holds(found, {*found.holds, by})

    def release(self, point: PointId, by: str) -> None:
        found = self.find(point)
        if found is not None:
            self._with_holds(found, set(found.holds) - {by})

    def _with_holds(self, point: Point, holds: set[str]) -> Point:
        changed = point.model_copy(update={"holds": tuple(sorted(holds))})
        self._points[point.id] = (changed, self._points[point.id][1])
        return changed


class FakeTreeMover:
    """`TreeMover` over FakeHosts."""

    def __init__(self, hosts: FakeHosts | None = None) -> None:
        self.hosts = hosts or FakeHosts()
        self.may_be_empty: set[str] = set()

    def points(self, tree: FileTree, host: Host) -> FakePointStore:
        return FakePointStore(self.hosts, tree, host)

    def copy(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        *,
        from_point: PointId | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        files = self._files(tree, source, from_point)
        if replica.name in self.hosts.cut:
            raise HostUnreachable(f"{replica.name}: no route")
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
        self, tree: FileTree, source: Host, replica: Host, *, progress: ProgressSink | None = None
    ) -> TransferReport:
        return self.copy(tree, source, replica, progress=progress)

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
        return ContentDigest(
            dataset=tree.name,
            host=host.name,
            digest=digest_of({name: file.form() for name, file in files.items()}),
            algorithm="tree/v1",
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
