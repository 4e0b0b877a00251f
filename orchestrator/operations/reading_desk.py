"""A desk at which nothing is changed: for commands that show waves and their plans."""

from functools import cached_property

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.engine import Runs
from orchestrator.contracts.reading import StateReader
from orchestrator.engine.plain_store import ReadOnlyCatalogue, ReadOnlyRuns
from orchestrator.operations.desk import Desk
from orchestrator.operations.reading import open_reader


class ReadingDesk(Desk):
    """Reads the store plainly. What would write it raises UsageError."""

    @cached_property
    def _reader(self) -> StateReader:
        return open_reader()

    @property
    def catalogue(self) -> Catalogue:
        return ReadOnlyCatalogue(self._reader)

    @property
    def runs(self) -> Runs:
        return ReadOnlyRuns(self._reader)
