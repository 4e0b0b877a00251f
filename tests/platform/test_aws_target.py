"""targets/aws against the strict cloud: the laws, and trouble on the way."""

import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import (
    TargetError,
    TargetForbidden,
    TargetThrottled,
    TargetUnreachable,
)
from orchestrator.model.inventory import CloudSettings
from orchestrator.model.system import Route53Front
from orchestrator.targets.aws.machines import AwsMachines, host_keys_in
from orchestrator.targets.aws.session import AwsSession
from orchestrator.targets.aws.traffic import Route53Traffic
from tests.fakes.aws_cloud import AwsCloud, running_cloud
from tests.laws.front_laws import FRONT, NamedFrontLaws
from tests.laws.target_laws import HOST, SPEC, TAGS, MachineMakerLaws

pytestmark = pytest.mark.platform("ssh")


@pytest.fixture
def target(cloud: AwsCloud) -> Iterator[AwsMachines]:
    yield AwsMachines(cloud.session())
    cloud.heal()
    cloud.end_all_machines()


@pytest.fixture
def front(cloud: AwsCloud) -> Iterator[Route53Traffic]:
    cloud.forget_records()
    yield Route53Traffic(cloud.session())
    cloud.heal()


class TestAwsMachines(MachineMakerLaws):
    @pytest.fixture
    def foreign(self, cloud: AwsCloud) -> Callable[[str, str], str]:
        return cloud.foreign_machine

    @pytest.fixture
    def state_of(self, cloud: AwsCloud) -> Callable[[str], str]:
        return cloud.state_of


class TestSimpleRecords(NamedFrontLaws):
    @pytest.fixture
    def authority(self, cloud: AwsCloud) -> Callable[[Route53Front], str | None]:
        return lambda wish: cloud.answered_address(wish.name)


class TestTroubleWithMachines:
    def test_half_of_all_calls_throttled_still_makes_one_machine(self, target: AwsMachines, cloud: AwsCloud) -> None:
        cloud.put_faults({"kind": "throttle", "service": "ec2", "probability": 0.5, "seed": 7})
        machine = target.ensure(HOST, SPEC, key=secrets.token_hex(8), tags=TAGS)
        cloud.heal()
        assert cloud.live_machines() == [machine.id]

    def test_an_answer_that_was_lost_makes_no_second_machine(self, target: AwsMachines, cloud: AwsCloud) -> None:
        cloud.put_faults({"kind": "drop_after", "service": "ec2", "action": "RunInstances", "count": 2})
        machine = target.ensure(HOST, SPEC, key=secrets.token_hex(8), tags=TAGS)
        assert cloud.live_machines() == [machine.id]

    def test_throttling_without_end_is_said_to_be_worth_another_try(self, target: AwsMachines, cloud: AwsCloud) -> None:
        impatient = AwsMachines(cloud.session(attempts_max=2))
        cloud.put_faults({"kind": "throttle", "service": "ec2"})
        with pytest.raises(TargetThrottled, match="RequestLimitExceeded") as caught:
            impatient.find(HOST)
        assert caught.value.retryable

    def test_a_cloud_in_trouble_is_unreachable_and_worth_another_try(self, cloud: AwsCloud) -> None:
        impatient = AwsMachines(cloud.session(attempts_max=2))
        for kind in ("error", "drop_before"):
            cloud.put_faults({"kind": kind, "service": "ec2"})
            with pytest.raises(TargetUnreachable) as caught:
                impatient.find(HOST)
            assert caught.value.retryable
            cloud.heal()

    def test_no_capacity_says_what_to_do(self, cloud: AwsCloud) -> None:
        impatient = AwsMachines(cloud.session(attempts_max=2))
        code = "InsufficientInstanceCapacity"
        cloud.put_faults({"kind": "refuse", "action": "RunInstances", "code": code, "status": 500})
        with pytest.raises(TargetError, match=code) as caught:
            impatient.ensure(HOST, SPEC, key=secrets.token_hex(8), tags=TAGS)
        cloud.heal()
        assert "instance type" in caught.value.hint
        assert cloud.live_machines() == []

    def test_a_quota_is_a_refusal_with_a_hint(self, target: AwsMachines, cloud: AwsCloud) -> None:
        large = SPEC.model_copy(update={"instance_type": "m5.24xlarge"})
        with pytest.raises(TargetForbidden, match="VcpuLimitExceeded") as caught:
            target.ensure(HOST, large, key=secrets.token_hex(8), tags=TAGS)
        assert "quota" in caught.value.hint

    def test_no_permission_names_the_action_that_lacks(self, target: AwsMachines, cloud: AwsCloud) -> None:
        cloud.put_faults({"kind": "refuse", "action": "RunInstances", "code": "UnauthorizedOperation", "status": 403})
        with pytest.raises(TargetForbidden, match="UnauthorizedOperation") as caught:
            target.ensure(HOST, SPEC, key=secrets.token_hex(8), tags=TAGS)
        assert "policies" in caught.value.hint

    def test_a_region_that_residency_does_not_name_is_refused_before_any_call(self, cloud: AwsCloud) -> None:
        cloud.forget_calls()
        elsewhere = AwsMachines(cloud.session(region="us-west-2", allowed_regions=frozenset({"eu-central-1"})))
        with pytest.raises(TargetForbidden, match="us-west-2"):
            elsewhere.find(HOST)
        assert cloud.calls() == []

    def test_an_unknown_access_key_is_refused_as_such(self, cloud: AwsCloud, tmp_path: Path) -> None:
        wrong = tmp_path / "credentials"
        wrong.write_text("[default]\naws_access_key_id = AKIANOBODY\naws_secret_access_key = x\n")
        with pytest.raises(TargetForbidden, match="AuthFailure"):
            AwsMachines(cloud.session(credentials=wrong)).find(HOST)

    def test_a_dead_endpoint_is_unreachable(self, tmp_path: Path, cloud: AwsCloud) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        settings = CloudSettings(
            region=cloud.region, endpoint=f"http://127.0.0.1:{port}", credentials_file=str(cloud.folder / "credentials")
        )
        session = AwsSession(settings, allowed_regions=frozenset({cloud.region}), clock=SystemClock(), attempts_max=1)
        with pytest.raises(TargetUnreachable):
            AwsMachines(session).find(HOST)

    def test_the_state_of_the_cloud_outlives_its_process(self, tmp_path: Path) -> None:
        with running_cloud(tmp_path) as first:
            machine = AwsMachines(first.session()).ensure(HOST, SPEC, key="k", tags=TAGS)
            Route53Traffic(first.session()).switch(FRONT, HOST.address, key="k")
        with running_cloud(tmp_path) as second:
            again = AwsMachines(second.session()).ensure(HOST, SPEC, key="k", tags=TAGS)
            assert again.id == machine.id
            assert second.live_machines() == [machine.id]
            assert second.answered_address(FRONT.name) == HOST.address


class TestTroubleWithTheFront:
    def test_a_switch_waits_until_it_is_in_force(self, front: Route53Traffic, cloud: AwsCloud) -> None:
        cloud.forget_calls()
        front.switch(FRONT, "10.30.1.11", key="k")
        asked = [call["action"] for call in cloud.calls()]
        assert asked.count("ChangeResourceRecordSets") == 1
        assert asked.count("GetChange") > 1

    def test_a_weighted_record_is_not_replaced(self, front: Route53Traffic, cloud: AwsCloud) -> None:
        cloud.put_record(SetIdentifier="a", Weight=1)
        with pytest.raises(TargetError, match="not simple"):
            front.switch(FRONT, "10.30.1.11", key="k")
        assert cloud.answered_address(FRONT.name) == "10.9.9.9"

    def test_a_lost_answer_to_the_change_is_no_harm(self, front: Route53Traffic, cloud: AwsCloud) -> None:
        cloud.put_faults({"kind": "drop_after", "service": "route53", "action": "ChangeResourceRecordSets", "count": 1})
        front.switch(FRONT, "10.30.1.11", key="k")
        assert cloud.answered_address(FRONT.name) == "10.30.1.11"


@pytest.mark.parametrize(
    ("console", "keys"),
    [
        ("", ()),
        ("booting", ()),
        (
            "-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAA root@a\n-----END SSH HOST KEY KEYS-----",
            ("ssh-ed25519 AAAA",),
        ),
        (
            (
                "ci-info: x\n[   12.3] cloud-init[812]: -----BEGIN SSH HOST KEY KEYS-----\r\n"
                "[   12.4] cloud-init[812]: ecdsa-sha2-nistp256 BBBB= root@a\r\nssh-rsa CCCC root@a\r\n"
                "-----END SSH HOST KEY KEYS-----\r\n"
            ),
            ("ecdsa-sha2-nistp256 BBBB=", "ssh-rsa CCCC"),
        ),
        ("-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAA", ()),
    ],
)
def test_host_keys_are_read_from_what_cloud_init_prints(console: str, keys: tuple[str, ...]) -> None:
    assert host_keys_in(console) == keys
