"""How far a tour has come, so that the same command goes on after a crash."""

import json
from pathlib import Path
from typing import Any

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.clock import Clock


class TourJournal:
    """A small file of finished phases. A phase that is not in it is done again; every phase may be done twice."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._document: dict[str, Any] = {"phases": {}, "kept": {}}
        if path.exists():
            self._document = json.loads(path.read_bytes())

    @property
    def finished(self) -> bool:
        return bool(self._document["kept"].get("finished"))

    def kept(self, name: str) -> Any:
        """What an earlier phase, perhaps of an earlier process, kept under `name`; None where it kept nothing."""
        return self._document["kept"].get(name)

    def keep(self, name: str, value: Any) -> None:
        self._document["kept"][name] = value
        self._write()

    def done(self, phase: str) -> bool:
        return phase in self._document["phases"]

    def finish(self, phase: str, seconds: float) -> None:
        self._document["phases"][phase] = round(seconds, 3)
        self._write()

    @property
    def phases_seconds(self) -> dict[str, float]:
        return dict(self._document["phases"])

    def _write(self) -> None:
        replace_file(self._path, json.dumps(self._document, indent=1).encode())
