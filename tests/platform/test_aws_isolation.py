"""A drill's network is closed by what the cloud says of it, not by what was asked for; in the drill's own role."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.contracts.isolation import IsolationProof
from orchestrator.foundation.errors import TargetError, TargetForbidden
from orchestrator.lab.cloud.landing_zone import DRILL_NAME
from orchestrator.model.host import Host
from orchestrator.model.system import MachineSpec
from orchestrator.targets.aws.isolation import AwsIsolation
from orchestrator.targets.aws.machines import AwsMachines
from tests.fakes.aws_cloud import AwsCloud

pytestmark = pytest.mark.platform("ssh")

SPEC = MachineSpec(
    image="plain",
    subnet="cloud-hosts",
    security_group="cloud-hosts",
    drill_subnet=DRILL_NAME,
    drill_security_group=DRILL_NAME,
)


@pytest.fixture(scope="module")
def ec2(cloud: AwsCloud) -> Any:
    return cloud.client("ec2")


@pytest.fixture(scope="module")
def isolation(cloud: AwsCloud) -> AwsIsolation:
    return AwsIsolation(cloud.session(role="drill"))


class Holes:
    """Each method makes one way out of the closed network and returns how to close it again."""

    def __init__(self, ec2: Any, proof: IsolationProof) -> None:
        self.ec2 = ec2
        self.vpc, self.subnet, self.group = proof.network, proof.subnet, proof.security_group

    def internet_gateway(self) -> Callable[[], Any]:
        made = {"InternetGatewayId": self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]}
        self.ec2.attach_internet_gateway(**made, VpcId=self.vpc)
        return lambda: self.ec2.detach_internet_gateway(**made, VpcId=self.vpc)

    def egress_only(self) -> Callable[[], Any]:
        made = self.ec2.create_egress_only_internet_gateway(VpcId=self.vpc)["EgressOnlyInternetGateway"]
        key = "EgressOnlyInternetGatewayId"
        return lambda: self.ec2.delete_egress_only_internet_gateway(**{key: made[key]})

    def carrier_gateway(self) -> Callable[[], Any]:
        made = self.ec2.create_carrier_gateway(VpcId=self.vpc)["CarrierGateway"]["CarrierGatewayId"]
        return lambda: self.ec2.delete_carrier_gateway(CarrierGatewayId=made)

    def nat_gateway(self) -> Callable[[], Any]:
        wish = {"SubnetId": self.subnet, "ConnectivityType": "private"}
        made = self.ec2.create_nat_gateway(**wish)["NatGateway"]["NatGatewayId"]
        return lambda: self.ec2.delete_nat_gateway(NatGatewayId=made)

    def vpn_gateway(self) -> Callable[[], Any]:
        made = {"VpnGatewayId": self.ec2.create_vpn_gateway(Type="ipsec.1")["VpnGateway"]["VpnGatewayId"]}
        self.ec2.attach_vpn_gateway(**made, VpcId=self.vpc)
        return lambda: self.ec2.detach_vpn_gateway(**made, VpcId=self.vpc)

    def transit_gateway(self) -> Callable[[], Any]:
        through = self.ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
        wish = {"TransitGatewayId": through, "VpcId": self.vpc, "SubnetIds": [self.subnet]}
        made = self.ec2.create_transit_gateway_vpc_attachment(**wish)["TransitGatewayVpcAttachment"]
        key = "TransitGatewayAttachmentId"
        return lambda: self.ec2.delete_transit_gateway_vpc_attachment(**{key: made[key]})

    def peering(self) -> Callable[[], Any]:
        other = self.ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
        asked = self.ec2.create_vpc_peering_connection(VpcId=other, PeerVpcId=self.vpc)["VpcPeeringConnection"]
        key = "VpcPeeringConnectionId"
        return lambda: self.ec2.delete_vpc_peering_connection(**{key: asked[key]})

    def _endpoint(self, **wish: Any) -> Callable[[], Any]:
        made = self.ec2.create_vpc_endpoint(VpcId=self.vpc, **wish)["VpcEndpoint"]["VpcEndpointId"]
        return lambda: self.ec2.delete_vpc_endpoints(VpcEndpointIds=[made])

    def gateway_endpoint(self) -> Callable[[], Any]:
        return self._endpoint(VpcEndpointType="Gateway", ServiceName="com.amazonaws.eu-central-1.s3")

    def interface_endpoint(self) -> Callable[[], Any]:
        service = "com.amazonaws.eu-central-1.ssm"
        return self._endpoint(VpcEndpointType="Interface", ServiceName=service, SubnetIds=[self.subnet])

    def name_resolution(self) -> Callable[[], Any]:
        def resolving(wanted: bool) -> None:
            self.ec2.modify_vpc_attribute(VpcId=self.vpc, EnableDnsSupport={"Value": wanted})

        resolving(True)
        return lambda: resolving(False)

    def _route(self, **wish: str) -> Callable[[], Any]:
        [table] = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["RouteTables"]
        where = {"RouteTableId": table["RouteTableId"]}
        where |= {name: value for name, value in wish.items() if name.startswith("Destination")}
        self.ec2.create_route(RouteTableId=table["RouteTableId"], **wish)
        return lambda: self.ec2.delete_route(**where)

    def _interface(self) -> str:
        """So that there is no door but the route."""
        made = self.ec2.create_network_interface(SubnetId=self.subnet)["NetworkInterface"]
        return str(made["NetworkInterfaceId"])

    def route(self) -> Callable[[], Any]:
        return self._route(DestinationCidrBlock="10.99.0.0/16", NetworkInterfaceId=self._interface())

    def route_of_six(self) -> Callable[[], Any]:
        return self._route(DestinationIpv6CidrBlock="::/0", NetworkInterfaceId=self._interface())

    def prefix_list(self) -> str:
        wish = {"PrefixListName": "elsewhere", "MaxEntries": 1, "AddressFamily": "IPv4"}
        rows = [{"Cidr": "10.99.0.0/16"}]
        return str(self.ec2.create_managed_prefix_list(**wish, Entries=rows)["PrefixList"]["PrefixListId"])

    def route_to_a_prefix_list(self) -> Callable[[], Any]:
        """By a gateway that was taken away: who brings it back opens the way."""
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        return self._route(DestinationPrefixListId=self.prefix_list(), GatewayId=gateway)

    def _access_list(self, **range_: str) -> Callable[[], Any]:
        mine = [{"Name": "association.subnet-id", "Values": [self.subnet]}]
        [found] = self.ec2.describe_network_acls(Filters=mine)["NetworkAcls"]
        rule = {"NetworkAclId": found["NetworkAclId"], "RuleNumber": 7, "Egress": True}
        self.ec2.create_network_acl_entry(**rule, Protocol="-1", RuleAction="allow", **range_)
        return lambda: self.ec2.delete_network_acl_entry(**rule)

    def access_list(self) -> Callable[[], Any]:
        return self._access_list(CidrBlock="0.0.0.0/0")

    def access_list_of_six(self) -> Callable[[], Any]:
        return self._access_list(Ipv6CidrBlock="::/0")

    def _rule(self, **to: Any) -> Callable[[], Any]:
        rules = {"GroupId": self.group, "IpPermissions": [{"IpProtocol": "-1", **to}]}
        self.ec2.authorize_security_group_egress(**rules)
        return lambda: self.ec2.revoke_security_group_egress(**rules)

    def rule(self) -> Callable[[], Any]:
        return self._rule(IpRanges=[{"CidrIp": "10.30.1.0/24"}])

    def rule_to_a_prefix_list(self) -> Callable[[], Any]:
        return self._rule(PrefixListIds=[{"PrefixListId": self.prefix_list()}])

    def rule_to_another_group(self) -> Callable[[], Any]:
        name = f"other-{uuid.uuid4()}"
        made = self.ec2.create_security_group(GroupName=name, Description="d", VpcId=self.vpc)["GroupId"]
        return self._rule(UserIdGroupPairs=[{"GroupId": made}])

    def _of_subnet(self, attribute: str) -> Callable[[], Any]:
        def given(wanted: bool) -> None:
            self.ec2.modify_subnet_attribute(SubnetId=self.subnet, **{attribute: {"Value": wanted}})

        given(True)
        return lambda: given(False)

    def public_addresses(self) -> Callable[[], Any]:
        return self._of_subnet("MapPublicIpOnLaunch")

    def addresses_of_six(self) -> Callable[[], Any]:
        return self._of_subnet("AssignIpv6AddressOnCreation")


WAYS_OUT: dict[Callable[[Holes], Callable[[], Any]], str] = {
    Holes.internet_gateway: r"network vpc-\w+ has the internet gateway igw-",
    Holes.egress_only: "has the egress-only internet gateway eigw-",
    Holes.carrier_gateway: "has the carrier gateway cagw-",
    Holes.nat_gateway: "has the NAT gateway nat-",
    Holes.vpn_gateway: "has the VPN gateway vgw-",
    Holes.transit_gateway: "has the transit gateway attachment tgw-attach-",
    Holes.peering: "has the peering pcx-",
    Holes.gateway_endpoint: "has the endpoint vpce-",
    Holes.interface_endpoint: "has the endpoint vpce-",
    Holes.name_resolution: "enableDnsSupport",
    Holes.route: r"route table rtb-\w+ leads to 10\.99\.0\.0/16 by eni-",
    Holes.route_of_six: "leads to ::/0 by eni-",
    Holes.route_to_a_prefix_list: r"leads to pl-\w+ by igw-",
    Holes.access_list: r"network access list acl-\w+ lets out to 0\.0\.0\.0/0",
    Holes.access_list_of_six: "lets out to ::/0",
    Holes.rule: r"security group sg-\w+ lets out to 10\.30\.1\.0/24",
    Holes.rule_to_a_prefix_list: "lets out to pl-",
    Holes.rule_to_another_group: "lets out to sg-",
    Holes.public_addresses: "gives public addresses",
    Holes.addresses_of_six: "gives public addresses",
}


@pytest.mark.parametrize("hole", WAYS_OUT, ids=lambda hole: hole.__name__)
def test_every_way_out_refuses_the_drill_by_name(
    isolation: AwsIsolation, ec2: Any, hole: Callable[[Holes], Callable[[], Any]]
) -> None:
    before = isolation.prove(SPEC)
    close = hole(Holes(ec2, before))
    with pytest.raises(TargetForbidden, match=WAYS_OUT[hole]):
        isolation.prove(SPEC)
    close()
    assert isolation.prove(SPEC) == before


def test_a_group_that_lets_out_by_six_refuses_too(isolation: AwsIsolation, ec2: Any) -> None:
    """A group of its own: moto does not take such a rule back."""
    made = ec2.create_security_group(GroupName="by-six", Description="d", VpcId=isolation.prove(SPEC).network)
    ec2.create_tags(Resources=[made["GroupId"]], Tags=[{"Key": "Name", "Value": "by-six"}])
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.revoke_security_group_egress(GroupId=made["GroupId"], IpPermissions=everything)
    spec = SPEC.model_copy(update={"drill_security_group": "by-six"})
    isolation.prove(spec)
    by_six = [{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]
    ec2.authorize_security_group_egress(GroupId=made["GroupId"], IpPermissions=by_six)
    with pytest.raises(TargetForbidden, match=r"security group sg-\w+ lets out to ::/0"):
        isolation.prove(spec)


def test_a_place_that_is_not_there_is_not_closed(isolation: AwsIsolation) -> None:
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
    ec2 = cloud.client("ec2")
    public = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=public["AllocationId"], InstanceId=machine.id)
    with pytest.raises(TargetForbidden, match=f"{machine.id} has the public address {public['PublicIp']}"):
        isolation.prove(SPEC, machine_id=machine.id)
    machines.terminate(machine.id)
    assert machines.find(tested) is None
