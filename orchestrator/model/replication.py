"""Replication that goes on outside of runs: its policy, its rounds, and how far replicas were behind."""

from typing import Literal

from pydantic import Field

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import DatasetName, Name, PointId, Seconds, SystemName
from orchestrator.model.retention import RetentionPolicy

# running: under way, or its process died. refused: nothing was touched. broken_off: found running by a later round.
RoundResult = Literal["running", "passed", "failed", "refused", "broken_off"]


class ReplicationPolicy(Frozen):
    """What holds for every round and every removal of points."""

    retention: RetentionPolicy = RetentionPolicy()
    # A round that would take more than this share of a replica's entries, or bytes, is refused.
    shrink_share_max: float = Field(default=0.5, gt=0, le=1)
    # What a run took stays so long after its end, for a way back that nobody thought of.
    rollback_window: Seconds = 7 * 86400.0


class Round(Frozen):
    """One round of one system, source → DR. `moment_at`: what DR holds of trees is at least as new as this."""

    id: str
    system: SystemName
    by: Name
    started_at: str
    finished_at: str = ""
    result: RoundResult = "running"
    message: str = ""
    error: str = ""  # class name, of a round that did not pass
    hint: str = ""
    point: PointId | Literal[""] = ""
    moment_at: str = ""
    bytes_wire: int = 0
    bytes_total: int = 0
    seconds: float = 0.0


class RoundTotals(Frozen):
    """All rounds of a system that ended so, since its first: these only ever grow."""

    system: SystemName
    result: RoundResult
    rounds: int
    bytes_wire: int
    seconds: float


class LagSample(Frozen):
    """How far a dataset's replica was behind at one moment. None: not known."""

    system: SystemName
    dataset: DatasetName
    at: str
    seconds_behind: float | None = None
    bytes_behind: int | None = None


class RoundProgress(Frozen):
    """How far the round under way has come, for people in other processes."""

    system: SystemName
    round: str
    at: str
    dataset: str = ""
    text: str = ""
    bytes_done: int = 0
    bytes_total: int = 0  # 0: not known
    bytes_per_second: float = 0.0


class HistorySize(Frozen):
    """What the history takes up. `bytes_about` is an estimate from the rows."""

    samples: int
    rounds: int
    bytes_about: int
