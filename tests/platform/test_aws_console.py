"""What test machines print and show, told by the strict cloud, in the drill's own role."""

import secrets
from collections.abc import Iterator

import pytest

from orchestrator.foundation.errors import TargetForbidden
from orchestrator.targets.aws.console import AwsConsole
from orchestrator.targets.aws.machines import AwsMachines
from tests.fakes.aws_cloud import AwsCloud, running_cloud
from tests.laws.machine_console_laws import MachineConsoleLaws
from tests.laws.target_laws import HOST, SPEC, TAGS

pytestmark = pytest.mark.platform("ssh")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsCloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def console(cloud: AwsCloud) -> AwsConsole:
    return AwsConsole(cloud.session(role="drill"))


@pytest.fixture
def target(cloud: AwsCloud) -> Iterator[AwsMachines]:
    yield AwsMachines(cloud.session())
    cloud.end_all_machines()


@pytest.fixture
def machine(target: AwsMachines) -> str:
    return target.ensure(HOST, SPEC, key=secrets.token_hex(8), tags=TAGS).id


class TestAwsConsole(MachineConsoleLaws):
    absent = "i-0123456789abcdef0"


def test_a_type_that_tells_nothing_of_now_tells_what_was_posted(target: AwsMachines, console: AwsConsole) -> None:
    older = SPEC.model_copy(update={"instance_type": "t2.small"})  # of the Xen hypervisor
    machine = target.ensure(HOST, older, key=secrets.token_hex(8), tags=TAGS)
    assert "login:" in console.printed(machine.id)


def test_a_machine_that_was_stopped_has_no_screen(target: AwsMachines, console: AwsConsole, machine: str) -> None:
    target.stop(machine)
    assert console.picture(machine) is None


def test_the_role_sees_no_machine_of_others(cloud: AwsCloud, target: AwsMachines, console: AwsConsole) -> None:
    assert target.find(HOST) is None
    with pytest.raises(TargetForbidden, match="GetConsoleScreenshot"):
        console.picture(cloud.foreign_machine("somebody", "10.30.1.77"))
