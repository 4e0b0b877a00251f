"""The store on SQLite, and on PostgreSQL, obeys the laws of runs, authority and catalogue."""

import pytest

from orchestrator.engine.store import open_store
from tests.fakes.clock import SetClock
from tests.laws.authority_store_laws import AuthorityStoreLaws
from tests.laws.catalogue_laws import CatalogueLaws
from tests.laws.replication_history_laws import ReplicationHistoryLaws
from tests.laws.runs_laws import RunsLaws
from tests.laws.shared_ledger_laws import SharedLedgerLaws


@pytest.fixture
def sqlite_store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/state.db")
    yield store
    store.close()


class TestSqliteAuthority(AuthorityStoreLaws):
    @pytest.fixture
    def store(self, sqlite_store):
        return sqlite_store.authority


class TestSqliteCatalogue(CatalogueLaws):
    @pytest.fixture
    def catalogue(self, sqlite_store):
        return sqlite_store.catalogue


class TestSqliteReplicationHistory(ReplicationHistoryLaws):
    @pytest.fixture
    def clock(self):
        return SetClock()

    @pytest.fixture
    def history(self, tmp_path, clock):
        store = open_store(f"sqlite:///{tmp_path}/history.db", clock=clock)
        yield store.replication
        store.close()


class TestSqliteRuns(RunsLaws):
    @pytest.fixture
    def runs(self, sqlite_store):
        return sqlite_store.runs


class TestSqliteSharedLedger(SharedLedgerLaws):
    @pytest.fixture
    def ledger(self, sqlite_store):
        return sqlite_store.ledger


@pytest.fixture
def postgres_store(postgres_url):
    store = open_store(postgres_url)
    yield store
    store.close()


@pytest.mark.platform("postgresql")
class TestPostgresAuthority(AuthorityStoreLaws):
    @pytest.fixture
    def store(self, postgres_store):
        return postgres_store.authority


@pytest.mark.platform("postgresql")
class TestPostgresCatalogue(CatalogueLaws):
    @pytest.fixture
    def catalogue(self, postgres_store):
        return postgres_store.catalogue


@pytest.mark.platform("postgresql")
class TestPostgresReplicationHistory(ReplicationHistoryLaws):
    @pytest.fixture
    def clock(self):
        return SetClock()

    @pytest.fixture
    def history(self, postgres_url, clock):
        store = open_store(postgres_url, clock=clock)
        yield store.replication
        store.close()


@pytest.mark.platform("postgresql")
class TestPostgresRuns(RunsLaws):
    @pytest.fixture
    def runs(self, postgres_store):
        return postgres_store.runs


@pytest.mark.platform("postgresql")
class TestPostgresSharedLedger(SharedLedgerLaws):
    @pytest.fixture
    def ledger(self, postgres_store):
        return postgres_store.ledger
