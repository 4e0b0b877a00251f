"""Documents that outlive a run, as JSON in one table."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from orchestrator.contracts.catalogue import Kind
from orchestrator.engine.database import Database
from orchestrator.engine.tables import catalogue


class DatabaseCatalogue:
    """The catalogue in our tables; the laws stand at contracts.catalogue.Catalogue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, kind: Kind, key: str, document: dict[str, Any]) -> None:
        with self._database.writing_alone() as connection:
            query = sa.select(sa.func.max(catalogue.c.put_number)).where(catalogue.c.kind == kind)
            newest = connection.execute(query).scalar() or 0
            row = {"kind": kind, "key": key, "document": json.dumps(document), "put_number": newest + 1}
            self._database.put(connection, catalogue, row)

    def get(self, kind: Kind, key: str) -> dict[str, Any] | None:
        query = sa.select(catalogue.c.document).where(catalogue.c.kind == kind, catalogue.c.key == key)
        with self._database.reading() as connection:
            text = connection.execute(query).scalar_one_or_none()
        return None if text is None else _loaded(text)

    def drop(self, kind: Kind, key: str) -> None:
        with self._database.writing() as connection:
            connection.execute(sa.delete(catalogue).where(catalogue.c.kind == kind, catalogue.c.key == key))

    def list(self, kind: Kind, *, prefix: str = "", limit: int = 1000) -> Sequence[tuple[str, dict[str, Any]]]:
        query = (
            sa.select(catalogue.c.key, catalogue.c.document)
            .where(catalogue.c.kind == kind, catalogue.c.key.startswith(prefix, autoescape=True))
            .order_by(catalogue.c.put_number.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        # SQLite's LIKE knows no case; keys do.
        return [(key, _loaded(text)) for key, text in rows if key.startswith(prefix)]


def _loaded(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    return document
