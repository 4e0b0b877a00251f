"""A catalogue in memory that obeys the laws."""

import json
from collections.abc import Sequence
from typing import Any

from orchestrator.contracts.catalogue import Kind


class MemoryCatalogue:
    """Documents as text, so that nobody keeps a hold on what was put."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], str] = {}  # oldest first

    def put(self, kind: Kind, key: str, document: dict[str, Any]) -> None:
        self._kept.pop((kind, key), None)
        self._kept[kind, key] = json.dumps(document)

    def get(self, kind: Kind, key: str) -> dict[str, Any] | None:
        text = self._kept.get((kind, key))
        return None if text is None else json.loads(text)

    def drop(self, kind: Kind, key: str) -> None:
        self._kept.pop((kind, key), None)

    def list(self, kind: Kind, *, prefix: str = "", limit: int = 1000) -> Sequence[tuple[str, dict[str, Any]]]:
        found = [(key, json.loads(text)) for (of, key), text in self._kept.items() if of == kind]
        return [(key, document) for key, document in reversed(found) if key.startswith(prefix)][:limit]
