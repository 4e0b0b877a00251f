"""Playbooks in memory obey the laws of playbooks, so that they may stand in elsewhere."""

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.model.host import Host
from tests.fakes.playbooks import FakePlaybooks, PlayFails, PlayLasts
from tests.laws.playbooks_laws import PlaybooksLaws


def works(host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
    return {"side": variables["skerry_side"]}


def fails(host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
    raise PlayFails("expected 200, saw 503")


def lasts(host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
    raise PlayLasts


class TestFakePlaybooks(PlaybooksLaws):
    @pytest.fixture
    def playbooks(self) -> FakePlaybooks:
        return FakePlaybooks({"works": works, "fails": fails, "lasts": lasts})

    @pytest.fixture
    def host(self) -> Host:
        return Host(name="onprem-a", site="onprem", address="10.10.1.11")

    @pytest.fixture
    def other(self) -> Host:
        return Host(name="dr-a", site="dr", address="10.20.1.11")
