"""A drill's network is closed by what the cloud says of it, not by what was asked for; in the drill's own role."""

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.foundation.errors import TargetError, TargetForbidden
from orchestrator.lab.cloud.landing_zone import DRILL_NAME
from orchestrator.model.host import Host
from orchestrator.model.system import MachineSpec
from orchestrator.targets.aws.isolation import AwsIsolation
from orchestrator.targets.aws.machines import AwsMachines
from tests.fakes.aws_cloud import AwsCloud, running_cloud

pytestmark = pytest.mark.platform("ssh")

SPEC = MachineSpec(
    image="plain",
    subnet="cloud-hosts",
    security_group="cloud-hosts",
    drill_subnet=DRILL_NAME,
    drill_security_group=DRILL_NAME,
)
OUTSIDE = [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.30.1.0/24"}]}]


@pytest.fixture
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsCloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


def _one(cloud: AwsCloud, what: str, kind: str) -> dict[str, Any]:
    found = getattr(cloud.client("ec2"), what)(Filters=[{"Name": "tag:Name", "Values": [DRILL_NAME]}])[kind]
    assert len(found) == 1
    one: dict[str, Any] = found[0]
    return one


def test_the_closed_network_is_proved_and_every_way_out_is_found(cloud: AwsCloud) -> None:
    """One cloud for all: each way out is opened, found by name, and closed again."""
    isolation = AwsIsolation(cloud.session(role="drill"))
    ec2 = cloud.client("ec2")
    proof = isolation.prove(SPEC)
    assert len(proof.seen) == 4
    vpc, subnet = proof.network, proof.subnet

    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    [table] = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    route = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": "0.0.0.0/0"}
    ec2.create_route(**route, GatewayId=gateway)
    with pytest.raises(TargetForbidden, match=r"leads to 0\.0\.0\.0/0"):
        isolation.prove(SPEC)
    ec2.delete_route(**route)

    ec2.authorize_security_group_egress(GroupId=proof.security_group, IpPermissions=OUTSIDE)
    with pytest.raises(TargetForbidden, match=r"lets out to 10\.30\.1\.0/24"):
        isolation.prove(SPEC)
    ec2.revoke_security_group_egress(GroupId=proof.security_group, IpPermissions=OUTSIDE)

    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    with pytest.raises(TargetForbidden, match="gives public addresses"):
        isolation.prove(SPEC)
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": False})

    other = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    peering = ec2.create_vpc_peering_connection(VpcId=vpc, PeerVpcId=other)["VpcPeeringConnection"]
    with pytest.raises(TargetForbidden, match=peering["VpcPeeringConnectionId"]):
        isolation.prove(SPEC)
    ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=peering["VpcPeeringConnectionId"])

    assert isolation.prove(SPEC) == proof
    with pytest.raises(TargetError, match="one subnet must carry"):
        isolation.prove(SPEC.model_copy(update={"drill_subnet": "nowhere"}))


def test_a_test_machine_is_looked_at_itself(cloud: AwsCloud) -> None:
    session = cloud.session(role="drill")
    machines, isolation = AwsMachines(session), AwsIsolation(session)
    tags = {"skerry:system": "filing", "skerry:run": "run-1"}
    tested = Host(name="cloud-a-drill", site="cloud", address="")
    closed = SPEC.model_copy(update={"subnet": DRILL_NAME, "security_group": DRILL_NAME})
    machine = machines.ensure(tested, closed, key="drill", tags=tags)
    proof = isolation.prove(SPEC, machine_id=machine.id)
    assert any(machine.id in line for line in proof.seen)
    elsewhere = machines.ensure(tested.model_copy(update={"name": "cloud-b-drill"}), SPEC, key="open", tags=tags)
    with pytest.raises(TargetForbidden, match="is in subnet-"):
        isolation.prove(SPEC, machine_id=elsewhere.id)
    machines.terminate(machine.id)
    assert machines.find(tested) is None
