"""Where the state of runs is kept, and how it is opened."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.engine import Runs, WorkersView
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.database_name import named_database, with_password
from orchestrator.foundation.places import engine_database, skerry_home, state_database
from orchestrator.inventory.secrets import SecretResolver


def state_url() -> str:
    """What people see of runs: plans, approvals, requests, events, results. It may hold a password: show it nowhere."""
    return _shared_url() or f"sqlite:///{state_database()}"


def engine_url() -> str:
    """What the durable engine keeps for itself."""
    return _shared_url() or f"sqlite:///{engine_database()}"


def _shared_url() -> str:
    named = named_database()
    return with_password(named, SecretResolver(skerry_home())) if named else ""


def make_home() -> None:
    skerry_home().mkdir(parents=True, exist_ok=True, mode=0o700)


@contextmanager
def open_workers() -> Iterator[WorkersView]:
    """Who carries the runs of this home, or of the shared database."""
    from orchestrator.engine.store import open_store
    from orchestrator.engine.workers_store import WorkersStore

    make_home()
    store = open_store(state_url())
    try:
        yield WorkersStore(store.database, SystemClock())
    finally:
        store.close()


def nobody_carries() -> bool:
    """Whether no process carries the runs of this home. Where a database is shared, workers see to that: False."""
    from orchestrator.engine.worker_lock import worker_lock

    lock = worker_lock(state_url()) if not named_database() else None
    return lock is not None and not lock.owner()


@contextmanager
def open_runs() -> Iterator[Runs]:
    """The runs of this home, without an estate: for status."""
    with open_kept() as (runs, _):
        yield runs


@contextmanager
def open_kept() -> Iterator[tuple[Runs, Catalogue]]:
    """Runs and catalogue of this home, without an estate: for requests to a run."""
    from orchestrator.engine.store import open_store

    make_home()
    store = open_store(state_url())
    try:
        yield store.runs, store.catalogue
    finally:
        store.close()
