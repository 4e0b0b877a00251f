"""Block volumes in memory that obey the laws of VolumeMover; a volume is its bytes."""

import hashlib
from collections.abc import Sequence

from orchestrator.contracts.authority import Order
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.contracts.trees import Point
from orchestrator.foundation.errors import DataError, HostUnreachable, SnapshotError, SourceShrank
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.model.transfer import ContentDigest, TransferReport
from tests.fakes.obeyed import FakeObeyed
from tests.fakes.points import FakePoints

LEAF_BYTES = 64 * 1024
SMALL_LEAVES = 16


class FakeVolumes:
    """What all hosts hold. `cut` hosts cannot be reached."""

    def __init__(self) -> None:
        self.content: dict[tuple[str, str], bytes] = {}
        self.points: dict[tuple[str, str], dict[str, tuple[Point, bytes]]] = {}
        self.cut: set[str] = set()
        self.moments = 0
        self.obeyed = FakeObeyed()

    def at(self, volume: BlockVolume, host: Host) -> bytes:
        if host.name in self.cut:
            raise HostUnreachable(f"{host.name}: no route")
        if (host.name, volume.path) not in self.content:
            raise DataError(f"{host.name}: {volume.name} at {volume.path} cannot be read: no such file")
        return self.content[host.name, volume.path]

    def points_of(self, volume: BlockVolume, host: Host) -> FakePoints[bytes]:
        def content() -> bytes:
            try:
                return self.at(volume, host)
            except DataError as error:
                raise SnapshotError(error.message) from error

        held = self.points.setdefault((host.name, volume.name), {})
        return FakePoints(held, volume, host, content, self.next_moment)

    def next_moment(self) -> int:
        self.moments += 1
        return self.moments


class FakeVolumeMover:
    """`VolumeMover` over FakeVolumes."""

    def __init__(self, volumes: FakeVolumes | None = None) -> None:
        self.volumes = volumes or FakeVolumes()
        self.may_shrink: set[str] = set()

    def let_empty(self, volume: BlockVolume) -> None:
        self.may_shrink.add(volume.path)

    def points(self, volume: BlockVolume, host: Host) -> FakePoints[bytes]:
        return self.volumes.points_of(volume, host)

    def copy(
        self,
        volume: BlockVolume,
        source: Host,
        replica: Host,
        *,
        from_point: PointId | None = None,
        order: Order | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        content = self._content(volume, source, from_point)
        if replica.name in self.volumes.cut:
            raise HostUnreachable(f"{replica.name}: no route")
        self.volumes.obeyed.refuse_open(volume, replica, order)
        before = self.volumes.content.get((replica.name, volume.path), b"")
        kept, there = with_data(content), with_data(before)
        shrank = kept == 0 < there or (there > SMALL_LEAVES and kept < there / 2)
        if shrank and volume.path not in self.may_shrink:
            raise SourceShrank(f"{volume.name}: {kept} leaves hold data, {there} do at {replica.name}")
        wire = sum(stop - start for start, stop in differing_leaves(before, content))
        self.volumes.content[replica.name, volume.path] = content
        if progress is not None:
            progress(Progress(dataset=volume.name, bytes_done=wire, bytes_total=len(content)))
        return TransferReport(
            dataset=volume.name,
            source=source.name,
            replica=replica.name,
            method="block_delta",
            bytes_total=len(content),
            bytes_wire=wire,
            seconds=0.0,
            detail={"bytes_written": str(wire)},
        )

    def digest(
        self,
        volume: BlockVolume,
        host: Host,
        *,
        point: PointId | None = None,
        scrub: bool = False,
        progress: ProgressSink | None = None,
    ) -> ContentDigest:
        content = self._content(volume, host, point)
        return ContentDigest(
            dataset=volume.name,
            host=host.name,
            digest="sha256:" + hashlib.sha256(content).hexdigest(),
            algorithm="block/v1",
            bytes_read=len(content),
            entries=-(-len(content) // LEAF_BYTES),
        )

    def differences(self, volume: BlockVolume, one: Host, other: Host, *, limit: int = 20) -> Sequence[str]:
        left, right = self._content(volume, one, None), self._content(volume, other, None)
        if len(left) != len(right):
            return [f"{len(left)} bytes at {one.name}, {len(right)} bytes at {other.name}"]
        return [f"bytes {start} to {stop - 1}" for start, stop in differing_leaves(left, right)][:limit]

    def _content(self, volume: BlockVolume, host: Host, point: PointId | None) -> bytes:
        if point is None:
            return self.volumes.at(volume, host)
        kept = self.volumes.points.get((host.name, volume.name), {})
        if point not in kept:
            raise SnapshotError(f"{host.name} has no point {point} of {volume.name}")
        return kept[point][1]


def with_data(content: bytes) -> int:
    return len(differing_leaves(b"", content))


def differing_leaves(left: bytes, right: bytes) -> list[tuple[int, int]]:
    """(first byte, byte after the last) of each leaf of `right` that `left` lacks; zeros are as good as nothing."""
    found = []
    for start in range(0, len(right), LEAF_BYTES):
        piece = right[start : start + LEAF_BYTES]
        if left[start : start + LEAF_BYTES].ljust(len(piece), b"\0") != piece:
            found.append((start, start + len(piece)))
    return found
