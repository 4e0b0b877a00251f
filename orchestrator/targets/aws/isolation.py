"""A place at AWS that nothing leads out of, read back: the subnet's routes, the group's rules, peerings, addresses."""

import ipaddress
from typing import Any

from orchestrator.contracts.isolation import IsolationProof
from orchestrator.foundation.errors import TargetError, TargetForbidden
from orchestrator.model.system import MachineSpec
from orchestrator.targets.aws.machines import the_one
from orchestrator.targets.aws.session import AwsSession, aws_errors

DEAD_PEERINGS = {"deleted", "rejected", "expired", "failed"}


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
            network = str(subnet["VpcId"])
            ranges = [ipaddress.ip_network(str(subnet["CidrBlock"]))]
            seen = [
                *self._routes(network, str(subnet["SubnetId"])),
                *self._rules([group], ranges),
                *self._peerings(network),
            ]
            if group["VpcId"] != network:
                raise TargetForbidden(f"security group {group['GroupId']} is of another network than {network}")
            if subnet.get("MapPublicIpOnLaunch"):
                raise _open(f"subnet {subnet['SubnetId']} gives public addresses")
            seen.append(f"{subnet['SubnetId']} gives no public address")
            if machine_id:
                seen += self._machine(machine_id, str(subnet["SubnetId"]), ranges)
        return IsolationProof(
            network=network, subnet=subnet["SubnetId"], security_group=group["GroupId"], seen=tuple(seen)
        )

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

    def _routes(self, network: str, subnet: str) -> list[str]:
        """The table that the subnet is associated with, else its network's main one: "Route tables", VPC guide."""
        pages = self._ec2.get_paginator("describe_route_tables").paginate(
            Filters=[{"Name": "vpc-id", "Values": [network]}]
        )
        tables = [table for page in pages for table in page["RouteTables"]]
        own = [table for table in tables if any(each.get("SubnetId") == subnet for each in table["Associations"])]
        chosen = own or [table for table in tables if any(each.get("Main") for each in table["Associations"])]
        if len(chosen) != 1:
            raise TargetError(f"{len(chosen)} route tables are said to be in force for {subnet}; one must be")
        out = [route for route in chosen[0]["Routes"] if route.get("GatewayId") != "local"]
        if out:
            named = ", ".join(str(_destination(route)) for route in out)
            raise _open(f"route table {chosen[0]['RouteTableId']} leads to {named}")
        return [f"{chosen[0]['RouteTableId']} has no route but the local one"]

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

    def _peerings(self, network: str) -> list[str]:
        pages = self._ec2.get_paginator("describe_vpc_peering_connections").paginate()
        live = [
            str(each["VpcPeeringConnectionId"])
            for page in pages
            for each in page["VpcPeeringConnections"]
            if network in (each["RequesterVpcInfo"].get("VpcId"), each["AccepterVpcInfo"].get("VpcId"))
            and each["Status"]["Code"] not in DEAD_PEERINGS
        ]
        if live:
            raise _open(f"network {network} is joined with another by {', '.join(live)}")
        return [f"{network} is joined with no other"]

    def _machine(self, machine_id: str, subnet: str, ranges: list[Any]) -> list[str]:
        answer = self._ec2.describe_instances(InstanceIds=[machine_id])
        [instance] = [each for reservation in answer["Reservations"] for each in reservation["Instances"]]
        places = {each["SubnetId"] for each in instance["NetworkInterfaces"]} or {instance.get("SubnetId")}
        if places != {subnet}:
            raise _open(f"machine {machine_id} is in {', '.join(sorted(map(str, places)))}, not in {subnet} alone")
        if instance.get("PublicIpAddress"):
            raise _open(f"machine {machine_id} has the public address {instance['PublicIpAddress']}")
        named = sorted({each["GroupId"] for each in instance["SecurityGroups"]})
        groups = self._ec2.describe_security_groups(GroupIds=named)["SecurityGroups"]
        return [*self._rules(groups, ranges), f"{machine_id} is in {subnet} alone and has no public address"]


def _destination(route: dict[str, Any]) -> str:
    keys = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
    return next((str(route[key]) for key in keys if route.get(key)), "somewhere")


def _inside(text: str, ranges: list[Any]) -> bool:
    network = ipaddress.ip_network(text)
    return any(network.version == each.version and network.subnet_of(each) for each in ranges)


def _open(why: str) -> TargetForbidden:
    return TargetForbidden(
        f"the drill's network is not closed: {why}", hint="Nothing was started there. Close it, then drill again."
    )
