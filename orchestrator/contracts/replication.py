"""What is remembered of replication: rounds, and how far replicas were behind over time."""

from collections.abc import Sequence
from typing import Protocol

from orchestrator.model.replication import HistorySize, LagSample, Round, RoundProgress, RoundTotals


class ReplicationHistory(Protocol):
    """A bounded memory.

    Laws (tests/laws/replication_history_laws.py):
      note      is durable; older samples are thinned, and of those that share a place the worst stays
      newest    is the last sample of each dataset
      put_round with the same id replaces; the totals count a round once, when it first has an end
      rounds    newest first; only so many of each system are kept, the totals know of all
      size      does not grow without bound, however long it goes on
    Fails only with EngineUnavailable.
    """

    def note(self, samples: Sequence[LagSample]) -> None: ...

    def samples(self, system: str, dataset: str, *, since: str = "") -> Sequence[LagSample]:
        """Oldest first; `since` is a timestamp, the empty one means all that is kept."""
        ...

    def newest(self) -> Sequence[LagSample]: ...
    def put_round(self, round_: Round) -> None: ...
    def rounds(self, system: str = "", *, limit: int = 20) -> Sequence[Round]: ...
    def totals(self) -> Sequence[RoundTotals]: ...
    def put_progress(self, progress: RoundProgress) -> None: ...
    def progress(self, system: str) -> RoundProgress | None: ...
    def size(self) -> HistorySize: ...

    def run_holding(self, system: str) -> str:
        """The run that holds the system now, also one that failed half-way; empty where none does."""
        ...
