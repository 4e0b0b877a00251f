"""A place at AWS that nothing leads out of, read back from AWS itself: a door anywhere in its network refuses it.

Looked at are the network's gateways, endpoints and peerings, whether it resolves names (neither group nor access list
holds back what is asked of the Amazon DNS server: words can leave within names), the subnet's routes and access list,
the group's rules, and the machine's own addresses. Sources: VPC guide, "Route tables", "Control traffic to subnets
using network ACLs", "Amazon DNS server"; PrivateLink guide, "Access AWS services through AWS PrivateLink".
"""

import ipaddress
from collections.abc import Iterator
from typing import Any

from orchestrator.contracts.isolation import IsolationProof
from orchestrator.foundation.errors import TargetError, TargetForbidden
from orchestrator.model.system import MachineSpec
from orchestrator.targets.aws.machines import the_one
from orchestrator.targets.aws.session import AwsSession, aws_errors

GONE = {"deleted", "rejected", "expired", "failed", "detached"}
# What a network can be left by, even where no route leads there yet: as people call it, the call, its id in the answer.
DOORS = (
    ("internet gateway", "describe_internet_gateways", "InternetGatewayId"),
    ("egress-only internet gateway", "describe_egress_only_internet_gateways", "EgressOnlyInternetGatewayId"),
    ("carrier gateway", "describe_carrier_gateways", "CarrierGatewayId"),
    ("NAT gateway", "describe_nat_gateways", "NatGatewayId"),
    ("VPN gateway", "describe_vpn_gateways", "VpnGatewayId"),
    ("transit gateway attachment", "describe_transit_gateway_vpc_attachments", "TransitGatewayAttachmentId"),
    ("peering", "describe_vpc_peering_connections", "VpcPeeringConnectionId"),
    ("endpoint", "describe_vpc_endpoints", "VpcEndpointId"),
)


class AwsIsolation:
    """contracts.isolation.Isolation over EC2."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    @property
    def _ec2(self) -> Any:
        return self._session.client("ec2")

    def prove(self, spec: MachineSpec, *, machine_id: str = "") -> IsolationProof:
        with aws_errors("reading back what leads out of the drill's network"):
            subnet = self._subnet(spec.drill_subnet)
            group = self._group(spec.drill_security_group)
            network, place = str(subnet["VpcId"]), str(subnet["SubnetId"])
            if group["VpcId"] != network:
                raise TargetForbidden(f"security group {group['GroupId']} is of another network than {network}")
            ranges = [ipaddress.ip_network(text) for text in _ranges_of(subnet)]
            seen = [
                *self._doors(network),
                self._names(network),
                self._routes(network, place),
                self._access_list(place, ranges),
                *self._rules([group], ranges),
                _addresses(subnet),
            ]
            if machine_id:
                seen += self._machine(machine_id, place, ranges)
        return IsolationProof(network=network, subnet=place, security_group=group["GroupId"], seen=tuple(seen))

    def _subnet(self, name: str) -> dict[str, Any]:
        found = self._ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": [name]}])["Subnets"]
        the_one("subnet", name, [each["SubnetId"] for each in found])
        subnet: dict[str, Any] = found[0]
        return subnet

    def _group(self, name: str) -> dict[str, Any]:
        found = self._ec2.describe_security_groups(Filters=[{"Name": "tag:Name", "Values": [name]}])["SecurityGroups"]
        the_one("security group", name, [each["GroupId"] for each in found])
        group: dict[str, Any] = found[0]
        return group

    def _doors(self, network: str) -> Iterator[str]:
        """All of the account are listed, for not every list can be asked for one network's alone."""
        for kind, operation, identifier in DOORS:
            there = [str(each[identifier]) for each in self._all(operation) if network in networks_of(each)]
            if there:
                raise _open(f"network {network} has the {kind} {', '.join(there)}")
            yield f"{network} has no {kind}"

    def _all(self, operation: str) -> Iterator[dict[str, Any]]:
        """Every thing of a list, which is the only one in the answers to its call."""
        paged = self._ec2.can_paginate(operation)
        pages = self._ec2.get_paginator(operation).paginate() if paged else [getattr(self._ec2, operation)()]
        for page in pages:
            for value in page.values():
                yield from value if isinstance(value, list) else ()

    def _names(self, network: str) -> str:
        told = self._ec2.describe_vpc_attribute(VpcId=network, Attribute="enableDnsSupport")
        if told["EnableDnsSupport"]["Value"]:
            raise _open(f"the DNS server of network {network} answers (enableDnsSupport), and asks others for that")
        return f"{network} resolves no names"

    def _routes(self, network: str, subnet: str) -> str:
        """The table that the subnet is associated with, else its network's main one."""
        mine = [{"Name": "vpc-id", "Values": [network]}]
        pages = self._ec2.get_paginator("describe_route_tables").paginate(Filters=mine)
        tables = [table for page in pages for table in page["RouteTables"]]
        own = [table for table in tables if any(each.get("SubnetId") == subnet for each in table["Associations"])]
        chosen = own or [table for table in tables if any(each.get("Main") for each in table["Associations"])]
        if len(chosen) != 1:
            raise TargetError(f"{len(chosen)} route tables are said to be in force for {subnet}; one must be")
        out = [route for route in chosen[0]["Routes"] if route.get("GatewayId") != "local"]
        if out:
            named = ", ".join(f"{_value(route, 'Destination')} by {_value(route, '')}" for route in out)
            raise _open(f"route table {chosen[0]['RouteTableId']} leads to {named}")
        return f"{chosen[0]['RouteTableId']} has no route but the local one"

    def _access_list(self, subnet: str, ranges: list[Any]) -> str:
        """Rules that allow are taken one by one: one that an earlier rule makes void counts too."""
        mine = [{"Name": "association.subnet-id", "Values": [subnet]}]
        found = self._ec2.describe_network_acls(Filters=mine)["NetworkAcls"]
        if len(found) != 1:
            raise TargetError(f"{len(found)} network access lists are said to be in force for {subnet}; one must be")
        allowed = [each for each in found[0]["Entries"] if each["Egress"] and each["RuleAction"] == "allow"]
        targets = [str(each.get("CidrBlock") or each.get("Ipv6CidrBlock")) for each in allowed]
        outside = [each for each in targets if not _inside(each, ranges)]
        if outside:
            raise _open(f"network access list {found[0]['NetworkAclId']} lets out to {', '.join(outside)}")
        return f"{found[0]['NetworkAclId']} lets nothing out of the subnet"

    def _rules(self, groups: list[dict[str, Any]], ranges: list[Any]) -> list[str]:
        seen = []
        for group in groups:
            for rule in group["IpPermissionsEgress"]:
                targets = [each["CidrIp"] for each in rule.get("IpRanges", [])]
                targets += [each["CidrIpv6"] for each in rule.get("Ipv6Ranges", [])]
                outside = [each for each in targets if not _inside(each, ranges)]
                outside += [each["PrefixListId"] for each in rule.get("PrefixListIds", [])]
                others = [each.get("GroupId") for each in rule.get("UserIdGroupPairs", [])]
                outside += [str(each) for each in others if each != group["GroupId"]]
                if outside:
                    raise _open(f"security group {group['GroupId']} lets out to {', '.join(outside)}")
            seen.append(f"{group['GroupId']} lets nothing out of the subnet")
        return seen

    def _machine(self, machine_id: str, subnet: str, ranges: list[Any]) -> list[str]:
        answer = self._ec2.describe_instances(InstanceIds=[machine_id])
        [instance] = [each for reservation in answer["Reservations"] for each in reservation["Instances"]]
        interfaces = instance["NetworkInterfaces"]
        places = {each["SubnetId"] for each in interfaces} or {instance.get("SubnetId")}
        if places != {subnet}:
            raise _open(f"machine {machine_id} is in {', '.join(sorted(map(str, places)))}, not in {subnet} alone")
        public = [str(each["Association"]["PublicIp"]) for each in interfaces if each.get("Association")]
        public += [str(one["Ipv6Address"]) for each in interfaces for one in each.get("Ipv6Addresses", [])]
        if instance.get("PublicIpAddress"):
            public.append(str(instance["PublicIpAddress"]))
        if public:
            raise _open(f"machine {machine_id} has the public address {', '.join(dict.fromkeys(public))}")
        named = {each["GroupId"] for each in instance["SecurityGroups"]}
        named |= {group["GroupId"] for each in interfaces for group in each.get("Groups", [])}
        groups = self._ec2.describe_security_groups(GroupIds=sorted(named))["SecurityGroups"]
        return [*self._rules(groups, ranges), f"{machine_id} is in {subnet} alone and has no public address"]


def networks_of(door: dict[str, Any]) -> set[str]:
    """The networks that something is a door of, or may be one of in a moment; none once it is gone."""
    attachments = [*door.get("Attachments", []), *door.get("VpcAttachments", [])]
    attached = {str(each.get("VpcId")) for each in attachments if str(each.get("State")).lower() not in GONE}
    if str(door.get("State") or door.get("Status", {}).get("Code")).lower() in GONE:
        return set()
    ends = [door.get("RequesterVpcInfo", {}), door.get("AccepterVpcInfo", {}), door]
    return attached | {str(each["VpcId"]) for each in ends if each.get("VpcId")}


def _ranges_of(subnet: dict[str, Any]) -> list[str]:
    of_six = [each["Ipv6CidrBlock"] for each in subnet.get("Ipv6CidrBlockAssociationSet", [])]
    return [str(each) for each in (subnet["CidrBlock"], *of_six)]


def _addresses(subnet: dict[str, Any]) -> str:
    """An IPv6 address is a public one."""
    if subnet.get("MapPublicIpOnLaunch") or subnet.get("AssignIpv6AddressOnCreation"):
        raise _open(f"subnet {subnet['SubnetId']} gives public addresses")
    return f"{subnet['SubnetId']} gives no public address"


def _value(route: dict[str, Any], prefix: str) -> str:
    """Where a route leads (`Destination…`), or by what: the name of its target's key differs with its kind."""
    keys = [key for key in route if key.startswith("Destination") == bool(prefix) and key not in ("Origin", "State")]
    return next((str(route[key]) for key in keys if route[key]), "somewhere")


def _inside(text: str, ranges: list[Any]) -> bool:
    network = ipaddress.ip_network(text)
    return any(network.version == each.version and network.subnet_of(each) for each in ranges)


def _open(why: str) -> TargetForbidden:
    return TargetForbidden(
        f"the drill's network is not closed: {why}", hint="Nothing was started there. Close it, then drill again."
    )
