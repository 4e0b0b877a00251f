"""What commands that only read ask of the stored state, as the documents that --json prints."""

from collections.abc import Sequence
from typing import Any, Protocol


class StateReader(Protocol):
    """Every method is one consistent view. Fails with EngineUnavailable; UsageError for a run that is not there.

    Laws (tests/laws/test_plain_reader.py): the documents are those of contracts.engine.Runs and of Catalogue, as JSON
    """

    def runs(self, *, limit: int, plan: str = "") -> list[dict[str, Any]]:
        """As RunStatus, newest first, without steps; only those of `plan`, where named."""
        ...

    def run_ids(self, beginning: str) -> list[str]:
        """The ids of runs that begin so; two at most, for more only say that it is not clear which is meant."""
        ...

    def run(self, run: str) -> dict[str, Any]: ...
    def plan_of(self, run: str) -> dict[str, Any]: ...
    def plans(self, *, limit: int) -> list[dict[str, Any]]:
        """The newest plans, newest first: digest, wave, author, runbook, systems, bytes_expected."""
        ...

    def documents(self, kind: str, *, prefix: str = "", limit: int = 1000) -> list[tuple[str, dict[str, Any]]]: ...
    def document(self, kind: str, key: str) -> dict[str, Any] | None: ...
    def authority(self, systems: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Side and fencing number of those of `systems` that ever moved."""
        ...
