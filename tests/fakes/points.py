"""Points in memory that obey the laws of PointStore, of whatever content one dataset has on one host."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from orchestrator.contracts.trees import Point
from orchestrator.foundation.errors import SnapshotError
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.model.host import Host
from orchestrator.model.names import PointId

Content = TypeVar("Content")
Held = dict[PointId, tuple[Point, Content]]


class FakePoints(Generic[Content]):
    """`content` gives what is held from now on; `moment` numbers the points of all datasets, from 1."""

    def __init__(
        self,
        held: Held[Content],
        dataset: FileTree | BlockVolume,
        host: Host,
        content: Callable[[], Content],
        moment: Callable[[], int],
    ) -> None:
        self._held = held
        self._dataset = dataset
        self._host = host
        self._content = content
        self._moment = moment

    def take(self, point: PointId) -> Point:
        if point in self._held:
            return self._held[point][0]
        content, moment = self._content(), self._moment()
        made_at = f"2026-11-21T22:{moment // 60:02d}:{moment % 60:02d}.000Z"
        made = Point(id=point, path=f"/points/{self._dataset.name}/{point}", made_at=made_at)
        self._held[point] = (made, content)
        return made

    def list(self) -> Sequence[Point]:
        return [made for made, _ in self._held.values()]

    def find(self, point: PointId) -> Point | None:
        return self._held[point][0] if point in self._held else None

    def delete(self, point: PointId) -> None:
        found = self.find(point)
        if found is not None and found.holds:
            raise SnapshotError(f"{self._host.name}: point {point} is held by {', '.join(found.holds)}")
        self._held.pop(point, None)

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
        self._held[point.id] = (changed, self._held[point.id][1])
        return changed
