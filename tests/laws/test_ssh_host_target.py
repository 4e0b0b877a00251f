"""Machines that stand already obey the laws that machines of a cloud obey; what nobody can do for them is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.contracts.target import Target
from orchestrator.foundation.errors import CommandFailed, PlanningError, TargetError
from orchestrator.hosts.local import LocalTransport
from orchestrator.targets.by_host import TargetByHost
from orchestrator.targets.ssh_host import NOTE, SshHosts
from tests.fakes.cloud_target import FakeTarget
from tests.laws.target_laws import HOST, OTHER, SPEC, TAGS, TargetLaws


class StandingLaws(TargetLaws):
    """Each host is a folder of this machine."""

    spec = None

    @pytest.fixture(autouse=True)
    def _places(self, tmp_path: Path) -> None:
        self.host, self.other = (
            each.model_copy(update={"path_prefix": str(tmp_path / each.name), "become": False})
            for each in (HOST, OTHER)
        )

    @pytest.fixture
    def foreign(self) -> Callable[[str, str], str]:
        """It stands there without our note."""
        return lambda name, address: f"ssh:{name}"

    @pytest.fixture
    def state_of(self) -> Callable[[str], str]:
        return lambda machine: "running"  # this machine, which runs the test


class TestSshHosts(StandingLaws):
    @pytest.fixture
    def target(self) -> SshHosts:
        return SshHosts(LocalTransport)

    def test_the_note_says_whose_it_is_and_a_spoiled_one_is_told(self, target: Target) -> None:
        self.made(target)
        note = Path(self.host.path(NOTE))
        assert json.loads(note.read_text()) == {**TAGS, "Name": "cloud-a"}
        note.write_text(json.dumps({**TAGS, "skerry:host": "cloud-z"}))
        with pytest.raises(TargetError, match="this machine is cloud-z"):
            target.find(self.host)
        note.write_text("[]")
        with pytest.raises(CommandFailed, match=r"machine\.json cannot be read"):
            target.find(self.host)


class TestTargetByHost(StandingLaws):
    @pytest.fixture
    def cloud(self) -> FakeTarget:
        return FakeTarget()

    @pytest.fixture
    def target(self, cloud: FakeTarget) -> TargetByHost:
        return TargetByHost(cloud, SshHosts(LocalTransport), {HOST.name, OTHER.name})

    def test_a_host_that_does_not_stand_yet_is_made_in_the_cloud(self, target: Target, cloud: FakeTarget) -> None:
        made = HOST.model_copy(update={"name": "cloud-new"})
        machine = target.ensure(made, SPEC, key="k", tags={**TAGS, "skerry:host": made.name})
        assert target.abilities(made) == cloud.abilities(made)
        assert target.find(made) == machine
        target.stop(machine.id)
        target.start(machine.id)
        target.terminate(machine.id)
        assert cloud.machines[machine.id].state == "terminated"
        with pytest.raises(PlanningError, match="which machine it shall be"):
            target.ensure(made, None, key="k", tags=TAGS)
