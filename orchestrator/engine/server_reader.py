"""Reads what people are shown from the database that several machines share; the same documents as plain_reader."""

from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa

from orchestrator.contracts.catalogue import Kind
from orchestrator.engine.store import open_store
from orchestrator.engine.tables import authority, runs


class ServerReader:
    """A contracts.reading.StateReader over the store at `url`, opened with it."""

    def __init__(self, url: str) -> None:
        self._store = open_store(url)

    def runs(self, *, limit: int, plan: str = "") -> list[dict[str, Any]]:
        return [status.model_dump(mode="json") for status in self._store.runs.list(limit=limit, plan=plan)]

    def run_ids(self, beginning: str) -> list[str]:
        query = sa.select(runs.c.run).where(runs.c.run.startswith(beginning, autoescape=True)).limit(2)
        with self._store.database.reading() as connection:
            return list(connection.execute(query).scalars())

    def run(self, run: str) -> dict[str, Any]:
        return self._store.runs.status(run).model_dump(mode="json")

    def plan_of(self, run: str) -> dict[str, Any]:
        return self._store.runs.plan(run).model_dump(mode="json")

    def plans(self, *, limit: int) -> list[dict[str, Any]]:
        return [
            {
                "digest": digest,
                "wave": plan["wave"],
                "author": plan["author"],
                "runbook": f"{plan['runbook']} {plan['runbook_version']}",
                "systems": [planned["system"]["name"] for planned in plan["systems"]],
                "bytes_expected": sum(planned["bytes_expected"] for planned in plan["systems"]),
            }
            for digest, plan in self._store.catalogue.list("plan", limit=limit)
        ]

    def documents(self, kind: str, *, prefix: str = "", limit: int = 1000) -> list[tuple[str, dict[str, Any]]]:
        return list(self._store.catalogue.list(cast("Kind", kind), prefix=prefix, limit=limit))

    def document(self, kind: str, key: str) -> dict[str, Any] | None:
        return self._store.catalogue.get(cast("Kind", kind), key)

    def authority(self, systems: Sequence[str]) -> dict[str, tuple[str, int]]:
        with self._store.database.reading() as connection:
            rows = connection.execute(sa.select(authority)).all()
        return {row.system: (row.side, row.number) for row in rows if row.system in set(systems)}

    def close(self) -> None:
        self._store.close()
