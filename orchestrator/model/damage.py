"""Data that are not any more what they were proved to be."""

from typing import Literal

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import DatasetName, PointId, SystemName
from orchestrator.model.site import Side


class Damage(Frozen):
    """Of one dataset at one side: in `point`, or, where that is empty, in the live data."""

    system: SystemName
    dataset: DatasetName
    side: Side
    point: PointId | Literal[""] = ""
    why: str
    found_at: str

    @property
    def place(self) -> str:
        return f"{self.system}/{self.dataset} at {self.side.value} ({self.point or 'live'})"
