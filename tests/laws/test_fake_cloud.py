"""The fakes of the cloud obey the laws that the real ones obey."""

from collections.abc import Callable

import pytest

from orchestrator.model.system import Route53Front
from tests.fakes.cloud_target import FakeFront, FakeTarget
from tests.laws.front_laws import NamedFrontLaws
from tests.laws.target_laws import MachineMakerLaws


class TestFakeTarget(MachineMakerLaws):
    @pytest.fixture
    def target(self) -> FakeTarget:
        return FakeTarget()

    @pytest.fixture
    def foreign(self, target: FakeTarget) -> Callable[[str, str], str]:
        return lambda name, address: target.run(name, address, {})

    @pytest.fixture
    def state_of(self, target: FakeTarget) -> Callable[[str], str]:
        return lambda machine: target.machines[machine].state


class TestFakeFront(NamedFrontLaws):
    @pytest.fixture
    def front(self) -> FakeFront:
        return FakeFront()

    @pytest.fixture
    def authority(self, front: FakeFront) -> Callable[[Route53Front], str | None]:
        return lambda wish: front.records[wish.name].address if wish.name in front.records else None
