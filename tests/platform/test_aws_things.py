"""What is ours in the cloud is listed in the auditor's role, and nothing else; roles cannot do what is not theirs."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import TargetForbidden
from orchestrator.model import action as actions
from orchestrator.model.host import Host
from orchestrator.model.inventory import CloudSettings, Inventory, ResidencyRule
from orchestrator.model.site import Side
from orchestrator.targets.aws.machines import AwsMachines
from orchestrator.targets.aws.session import AwsSession
from orchestrator.targets.aws.things import AwsThings
from orchestrator.targets.aws.traffic import Route53Traffic
from orchestrator.wiring.roles import RoleHandlers
from tests.fakes.aws_cloud import AwsCloud
from tests.fakes.drivers import FakeWorld, a_deed
from tests.fakes.plans import DIGEST
from tests.laws.front_laws import FRONT
from tests.laws.target_laws import HOST, OTHER, SPEC, TAGS

pytestmark = pytest.mark.platform("ssh")


def test_everything_with_our_tag_is_listed_and_nothing_else(cloud: AwsCloud) -> None:
    cloud.new_for(0)
    machine = AwsMachines(cloud.session(role="drill")).ensure(HOST, SPEC, key="k", tags=TAGS)
    foreign = cloud.foreign_machine("cloud-a", OTHER.address)
    ours = {"ResourceType": "snapshot", "Tags": [{"Key": "skerry:run", "Value": "r"}]}
    ec2 = cloud.client("ec2")
    volume = ec2.create_volume(Size=2, AvailabilityZone=f"{cloud.region}a")["VolumeId"]
    left = ec2.create_snapshot(VolumeId=volume, TagSpecifications=[ours])["SnapshotId"]
    found = {each.id: each for each in AwsThings(cloud.session(role="auditor")).all()}
    assert found[machine.id].kind == "machine"
    assert found[machine.id].tags["skerry:system"] == "filing"
    assert found[left].gib == 2
    assert foreign not in found
    assert volume not in found
    volumes = [each for each in found.values() if each.kind == "volume"]
    assert [each.part_of for each in volumes] == [machine.id]


def test_all_that_a_start_makes_carries_our_tags_and_goes_with_the_machine(cloud: AwsCloud) -> None:
    cloud.new_for(0)
    cloud.end_all_machines()
    machines = AwsMachines(cloud.session(role="cutover"))
    machine = machines.ensure(HOST, SPEC, key="tagged", tags=TAGS)
    ec2 = cloud.client("ec2")
    of_machine = [{"Name": "attachment.instance-id", "Values": [machine.id]}]
    [volume] = ec2.describe_volumes(Filters=of_machine)["Volumes"]
    [interface] = ec2.describe_network_interfaces(Filters=of_machine)["NetworkInterfaces"]
    told = [{each["Key"]: each["Value"] for each in listed} for listed in (volume["Tags"], interface["TagSet"])]
    assert told == [machine.tags, machine.tags]
    assert machine.tags.items() >= TAGS.items()
    machines.terminate(machine.id)
    ours = [{"Name": "tag-key", "Values": ["skerry:run"]}]
    assert ec2.describe_network_interfaces(Filters=ours)["NetworkInterfaces"] == []
    assert volume["VolumeId"] not in [each["VolumeId"] for each in ec2.describe_volumes(Filters=ours)["Volumes"]]


def test_what_can_carry_no_tag_is_ours_by_its_place(cloud: AwsCloud) -> None:
    s3 = cloud.client("s3")
    for bucket in ("skerry-stored", "skerry-others"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": cloud.region})
        upload = s3.create_multipart_upload(Bucket=bucket, Key="a/large")["UploadId"]
        s3.upload_part(Bucket=bucket, Key="a/large", UploadId=upload, PartNumber=1, Body=b"x" * (1 << 20))
    weighted = FRONT.model_copy(update={"routing": "weighted"})
    Route53Traffic(cloud.session()).switch(weighted, "10.30.1.11", key="k")
    cloud.put_record(Name="theirs.skerry.test.", SetIdentifier="theirs", Weight=1)
    asked = AwsThings(cloud.session(role="auditor"), buckets=["skerry-stored", "skerry-gone"], zones={"skerry.test"})
    found = {each.kind: each for each in asked.all() if each.kind in ("upload", "record")}
    assert found["upload"].id.startswith("s3://skerry-stored/a/large ")
    assert found["upload"].gib == 1 / 1024
    assert found["record"].id == f"{FRONT.name} skerry-10.30.1.11"
    assert len([each for each in asked.all() if each.kind in ("upload", "record")]) == 2
    cloud.forget_records()


DENIED: list[tuple[str, Callable[[AwsSession], Any]]] = [
    (
        "auditor",
        lambda session: AwsMachines(session).ensure(
            Host(**{**HOST.model_dump(), "name": "x"}), SPEC, key="d", tags=TAGS
        ),
    ),
    ("replicator", lambda session: Route53Traffic(session).current(FRONT)),
    ("drill", lambda session: Route53Traffic(session).switch(FRONT, "10.30.1.9", key="k")),
]


@pytest.mark.parametrize(("role", "deed"), DENIED, ids=[role for role, _ in DENIED])
def test_a_role_is_refused_what_is_not_its_own(cloud: AwsCloud, role: str, deed: Callable[[AwsSession], Any]) -> None:
    with pytest.raises(TargetForbidden, match=f"role {role} is not authorized to perform"):
        deed(cloud.session(role=role))


def test_even_in_the_right_role_a_foreign_machine_is_out_of_reach(cloud: AwsCloud) -> None:
    """Not by our care alone: the policy's condition on the tag refuses it too (IAM guide, aws:ResourceTag)."""
    foreign = cloud.foreign_machine("cloud-c", "10.30.1.77")
    ec2 = cloud.session(role="cutover").client("ec2")
    with pytest.raises(ec2.exceptions.ClientError, match="UnauthorizedOperation"):
        ec2.terminate_instances(InstanceIds=[foreign])
    assert cloud.state_of(foreign) == "running"


def test_the_cutovers_role_moves_names_and_machines(cloud: AwsCloud) -> None:
    session = cloud.session(role="cutover")
    Route53Traffic(session).switch(FRONT, "10.30.1.11", key="k")
    assert cloud.answered_address(FRONT.name) == "10.30.1.11"
    machines = AwsMachines(session)
    machine = machines.ensure(HOST, SPEC, key="k", tags=TAGS)
    machines.stop(machine.id)
    machines.terminate(machine.id)
    assert machines.find(HOST) is None


def test_keys_whose_hour_is_over_are_said_to_be(cloud: AwsCloud) -> None:
    session = cloud.session(role="auditor")
    AwsThings(session).all()
    cloud.end_keys()
    with pytest.raises(TargetForbidden, match="expired") as caught:
        AwsThings(session).all()
    assert "Sign in again" in caught.value.hint
    AwsThings(cloud.session(role="auditor")).all()  # a new session assumes the role anew


def test_each_run_acts_in_the_role_of_its_verb_under_its_own_name(cloud: AwsCloud) -> None:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html: RoleSessionName is in the records."""
    parts = ("cutover", "drill")
    settings = cloud.session().settings.model_copy(update={"roles": {part: cloud.role_arn(part) for part in parts}})
    allowed = (ResidencyRule(data_class="internal", regions=(cloud.region,)),)
    inventory = Inventory(sites={}, hosts={}, systems={}, residency=allowed, cloud=settings, digest=DIGEST)
    world = FakeWorld()
    handlers = RoleHandlers(replace(world.drivers, clock=SystemClock()), inventory, world.transports)
    cloud.forget_calls()
    for run, action in (
        ("wave 7/filing", actions.SwitchFront(side=Side.CLOUD)),
        ("wave-8", actions.SwitchFront(side=Side.SOURCE)),
        ("wave-8", actions.EndTestMachine()),
    ):
        deed = a_deed(action, step=action.verb).model_copy(update={"run": run})
        assert handlers(action.verb).act(deed, lambda _: None, world.emit).passed
        assert handlers(action.verb).probe(deed)
    issued = json.loads((cloud.folder / "issued_keys.json").read_text())
    told = [issued[call["access_key"]] for call in cloud.calls() if call["access_key"] in issued]
    assert list(dict.fromkeys((each["role"], each["session"]) for each in told)) == [
        ("cutover", "skerry-wave-7-filing"),
        ("cutover", "skerry-wave-8"),
        ("drill", "skerry-wave-8"),
    ]
    assumed = [call for call in cloud.calls() if call["action"] == "AssumeRole"]
    assert len(assumed) == 3


def test_a_session_says_whose_it_is(cloud: AwsCloud) -> None:
    session = cloud.session(role="auditor").acting("auditor", "drill-3")
    arn = session.client("sts").get_caller_identity()["Arn"]
    assert arn == "arn:aws:sts::123456789012:assumed-role/auditor/skerry-drill-3"


def test_an_account_that_is_not_allowed_is_refused_before_any_call(cloud: AwsCloud) -> None:
    cloud.forget_calls()
    settings = CloudSettings(
        region=cloud.region,
        endpoint=cloud.url,
        role="arn:aws:iam::999999999999:role/replicator",
        accounts=("123456789012",),
    )
    known = cloud.session()
    for role, said in ((settings.role, "999999999999"), (None, "no cloud.role names one")):
        session = AwsSession(
            settings.model_copy(update={"role": role}),
            allowed_regions=frozenset({cloud.region}),
            clock=known.clock,
        )
        with pytest.raises(TargetForbidden, match=said):
            AwsThings(session).all()
    assert cloud.calls() == []
