"""What all services of the lab's cloud have in common: trouble on demand, roles, state over a restart. Each class cites
the reference that decides.
"""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.fakes.aws_cloud import REGION, AwsCloud, running_cloud
from tests.platform.test_strict_ebs import BLOCK, made
from tests.platform.test_strict_ec2 import refused

pytestmark = pytest.mark.platform("ssh")

# A call of each service that changes nothing; what it says when it throttles; what, of itself, when it is broken.
SERVICES: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "ec2": (lambda ec2: ec2.describe_instances(), "RequestLimitExceeded", "InternalError"),
    "ebs": (lambda ebs: ebs.start_snapshot(VolumeSize=1), "RequestThrottledException", "InternalServerException"),
    "s3": (lambda s3: s3.list_buckets(), "SlowDown", "InternalError"),
    "route53": (lambda route53: route53.list_hosted_zones(), "Throttling", "ServiceUnavailable"),
    "kms": (lambda kms: kms.list_keys(), "ThrottlingException", "KMSInternalException"),
    "sts": (lambda sts: sts.get_caller_identity(), "Throttling", "InternalFailure"),
    "iam": (lambda iam: iam.list_roles(), "Throttling", "ServiceFailure"),
}


@pytest.mark.parametrize("service", SERVICES)
class TestTrouble:
    """Each service's "Common errors": …/AWSEC2/latest/APIReference/errors-overview.html (RequestLimitExceeded, 503),
    …/ebs/latest/APIReference/CommonErrors.html, …/AmazonS3/latest/API/ErrorResponses.html (SlowDown, 503),
    …/Route53/latest/APIReference/CommonErrors.html, …/kms/latest/APIReference/CommonErrors.html,
    …/STS/latest/APIReference/CommonErrors.html, …/IAM/latest/APIReference/CommonErrors.html. What is worth another try
    the SDK tries again: https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
    """

    @pytest.mark.parametrize("kind", ["throttle", "error", "drop_before", "drop_after"])
    def test_what_passes_the_sdk_passes_over(self, cloud: AwsCloud, service: str, kind: str) -> None:
        call, _, _ = SERVICES[service]
        cloud.put_faults({"kind": kind, "service": service, "count": 2})
        call(cloud.client(service))
        assert cloud.faults()[0]["hits"] == 2
        cloud.heal()

    def test_whoever_asks_once_hears_the_services_own_words(self, cloud: AwsCloud, service: str) -> None:
        call, throttled, broken = SERVICES[service]
        impatient = cloud.session(attempts_max=1).client(service)
        for kind, code in (("throttle", throttled), ("error", broken)):
            cloud.put_faults({"kind": kind, "service": service, "count": 1, "seconds": 2})
            with pytest.raises(ClientError) as caught:
                call(impatient)
            assert caught.value.response["Error"]["Code"] == code
            told = caught.value.response["ResponseMetadata"]["HTTPHeaders"].get("retry-after")
            assert told == ("2" if kind == "throttle" else None)
            cloud.heal()
        cloud.put_faults({"kind": "drop_before", "service": service, "count": 1})
        with pytest.raises(ConnectionClosedError):
            call(impatient)
        cloud.heal()


def statement(effect: str, action: str, resource: str = "*", **condition: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"Effect": effect, "Action": action, "Resource": resource}
    return {**made, "Condition": condition} if condition else made


OURS = {"aws:ResourceTag/ours": "false"}


class TestRoles:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html: an explicit deny
    decides, then an allow; what nothing allows is denied. Conditions:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
    """

    @pytest.fixture
    def ec2_with(self, cloud: AwsCloud) -> Iterator[Callable[..., Any]]:
        """A client of a service in a role with these statements."""
        iam = cloud.client("iam")

        def client(service: str, *statements: dict[str, Any]) -> Any:
            arn = iam.create_role(RoleName="judged", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
            document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            iam.put_role_policy(RoleName="judged", PolicyName="p", PolicyDocument=document)
            session = cloud.session()
            session.settings = session.settings.model_copy(update={"role": arn})
            return session.acting("auditor", "r").client(service)

        yield client
        iam.delete_role_policy(RoleName="judged", PolicyName="p")
        iam.delete_role(RoleName="judged")

    def test_what_nothing_allows_is_denied(self, ec2_with: Callable[..., Any]) -> None:
        ec2 = ec2_with("ec2", statement("Allow", "ec2:DescribeVolumes"))
        ec2.describe_volumes()
        assert refused(ec2.describe_instances) == "UnauthorizedOperation"

    def test_an_explicit_deny_decides(self, ec2_with: Callable[..., Any]) -> None:
        ec2 = ec2_with("ec2", statement("Allow", "ec2:Describe*"), statement("Deny", "ec2:DescribeVolumes"))
        ec2.describe_instances()
        assert refused(ec2.describe_volumes) == "UnauthorizedOperation"

    def test_a_condition_on_a_tag_lets_our_things_through_alone(
        self, cloud: AwsCloud, ec2_with: Callable[..., Any]
    ) -> None:
        cloud.new_for(0)
        owner = cloud.client("ec2")
        tags = [{"ResourceType": "volume", "Tags": [{"Key": "ours", "Value": "1"}]}]
        ours = owner.create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=tags)["VolumeId"]
        theirs = owner.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]
        ec2 = ec2_with("ec2", statement("Allow", "ec2:DeleteVolume", Null=OURS))
        assert refused(ec2.delete_volume, VolumeId=theirs) == "UnauthorizedOperation"
        ec2.delete_volume(VolumeId=ours)
        assert [each["VolumeId"] for each in owner.describe_volumes(VolumeIds=[theirs])["Volumes"]] == [theirs]

    @pytest.mark.parametrize(
        ("service", "call", "code"),
        [
            ("s3", lambda s3: s3.list_objects_v2(Bucket="skerry-vault"), "AccessDenied"),
            ("ebs", lambda ebs: ebs.start_snapshot(VolumeSize=1), "AccessDeniedException"),
            ("route53", lambda route53: route53.list_hosted_zones(), "AccessDenied"),
            ("kms", lambda kms: kms.create_key(), "AccessDeniedException"),
        ],
    )
    def test_each_service_denies_in_its_own_words(
        self, ec2_with: Callable[..., Any], service: str, call: Callable[[Any], Any], code: str
    ) -> None:
        assert refused(lambda: call(ec2_with(service, statement("Allow", "ec2:*")))) == code

    def test_tags_of_an_object_are_an_action_of_their_own(self, ec2_with: Callable[..., Any]) -> None:
        """https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html, PutObject"""
        s3 = ec2_with("s3", statement("Allow", "s3:PutObject", "arn:aws:s3:::skerry-vault/*"))
        wish = {"Bucket": "skerry-vault", "Key": "a", "Body": b"x"}
        s3.put_object(**wish)
        lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": "2036-01-01T00:00:00Z"}
        assert refused(s3.put_object, Tagging="a=b", **wish) == "AccessDenied"
        assert refused(s3.put_object, **lock, **wish) == "AccessDenied"


def test_everything_outlives_the_process_of_the_cloud(tmp_path: Path) -> None:
    """A machine and its volume, what a key has sealed, a role and its refusals, names: as an account keeps them. What
    could only be asked once something was done, and before some moment, is there all the same.
    """
    with running_cloud(tmp_path) as first:
        first.new_for(0)
        ec2, kms = first.client("ec2"), first.client("kms")
        ended = first.foreign_machine("kept", "10.30.1.99")
        first.end_all_machines()
        machine = first.foreign_machine("kept", "10.30.1.99")
        volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=3)["VolumeId"]
        ec2.attach_volume(VolumeId=volume, InstanceId=machine, Device="/dev/sdf")
        parent = made(first, {0: bytes(BLOCK)})
        child = made(first, {}, parent=parent)
        disk = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": child}}]
        words = {"Architecture": "x86_64", "RootDeviceName": "/dev/xvda", "VirtualizationType": "hvm"}
        image = ec2.register_image(Name="of-the-child", BlockDeviceMappings=disk, **words)["ImageId"]
        key, other = (kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(2))
        sealed = kms.encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"]
        kms.disable_key(KeyId=other)
        first.put_record()
        where = {"LocationConstraint": REGION}
        s3 = first.client("s3")
        s3.create_bucket(Bucket="locking", CreateBucketConfiguration=where, ObjectLockEnabledForBucket=True)
        place = {"Bucket": "locking", "Key": "a"}
        place["VersionId"] = s3.put_object(Body=b"x", **place)["VersionId"]
        keys = first.session(role="auditor").acting("auditor", "r").keys_for_host()
        soon = datetime.now(UTC) + timedelta(seconds=15)
        s3.put_object_retention(Retention={"Mode": "COMPLIANCE", "RetainUntilDate": soon}, **place)
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()))
    with running_cloud(tmp_path) as second:
        ec2, kms = second.client("ec2"), second.client("kms")
        ec2.get_waiter("instance_running").wait(InstanceIds=[machine], WaiterConfig={"Delay": 1})
        assert (second.live_machines(), second.state_of(ended)) == ([machine], "terminated")
        [shown] = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
        assert (shown["Size"], shown["Attachments"][0]["InstanceId"]) == (3, machine)
        assert ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available"
        listed = second.client("ebs").list_snapshot_blocks(SnapshotId=child)["Blocks"]
        assert [each["BlockIndex"] for each in listed] == [0]
        assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"kept"
        assert refused(kms.encrypt, KeyId=other, Plaintext=b"x") == "DisabledException"
        assert second.answered_address("filing.skerry.test") == "10.9.9.9"
        assert second.client("s3").get_object_retention(**place)["Retention"]["Mode"] == "COMPLIANCE"
        wish = {"MinCount": 1, "MaxCount": 1}
        assert refused(second.session(role="auditor").client("ec2").run_instances, **wish) == "UnauthorizedOperation"
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        issued: dict[str, str] = dict(zip(names, keys.values(), strict=True))
        sts: Any = boto3.client("sts", endpoint_url=second.url, region_name=REGION, **issued)  # type: ignore[call-overload]
        assert sts.get_caller_identity()["Arn"].endswith(":assumed-role/auditor/skerry-r")
