"""The fakes of the cloud obey the laws that the real ones obey."""

from collections.abc import Callable

import pytest

from orchestrator.model.system import Route53Front
from tests.fakes.cloud_target import FakeConsole, FakeFront, FakeTarget
from tests.laws.front_laws import NamedFrontLaws
from tests.laws.machine_console_laws import MachineConsoleLaws
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


class TestFakeConsole(MachineConsoleLaws):
    absent = "i-0"

    @pytest.fixture
    def console(self) -> FakeConsole:
        return FakeConsole(FakeTarget())

    @pytest.fixture
    def machine(self, console: FakeConsole) -> str:
        return console.target.run("cloud-a", "10.30.1.50", {})


class TestFakeFront(NamedFrontLaws):
    @pytest.fixture
    def front(self) -> FakeFront:
        return FakeFront()

    @pytest.fixture
    def authority(self, front: FakeFront) -> Callable[[Route53Front], str | None]:
        return lambda wish: front.records[wish.name].address if wish.name in front.records else None
