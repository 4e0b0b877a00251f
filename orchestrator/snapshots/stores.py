"""Point stores: portable (hard links or copies on any file system), XFS reflink, btrfs, ZFS; and those of volumes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from orchestrator.contracts.programs import root_user, run_program
from orchestrator.contracts.transport import Transport, Transports
from orchestrator.contracts.trees import Point, PointStore
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import NoSpace, SnapshotError
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.snapshots.naming import points_folder
from orchestrator.snapshots.zfs import ZfsPointStore

PROGRAM = Path(__file__).with_name("host_programs") / "points.py"
POINT_SECONDS_MAX = 6 * 3600.0

# How the host holds a tree: sharing files, copying (blocks shared where it can), sharing blocks or failing, a snapshot;
# and how it holds a volume: sharing blocks, or copying what does not change meanwhile.
Kind = Literal["links", "copy", "reflink", "btrfs", "image"]


class HostPointStore:
    """`PointStore` of one dataset on one host. Every deed is one program on that host: it is whole or not at all."""

    def __init__(self, transport: Transport, dataset: FileTree | BlockVolume, kind: Kind, clock: Clock) -> None:
        self._transport = transport
        self._dataset = dataset
        self._kind = kind
        self._clock = clock

    def take(self, point: PointId) -> Point:
        made_at = timestamp(self._clock.now())
        result = self._ask("take", point=point, kind=self._kind, made_at=made_at, dataset=self._dataset.name)
        return self._point(result["point"])

    def list(self) -> Sequence[Point]:
        return [self._point(note) for note in self._ask("list")["points"]]

    def find(self, point: PointId) -> Point | None:
        return next((found for found in self.list() if found.id == point), None)

    def delete(self, point: PointId) -> None:
        self._ask("delete", point=point)

    def hold(self, point: PointId, by: str) -> Point:
        return self._point(self._ask("hold", point=point, by=by)["point"])

    def release(self, point: PointId, by: str) -> None:
        self._ask("release", point=point, by=by)

    def _point(self, note: dict[str, Any]) -> Point:
        folder = points_folder(self._dataset, self._transport.host)
        return Point(
            id=note["point"],
            path=f"{folder}/{note['point']}/{'volume' if self._kind == 'image' else 'tree'}",
            made_at=note["made_at"],
            holds=tuple(note.get("holds", ())),
        )

    def _ask(self, do: str, **more: str) -> dict[str, Any]:
        host = self._transport.host
        request = {
            "do": do,
            "tree": host.path(self._dataset.path),
            "points": points_folder(self._dataset, host),
            **more,
        }
        result = run_program(self._transport, PROGRAM, request, user=root_user(host), timeout_seconds=POINT_SECONDS_MAX)
        if "refused" in result:
            message = f"{host.name}: point {more.get('point', '')} of {self._dataset.name}: {result['refused']}"
            raise (NoSpace if result["no_space"] else SnapshotError)(message)
        return result


class HostPointStores:
    """`PointStores`: each tree gets the store that its inventory entry names, each volume the one of volumes."""

    def __init__(self, transports: Transports, clock: Clock) -> None:
        self._transports = transports
        self._clock = clock

    def __call__(self, dataset: FileTree | BlockVolume, host: Host) -> PointStore:
        transport = self._transports(host)
        if isinstance(dataset, BlockVolume):
            return HostPointStore(transport, dataset, "image", self._clock)
        if dataset.snapshots == "zfs":
            return ZfsPointStore(transport, dataset, self._clock)
        portable: Kind = "links" if dataset.changes == "replaced" else "copy"
        kinds: dict[str, Kind] = {"portable": portable, "xfs_reflink": "reflink", "btrfs": "btrfs"}
        return HostPointStore(transport, dataset, kinds[dataset.snapshots], self._clock)
