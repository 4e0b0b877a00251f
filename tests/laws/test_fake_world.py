"""The small fakes round the handlers obey their laws, so that they may stand in elsewhere."""

import pytest

from orchestrator.model.host import Host
from tests.fakes.access_log import MemoryAccessLog
from tests.fakes.authority import MemoryAuthority
from tests.fakes.clock import SetClock
from tests.fakes.host_keys import MemoryHostKeys
from tests.laws.access_log_laws import AccessLogLaws
from tests.laws.authority_store_laws import AuthorityStoreLaws
from tests.laws.host_key_ring_laws import HostKeyRingLaws


class TestMemoryAuthority(AuthorityStoreLaws):
    @pytest.fixture
    def store(self):
        return MemoryAuthority()


class TestMemoryHostKeys(HostKeyRingLaws):
    @pytest.fixture
    def ring(self):
        return MemoryHostKeys()

    @pytest.fixture
    def ring_again(self, ring):
        return lambda: MemoryHostKeys(ring.kept)


class TestMemoryAccessLog(AccessLogLaws):
    @pytest.fixture
    def log(self):
        return MemoryAccessLog(SetClock())

    @pytest.fixture
    def host(self):
        return Host(name="onprem-a", site="onprem", address="10.10.1.11")

    @pytest.fixture
    def visit(self, log, host):
        peer = Host(name="dr-a", site="dr", address="10.20.1.11")
        return lambda: log.saw(host, peer)
