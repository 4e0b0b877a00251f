"""Hosts in memory obey the laws of transports, so that they may stand in elsewhere."""

import pytest

from orchestrator.model.host import Host
from tests.fakes.transport import FakeTransport, mistaken, refused, unreachable
from tests.laws.transport_laws import ReachingLaws, TransportLaws

HOST = Host(name="onprem-a", site="onprem", address="10.10.1.11")


class TestFakeTransport(TransportLaws, ReachingLaws):
    @pytest.fixture
    def transport(self) -> FakeTransport:
        return FakeTransport(HOST)

    @pytest.fixture
    def folder(self, transport: FakeTransport) -> str:
        transport.folders.add("/tmp/law")
        return "/tmp/law"

    @pytest.fixture
    def unreachable(self) -> FakeTransport:
        return unreachable(HOST)

    @pytest.fixture
    def mistaken(self) -> FakeTransport:
        return mistaken(HOST)

    @pytest.fixture
    def refused(self) -> FakeTransport:
        return refused(HOST)
