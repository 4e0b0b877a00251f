"""Runs and catalogue for commands that only read: over the plain reader, so that SQLAlchemy is not loaded for them."""

from collections.abc import Sequence
from typing import Any, NoReturn

from orchestrator.contracts.catalogue import Kind
from orchestrator.contracts.engine import RunStatus
from orchestrator.contracts.reading import StateReader
from orchestrator.contracts.requests import Operation
from orchestrator.foundation.errors import UsageError
from orchestrator.model.names import SystemName
from orchestrator.model.plan import Plan


class ReadOnlyCatalogue:
    """The reading half of contracts.catalogue.Catalogue; the other half raises UsageError."""

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader

    def get(self, kind: Kind, key: str) -> dict[str, Any] | None:
        return self._reader.document(kind, key)

    def list(self, kind: Kind, *, prefix: str = "", limit: int = 1000) -> Sequence[tuple[str, dict[str, Any]]]:
        return self._reader.documents(kind, prefix=prefix, limit=limit)

    def put(self, kind: Kind, key: str, document: dict[str, Any]) -> None:
        _refuse(f"{kind} {key}")

    def drop(self, kind: Kind, key: str) -> None:
        _refuse(f"{kind} {key}")


class ReadOnlyRuns:
    """The reading half of contracts.engine.Runs; the other half raises UsageError."""

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader

    def status(self, run: str) -> RunStatus:
        return RunStatus.model_validate(self._reader.run(run))

    def list(self, *, limit: int = 100, plan: str = "") -> Sequence[RunStatus]:
        return [RunStatus.model_validate(document) for document in self._reader.runs(limit=limit, plan=plan)]

    def plan(self, run: str) -> Plan:
        return Plan.model_validate(self._reader.plan_of(run))

    def submit(
        self,
        run: str,
        plan: Plan,
        *,
        kind: str,
        operator: str,
        pause_before: Sequence[str] = (),
        systems: Sequence[SystemName] = (),
    ) -> None:
        _refuse(f"run {run}")

    def request(self, run: str, system: str, operation: Operation, *, by: str, reason: str, step: str = "") -> None:
        _refuse(f"run {run}")


def _refuse(what: str) -> NoReturn:
    raise UsageError(f"{what} cannot be written by a command that only reads")
