"""What law suites share: a PostgreSQL server that lives as long as the test session."""

import pytest

from tests.fakes.postgres_server import running_postgres


@pytest.fixture(scope="session")
def postgres_server():
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server):
    return postgres_server.new_database()
