"""Points of file trees as ZFS snapshots: atomic, read-only, held by ZFS itself. Only `zfs` commands are spoken."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import PurePosixPath

from orchestrator.contracts.programs import root_user
from orchestrator.contracts.transport import Transport
from orchestrator.contracts.trees import Point
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import CommandFailed, NoSpace, SnapshotError
from orchestrator.model.dataset import FileTree
from orchestrator.model.names import PointId

SNAPSHOT_PREFIX = "skerry-"
HOLD_PREFIX = "skerry:"
POINT_PROPERTY, MADE_PROPERTY = "skerry:point", "skerry:made_at"
ZFS_SECONDS_MAX = 600.0
# What zfs says when there is nothing left to do.
GONE = ("could not find any snapshots to destroy", "dataset does not exist", "no such tag on this dataset")
HELD_ALREADY = "tag already exists on this dataset"


class ZfsPointStore:
    """`PointStore` of one tree that is the top of a ZFS dataset."""

    def __init__(self, transport: Transport, tree: FileTree, clock: Clock) -> None:
        self._transport = transport
        self._tree = tree
        self._clock = clock

    def take(self, point: PointId) -> Point:
        if found := self.find(point):
            return found
        made_at = timestamp(self._clock.now())
        words = ["snapshot", "-o", f"{POINT_PROPERTY}={point}", "-o", f"{MADE_PROPERTY}={made_at}"]
        # A foreign snapshot of this name makes the command fail; it is left as it is.
        self._zfs(*words, self._snapshot(point), about=point)
        return self._there(point)

    def list(self) -> Sequence[Point]:
        columns = f"name,{POINT_PROPERTY},{MADE_PROPERTY},userrefs"
        words = ["list", "-H", "-p", "-t", "snapshot", "-d", "1", "-s", "createtxg", "-o", columns]
        rows = [line.split("\t") for line in self._zfs(*words, self._dataset).splitlines()]
        ours = [row for row in rows if row[0] == self._snapshot(row[1])]
        holds = self._holds([name for name, _, _, holders in ours if holders != "0"])
        return [
            Point(id=point, path=self._path(point), made_at=made_at, holds=holds.get(name, ()))
            for name, point, made_at, _ in ours
        ]

    def find(self, point: PointId) -> Point | None:
        return next((found for found in self.list() if found.id == point), None)

    def delete(self, point: PointId) -> None:
        found = self.find(point)
        if found is None:
            return
        if found.holds:
            raise SnapshotError(f"{self._about(point)}: it is held by {', '.join(found.holds)}")
        self._zfs("destroy", self._snapshot(point), about=point, forgiven=GONE)

    def hold(self, point: PointId, by: str) -> Point:
        self._there(point)
        self._zfs("hold", HOLD_PREFIX + by, self._snapshot(point), about=point, forgiven=(HELD_ALREADY,))
        return self._there(point)

    def release(self, point: PointId, by: str) -> None:
        if self.find(point) is not None:
            self._zfs("release", HOLD_PREFIX + by, self._snapshot(point), about=point, forgiven=GONE)

    def _there(self, point: PointId) -> Point:
        found = self.find(point)
        if found is None:
            raise SnapshotError(f"{self._about(point)}: there is no such point")
        return found

    def _holds(self, snapshots: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Who holds each snapshot; a holder that is not ours is shown by its own tag, and counts as much."""
        if not snapshots:
            return {}
        held: dict[str, list[str]] = {}
        for line in self._zfs("holds", "-H", *snapshots).splitlines():
            name, tag, *_ = line.split("\t")
            held.setdefault(name, []).append(tag.removeprefix(HOLD_PREFIX))
        return {name: tuple(sorted(tags)) for name, tags in held.items()}

    @cached_property
    def _dataset(self) -> str:
        """The ZFS dataset whose top the tree is; anything else would hold more, or less, than the tree."""
        path = self._transport.host.path(self._tree.path)
        name, _, mounted_at = self._zfs("list", "-H", "-o", "name,mountpoint", path).strip().partition("\t")
        if mounted_at != path:
            raise SnapshotError(
                f"{self._about()}: {path} is not the top of a ZFS dataset, it lies within {name} at {mounted_at}",
                hint="Make it a dataset of its own, or write `snapshots: portable` for this tree.",
            )
        return name

    def _snapshot(self, point: str) -> str:
        return f"{self._dataset}@{SNAPSHOT_PREFIX}{point}"

    def _path(self, point: str) -> str:
        top = PurePosixPath(self._transport.host.path(self._tree.path))
        return str(top / ".zfs" / "snapshot" / f"{SNAPSHOT_PREFIX}{point}")

    def _about(self, point: str = "") -> str:
        return f"{self._transport.host.name}: point {point} of {self._tree.name}"

    def _zfs(self, *words: str, about: str = "", forgiven: Sequence[str] = ()) -> str:
        try:
            done = self._transport.run(
                ["zfs", *words],
                user=root_user(self._transport.host),
                timeout_seconds=ZFS_SECONDS_MAX,
                check=False,
                environment={"LC_ALL": "C"},
            )
        except CommandFailed as error:
            raise SnapshotError(f"{self._about(about)}: {error.message}") from error
        said = done.stderr.decode(errors="replace").strip()
        if done.exit_code == 0 or any(word in said for word in forgiven):
            return done.stdout.decode(errors="replace")
        why = said.splitlines()[-1] if said else f"exit code {done.exit_code}"
        if done.exit_code == 127:
            why = "zfs is not installed there"
        raise (NoSpace if "out of space" in said else SnapshotError)(f"{self._about(about)}: {why}")
