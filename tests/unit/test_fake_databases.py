"""The clusters in memory obey the laws that the real ones obey."""

import pytest

from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.host import Host
from tests.fakes.databases import FakeDatabases
from tests.laws.databases_laws import DatabasesLaws


class FakeGround:
    def __init__(self):
        self.mover = FakeDatabases()
        self.cluster = PostgresCluster(
            name="register", data_directory="/var/lib/postgresql/filing", service="filing-db", databases=("filing",)
        )
        self.source = Host(name="onprem-a", site="onprem", address="10.10.1.11")
        self.dr = Host(name="dr-a", site="dr", address="10.20.1.11")
        self.cloud = Host(name="cloud-a", site="cloud", address="10.30.1.11")
        self.mover.create(self.cluster, self.source)
        self.write(self.source, "first")

    def write(self, host, text):
        self.mover.write(self.cluster, host, text)

    def rows(self, host):
        return self.mover.rows(self.cluster, host)

    def obey(self, host, order):
        self.mover.obeyed[host.name] = (order.number, order.ticket)


class TestFakeDatabases(DatabasesLaws):
    @pytest.fixture
    def ground(self):
        return FakeGround()
