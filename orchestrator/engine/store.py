"""The store: our tables behind one URL, offered as the contracts that others know. Imports no engine."""

from dataclasses import dataclass

from orchestrator.engine.authority_store import DatabaseAuthority
from orchestrator.engine.catalogue_store import DatabaseCatalogue
from orchestrator.engine.database import Database
from orchestrator.engine.ledger_store import DatabaseSharedLedger
from orchestrator.engine.replication_store import DatabaseReplicationHistory
from orchestrator.engine.run_store import DatabaseRuns
from orchestrator.foundation.clock import Clock, SystemClock


@dataclass(frozen=True)
class Store:
    """Runs, authority, catalogue, the history of replication and the ledger of several machines over one database."""

    runs: DatabaseRuns
    authority: DatabaseAuthority
    catalogue: DatabaseCatalogue
    replication: DatabaseReplicationHistory
    ledger: DatabaseSharedLedger
    database: Database

    def close(self) -> None:
        self.database.close()


def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """Open the store at `url` (`sqlite:////path/state.db` or `postgresql://…`); what is missing is made.

    Raises EngineUnavailable when the database cannot be reached or written.
    """
    clock = clock or SystemClock()
    database = Database(url)
    return Store(
        runs=DatabaseRuns(database, clock),
        authority=DatabaseAuthority(database, clock),
        catalogue=DatabaseCatalogue(database),
        replication=DatabaseReplicationHistory(database, clock),
        ledger=DatabaseSharedLedger(database),
        database=database,
    )
