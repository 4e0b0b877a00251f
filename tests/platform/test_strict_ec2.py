"""The lab's EC2 and Route 53 refuse what AWS refuses. Each class cites the reference that decides."""

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from orchestrator.lab.cloud import landing_zone
from tests.fakes.aws_cloud import REGION, AwsCloud

pytestmark = pytest.mark.platform("ssh")
INVALID = "InvalidParameterValue"


@pytest.fixture(scope="module", autouse=True)
def nothing_is_new(cloud: AwsCloud) -> None:
    cloud.new_for(0)


@pytest.fixture(scope="module")
def ec2(cloud: AwsCloud) -> Any:
    return cloud.client("ec2")


@pytest.fixture
def wish(ec2: Any, cloud: AwsCloud) -> Iterator[dict[str, Any]]:
    """A RunInstances that is granted."""
    mine = [{"Name": "tag:Name", "Values": [landing_zone.NAME]}]
    yield {
        "ImageId": ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"],
        "InstanceType": "t3.small",
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": ec2.describe_subnets(Filters=mine)["Subnets"][0]["SubnetId"],
        "SecurityGroupIds": [ec2.describe_security_groups(Filters=mine)["SecurityGroups"][0]["GroupId"]],
        "PrivateIpAddress": "10.30.1.70",
    }
    cloud.end_all_machines()


def refused(call: Callable[..., Any], **wish: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**wish)
    return str(caught.value.response["Error"]["Code"])


class TestRunInstances:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html, …/errors-overview.html"""

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
            ({"ImageId": "ami-x"}, "InvalidAMIID.Malformed"),
            ({"InstanceType": "t3.enormous"}, "InvalidParameterValue"),
            ({"InstanceType": "t4g.small"}, "InvalidParameterValue"),  # arm64, the image is x86_64
            ({"PrivateIpAddress": "10.31.1.70"}, "InvalidParameterValue"),
            ({"PrivateIpAddress": "10.30.1.3"}, "InvalidParameterValue"),  # AWS keeps the first four
            ({"PrivateIpAddress": "10.30.1.255"}, "InvalidParameterValue"),
            ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
            ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
            ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
            ({"MaxCount": 2}, "InvalidParameterCombination"),
            ({"InstanceType": "m5.24xlarge"}, "VcpuLimitExceeded"),
            ({"UserData": "x" * (16 * 1024 + 1)}, "InvalidParameterValue"),
            ({"TagSpecifications": [{"ResourceType": "image", "Tags": [{"Key": "a", "Value": "b"}]}]}, INVALID),
        ],
    )
    def test_what_is_refused_starts_nothing(
        self, ec2: Any, cloud: AwsCloud, wish: dict[str, Any], change: dict[str, Any], code: str
    ) -> None:
        assert refused(ec2.run_instances, **{**wish, **change}) == code
        assert cloud.live_machines() == []

    def test_an_address_in_use_is_refused(self, ec2: Any, wish: dict[str, Any]) -> None:
        ec2.run_instances(**wish)
        assert refused(ec2.run_instances, **wish) == "InvalidIPAddress.InUse"

    def test_a_group_of_another_network_is_refused(self, ec2: Any, wish: dict[str, Any]) -> None:
        vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
        group = ec2.create_security_group(GroupName="elsewhere", Description="d", VpcId=vpc)["GroupId"]
        assert refused(ec2.run_instances, **{**wish, "SecurityGroupIds": [group]}) == "InvalidParameter"

    def test_a_client_token_starts_one_instance_for_one_wish(self, ec2: Any, wish: dict[str, Any]) -> None:
        """ "Ensuring idempotency in Amazon EC2 API requests" """
        first = ec2.run_instances(ClientToken="one", **wish)["Instances"][0]["InstanceId"]
        assert ec2.run_instances(ClientToken="one", **wish)["Instances"][0]["InstanceId"] == first
        other = {**wish, "InstanceType": "t3.micro"}
        assert refused(ec2.run_instances, ClientToken="one", **other) == "IdempotentParameterMismatch"

    def test_an_instance_is_pending_before_it_runs(self, ec2: Any, wish: dict[str, Any]) -> None:
        """ "Amazon EC2 instance state changes" """
        instance = ec2.run_instances(**wish)["Instances"][0]
        assert instance["State"] == {"Code": 0, "Name": "pending"}
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance["InstanceId"]], WaiterConfig={"Delay": 1})
        console = ec2.get_console_output(InstanceId=instance["InstanceId"])["Output"]
        assert "-----BEGIN SSH HOST KEY KEYS-----" in console

    def test_the_console_of_now_is_told_by_nitro_types_alone(self, ec2: Any, wish: dict[str, Any]) -> None:
        """API reference, GetConsoleOutput: "supported on instance types that use the Nitro hypervisor" """
        instance = ec2.run_instances(**{**wish, "InstanceType": "t2.small"})["Instances"][0]["InstanceId"]
        assert refused(ec2.get_console_output, InstanceId=instance, Latest=True) == "UnsupportedOperation"

    def test_a_screenshot_is_of_a_running_instance(self, ec2: Any, wish: dict[str, Any]) -> None:
        """API reference, GetConsoleScreenshot: "a JPG-format screenshot of a running instance" """
        instance = ec2.run_instances(**wish)["Instances"][0]["InstanceId"]
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
        content = base64.b64decode(ec2.get_console_screenshot(InstanceId=instance)["ImageData"])
        assert content.startswith(b"\xff\xd8\xff")
        ec2.stop_instances(InstanceIds=[instance])
        ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
        assert refused(ec2.get_console_screenshot, InstanceId=instance) == "IncorrectInstanceState"

    def test_a_terminated_instance_does_not_start_again(self, ec2: Any, wish: dict[str, Any]) -> None:
        instance = ec2.run_instances(**wish)["Instances"][0]["InstanceId"]
        ec2.terminate_instances(InstanceIds=[instance])
        assert refused(ec2.start_instances, InstanceIds=[instance]) == "IncorrectInstanceState"

    @pytest.mark.parametrize(("code", "status"), [("InsufficientInstanceCapacity", 500), ("RequestLimitExceeded", 503)])
    def test_capacity_and_the_rate_of_calls_are_refused_on_demand(
        self, cloud: AwsCloud, wish: dict[str, Any], code: str, status: int
    ) -> None:
        """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""
        cloud.put_faults({"kind": "refuse", "action": "RunInstances", "code": code, "status": status, "count": 1})
        impatient = cloud.session(attempts_max=1).client("ec2")
        assert refused(impatient.run_instances, **wish) == code
        cloud.heal()


class TestNewThings:
    """https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html, and for the states
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Volume.html, …/API_Image.html,
    …/API_VolumeAttachment.html
    """

    @pytest.fixture
    def late(self, cloud: AwsCloud) -> Iterator[AwsCloud]:
        cloud.new_for(3600)
        yield cloud
        cloud.new_for(0)

    def image_of(self, cloud: AwsCloud, name: str) -> tuple[str, str]:
        """A snapshot and an image of it, which EC2 knows by now."""
        cloud.new_for(0)
        ebs = cloud.client("ebs")
        snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
        ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=0)
        cloud.client("ec2").get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 1})
        disk = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}]
        more = {"Architecture": "x86_64", "RootDeviceName": "/dev/xvda", "VirtualizationType": "hvm"}
        made = cloud.client("ec2").register_image(Name=name, BlockDeviceMappings=disk, **more)
        return snapshot, made["ImageId"]

    def test_a_new_volume_is_unknown_then_creating_then_there(self, ec2: Any, late: AwsCloud) -> None:
        volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]
        of_size = [{"Name": "size", "Values": ["1"]}]
        assert refused(ec2.describe_volumes, VolumeIds=[volume]) == "InvalidVolume.NotFound"
        assert refused(ec2.create_tags, Resources=[volume], Tags=[{"Key": "k", "Value": "v"}]) == (
            "InvalidVolume.NotFound"
        )
        assert volume not in [each["VolumeId"] for each in ec2.describe_volumes(Filters=of_size)["Volumes"]]
        late.new_for(0)
        [shown] = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
        assert shown["State"] == "available"

    def test_a_new_snapshot_is_unknown(self, ec2: Any, late: AwsCloud) -> None:
        snapshot = late.client("ebs").start_snapshot(VolumeSize=1)["SnapshotId"]
        assert refused(ec2.describe_snapshots, SnapshotIds=[snapshot]) == "InvalidSnapshot.NotFound"
        assert snapshot not in [each["SnapshotId"] for each in ec2.describe_snapshots()["Snapshots"]]
        late.new_for(0)
        assert ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"] == "pending"

    def test_a_new_image_is_unknown_and_nothing_starts_from_it(
        self, ec2: Any, late: AwsCloud, wish: dict[str, Any]
    ) -> None:
        _, image = self.image_of(late, "late-image")
        late.new_for(3600)
        assert refused(ec2.describe_images, ImageIds=[image]) == "InvalidAMIID.NotFound"
        assert refused(ec2.run_instances, **{**wish, "ImageId": image}) == "InvalidAMIID.NotFound"
        by_name = [{"Name": "name", "Values": ["late-image"]}]
        assert ec2.describe_images(Filters=by_name)["Images"] == []
        late.new_for(0)
        assert ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available"

    def test_a_new_instance_is_in_no_list(self, ec2: Any, late: AwsCloud, wish: dict[str, Any]) -> None:
        instance = ec2.run_instances(**wish)["Instances"][0]["InstanceId"]
        assert refused(ec2.describe_instances, InstanceIds=[instance]) == "InvalidInstanceID.NotFound"
        assert refused(ec2.terminate_instances, InstanceIds=[instance]) == "InvalidInstanceID.NotFound"
        assert late.live_machines() == []
        late.new_for(0)
        assert late.live_machines() == [instance]

    def test_an_attachment_is_under_way_first(self, ec2: Any, cloud: AwsCloud, wish: dict[str, Any]) -> None:
        instance = ec2.run_instances(**wish)["Instances"][0]["InstanceId"]
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
        volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]
        told = ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
        assert told["State"] == "attaching"
        [shown] = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
        assert [each["State"] for each in shown["Attachments"]] == ["attached"]


class TestKms:
    """https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html"""

    @pytest.fixture
    def kms(self, cloud: AwsCloud) -> Any:
        return cloud.client("kms")

    def test_a_disabled_key_is_of_no_use_until_it_is_enabled(self, kms: Any) -> None:
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        sealed = kms.encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"]
        kms.disable_key(KeyId=key)
        assert refused(kms.encrypt, KeyId=key, Plaintext=b"x") == "DisabledException"
        assert refused(kms.decrypt, CiphertextBlob=sealed) == "DisabledException"
        kms.enable_key(KeyId=key)
        assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"kept"

    def test_a_key_that_waits_for_its_deletion_is_of_no_use(self, kms: Any) -> None:
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        wish = {"KeyId": key}
        assert refused(kms.encrypt, Plaintext=b"x", **wish) == "KMSInvalidStateException"
        assert refused(kms.generate_data_key, KeySpec="AES_256", **wish) == "KMSInvalidStateException"
        assert refused(kms.enable_key, **wish) == "KMSInvalidStateException"
        kms.cancel_key_deletion(**wish)
        kms.enable_key(**wish)
        assert kms.encrypt(Plaintext=b"x", **wish)["CiphertextBlob"]


class TestVolumes:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html, …/API_AttachVolume.html,
    …/API_DeleteVolume.html
    """

    ZONE = f"{REGION}a"

    def test_a_volume_needs_a_completed_snapshot(self, ec2: Any, cloud: AwsCloud) -> None:
        snapshot = cloud.client("ebs").start_snapshot(VolumeSize=2)["SnapshotId"]
        asked = {"AvailabilityZone": self.ZONE, "SnapshotId": snapshot}
        assert refused(ec2.create_volume, **asked) == "IncorrectState"
        cloud.client("ebs").complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=0)
        ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 1})
        assert refused(ec2.create_volume, Size=1, **asked) == "InvalidParameterValue"
        assert ec2.create_volume(**asked)["Size"] == 2

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"AvailabilityZone": "mars-1a"}, "InvalidZone.NotFound"),
            ({"VolumeType": "st1", "Size": 10}, "InvalidParameterValue"),
            ({"VolumeType": "fast"}, "UnknownVolumeType"),
            ({"VolumeType": "gp3", "Size": 65_536}, "VolumeLimitExceeded"),
            ({"SnapshotId": "snap-0123456789abcdef0"}, "InvalidSnapshot.NotFound"),
        ],
    )
    def test_what_is_refused(self, ec2: Any, change: dict[str, Any], code: str) -> None:
        assert refused(ec2.create_volume, **{"AvailabilityZone": self.ZONE, "Size": 1, **change}) == code

    def test_a_volume_attaches_within_its_zone_once(self, ec2: Any, wish: dict[str, Any]) -> None:
        instance = ec2.run_instances(**wish)["Instances"][0]["InstanceId"]
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
        far = ec2.create_volume(AvailabilityZone=f"{REGION}b", Size=1)["VolumeId"]
        near = ec2.create_volume(AvailabilityZone=self.ZONE, Size=1)["VolumeId"]
        where = {"InstanceId": instance, "Device": "/dev/sdf"}
        assert refused(ec2.attach_volume, VolumeId=far, **where) == "InvalidVolume.ZoneMismatch"
        ec2.attach_volume(VolumeId=near, **where)
        assert refused(ec2.attach_volume, VolumeId=near, **where) == "VolumeInUse"
        assert refused(ec2.delete_volume, VolumeId=near) == "VolumeInUse"
        ec2.detach_volume(VolumeId=near, InstanceId=instance)
        assert refused(ec2.detach_volume, VolumeId=near, InstanceId=instance) == "IncorrectState"
        ec2.delete_volume(VolumeId=near)
        assert refused(ec2.attach_volume, VolumeId=near, **where) == "InvalidVolume.NotFound"


@pytest.fixture(scope="module")
def completed(ec2: Any, cloud: AwsCloud) -> str:
    """A snapshot of 2 GiB."""
    ebs = cloud.client("ebs")
    made = str(ebs.start_snapshot(VolumeSize=2)["SnapshotId"])
    ebs.complete_snapshot(SnapshotId=made, ChangedBlocksCount=0)
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[made], WaiterConfig={"Delay": 1})
    return made


class TestImages:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RegisterImage.html, …/API_DeleteSnapshot.html, and
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-boot.html
    """

    @staticmethod
    def wish(snapshot: str, name: str, size: int = 2) -> dict[str, Any]:
        disk = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "VolumeSize": size}}
        more = {"Architecture": "x86_64", "RootDeviceName": "/dev/xvda", "VirtualizationType": "hvm"}
        return {"Name": name, "BlockDeviceMappings": [disk], **more}

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"Name": "a?c"}, "InvalidAMIName.Malformed"),
            ({"Architecture": "sparc"}, "InvalidParameterValue"),
            ({"BootMode": "floppy"}, "InvalidParameterValue"),
            ({"BootMode": "legacy-bios", "Architecture": "arm64"}, "InvalidParameterCombination"),
            ({"RootDeviceName": "/dev/sdz"}, "InvalidBlockDeviceMapping"),
        ],
    )
    def test_what_is_refused(self, ec2: Any, completed: str, change: dict[str, Any], code: str) -> None:
        assert refused(ec2.register_image, **{**self.wish(completed, "refused"), **change}) == code
        assert ec2.describe_images(Filters=[{"Name": "name", "Values": ["refused"]}])["Images"] == []

    def test_a_name_is_one_images_and_its_snapshot_stays(self, ec2: Any, completed: str) -> None:
        assert refused(ec2.register_image, **self.wish(completed, "small", size=1)) == "InvalidParameterValue"
        image = ec2.register_image(BootMode="uefi", EnaSupport=True, **self.wish(completed, "once"))["ImageId"]
        assert refused(ec2.register_image, **self.wish(completed, "once")) == "InvalidAMIName.Duplicate"
        assert refused(ec2.delete_snapshot, SnapshotId=completed) == "InvalidSnapshot.InUse"
        [shown] = ec2.describe_images(ImageIds=[image])["Images"]
        assert (shown["BootMode"], shown["Architecture"], shown["EnaSupport"]) == ("uefi", "x86_64", True)
        ec2.deregister_image(ImageId=image)
        ec2.delete_snapshot(SnapshotId=completed)


class TestRoute53:
    """https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html, …/API_GetChange.html:
    a batch is done whole or not at all; PENDING, then INSYNC.
    """

    @pytest.fixture
    def zone(self, cloud: AwsCloud) -> str:
        cloud.forget_records()
        zones = cloud.client("route53").list_hosted_zones()["HostedZones"]
        return str(next(zone["Id"] for zone in zones if zone["Name"] == "skerry.test."))

    @staticmethod
    def change(cloud: AwsCloud, zone: str, *changes: tuple[str, dict[str, Any]]) -> Any:
        rows = [
            {
                "Action": action,
                "ResourceRecordSet": {
                    "Name": "a.skerry.test",
                    "Type": "A",
                    "TTL": 1,
                    "ResourceRecords": [{"Value": "10.0.0.1"}],
                    **fields,
                },
            }
            for action, fields in changes
        ]
        batch = {"HostedZoneId": zone, "ChangeBatch": {"Changes": rows}}
        return cloud.client("route53").change_resource_record_sets(**batch)["ChangeInfo"]

    def test_a_change_is_pending_and_not_in_force_until_it_is_insync(self, cloud: AwsCloud, zone: str) -> None:
        told = self.change(cloud, zone, ("CREATE", {}))
        assert told["Status"] == "PENDING"
        until = time.monotonic() + 20
        while True:
            answered = cloud.answered_address("a.skerry.test")
            if cloud.client("route53").get_change(Id=told["Id"])["ChangeInfo"]["Status"] == "INSYNC":
                break
            assert answered is None  # for it was pending after that was asked
            assert time.monotonic() < until
        assert cloud.answered_address("a.skerry.test") == "10.0.0.1"

    @pytest.mark.parametrize(
        "changes",
        [
            (("CREATE", {}), ("CREATE", {})),
            (("CREATE", {}), ("CREATE", {"Name": "a.elsewhere.test"})),
            (("CREATE", {}), ("DELETE", {"Name": "b.skerry.test"})),
            (("CREATE", {}), ("UPSERT", {"SetIdentifier": "x", "Weight": 1})),
            (("UPSERT", {"ResourceRecords": [{"Value": "10.0.0.256"}]}),),
        ],
    )
    def test_a_batch_with_one_fault_changes_nothing(
        self, cloud: AwsCloud, zone: str, changes: tuple[tuple[str, dict[str, Any]], ...]
    ) -> None:
        with pytest.raises(ClientError, match="InvalidChangeBatch"):
            self.change(cloud, zone, *changes)
        records = cloud.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        assert [record["Name"] for record in records if record["Type"] == "A"] == []

    def test_failover_records_are_a_pair_whose_primary_has_a_health_check(self, cloud: AwsCloud, zone: str) -> None:
        """https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-values-failover.html"""
        primary = {"SetIdentifier": "a", "Failover": "PRIMARY", "HealthCheckId": cloud.disabled_health_check()}
        bare = {key: value for key, value in primary.items() if key != "HealthCheckId"}
        weighted = {"SetIdentifier": "c", "Weight": 1}
        with pytest.raises(ClientError, match="must have an associated health check"):
            self.change(cloud, zone, ("CREATE", bare))
        with pytest.raises(ClientError, match="NoSuchHealthCheck"):
            self.change(cloud, zone, ("CREATE", {**primary, "HealthCheckId": "nobody"}))
        self.change(cloud, zone, ("CREATE", primary), ("CREATE", {"SetIdentifier": "b", "Failover": "SECONDARY"}))
        for other in ({**primary, "SetIdentifier": "d"}, weighted, {}):
            with pytest.raises(ClientError, match="InvalidChangeBatch"):
                self.change(cloud, zone, ("CREATE", other))

    def test_an_unknown_change_is_not_found(self, cloud: AwsCloud) -> None:
        assert refused(cloud.client("route53").get_change, Id="CNOBODY") == "NoSuchChange"
