"""This machine, reached as a host, obeys the laws of transports."""

from pathlib import Path

import pytest

from orchestrator.hosts.local import LocalTransport
from orchestrator.model.host import Host
from tests.laws.transport_laws import TransportLaws


class TestLocalTransport(TransportLaws):
    @pytest.fixture
    def transport(self) -> LocalTransport:
        return LocalTransport(Host(name="here", site="onprem", address="127.0.0.1"))

    @pytest.fixture
    def folder(self, tmp_path: Path) -> str:
        return str(tmp_path)
