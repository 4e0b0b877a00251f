"""What an account holds before any move: network, subnet, security group, a zone with the clients' names, a vault.

It is laid out through the API, as people do it with their own tools; what is there is left as it is.
"""

from pathlib import Path
from typing import Any

from orchestrator.foundation.clock import SystemClock
from orchestrator.model.inventory import CloudSettings
from orchestrator.targets.aws.session import AwsSession, aws_errors

VAULT = "skerry-vault"  # the bucket of the lab's inventory
VAULT_DAYS = 30
NAME = "cloud-hosts"  # the Name tag of subnet and security group in the lab's inventory
DRILL_NAME = "cloud-drills"  # the same of a network of its own that nothing leads out of


def lay_out(
    endpoint: str,
    credentials: Path,
    *,
    region: str,
    network: str,
    subnet: str,
    zone: str,
    names: dict[str, str],
) -> None:
    """Make what is missing. `names`: name → address, for names that have no record yet."""
    settings = CloudSettings(region=region, endpoint=endpoint, credentials_file=str(credentials))
    session = AwsSession(settings, allowed_regions=frozenset([region]), clock=SystemClock())
    with aws_errors("laying out the lab's account"):
        _network(session.client("ec2"), network, subnet, f"{region}a")
        _closed_network(session.client("ec2"), network.replace(".0.0/16", ".200.0/24"), f"{region}a")
        _names(session.client("route53"), zone, names)
        _vault(session.client("s3"), region)


def _vault(s3: Any, region: str) -> None:
    if VAULT in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        return
    s3.create_bucket(
        Bucket=VAULT, ObjectLockEnabledForBucket=True, CreateBucketConfiguration={"LocationConstraint": region}
    )
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": VAULT_DAYS}}
    s3.put_object_lock_configuration(
        Bucket=VAULT, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )


def _closed_network(ec2: Any, network: str, availability_zone: str) -> None:
    """A network for test machines: without a gateway or names, its group and its access list let nothing out."""
    mine = [{"Name": "tag:Name", "Values": [DRILL_NAME]}]
    if ec2.describe_security_groups(Filters=mine)["SecurityGroups"]:
        return
    tags = [{"Key": "Name", "Value": DRILL_NAME}]

    def tagged(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": tags}]

    vpc = ec2.create_vpc(CidrBlock=network, TagSpecifications=tagged("vpc"))["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": False})
    subnet = ec2.create_subnet(
        VpcId=vpc, CidrBlock=network, AvailabilityZone=availability_zone, TagSpecifications=tagged("subnet")
    )["Subnet"]["SubnetId"]
    of_subnet = [{"Name": "association.subnet-id", "Values": [subnet]}]
    [everything_allowed] = ec2.describe_network_acls(Filters=of_subnet)["NetworkAcls"]
    [association] = [each for each in everything_allowed["Associations"] if each["SubnetId"] == subnet]
    closed = ec2.create_network_acl(VpcId=vpc, TagSpecifications=tagged("network-acl"))["NetworkAcl"]["NetworkAclId"]
    ec2.replace_network_acl_association(AssociationId=association["NetworkAclAssociationId"], NetworkAclId=closed)
    group = ec2.create_security_group(
        GroupName=DRILL_NAME,
        Description="Test machines of drills",
        VpcId=vpc,
        TagSpecifications=tagged("security-group"),
    )["GroupId"]
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]  # what a new group lets out
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=everything)


def _network(ec2: Any, network: str, subnet: str, availability_zone: str) -> None:
    mine = [{"Name": "tag:Name", "Values": [NAME]}]
    tags = [{"Key": "Name", "Value": NAME}]
    vpcs = ec2.describe_vpcs(Filters=mine)["Vpcs"]
    vpc = (
        vpcs[0]["VpcId"]
        if vpcs
        else ec2.create_vpc(CidrBlock=network, TagSpecifications=[{"ResourceType": "vpc", "Tags": tags}])["Vpc"][
            "VpcId"
        ]
    )
    if not ec2.describe_subnets(Filters=mine)["Subnets"]:
        ec2.create_subnet(
            VpcId=vpc,
            CidrBlock=subnet,
            AvailabilityZone=availability_zone,
            TagSpecifications=[{"ResourceType": "subnet", "Tags": tags}],
        )
    if not ec2.describe_security_groups(Filters=mine)["SecurityGroups"]:
        ec2.create_security_group(
            GroupName=NAME,
            Description="Hosts of moved systems",
            VpcId=vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
        )


def _names(route53: Any, zone: str, names: dict[str, str]) -> None:
    zones = [each for each in route53.list_hosted_zones()["HostedZones"] if each["Name"] == zone + "."]
    zone_id = (
        zones[0]["Id"]
        if zones
        else route53.create_hosted_zone(Name=zone, CallerReference=f"lab {zone}")["HostedZone"]["Id"]
    )
    there = {record["Name"] for record in route53.list_resource_record_sets(HostedZoneId=zone_id)["ResourceRecordSets"]}
    missing = {name: address for name, address in names.items() if f"{name}." not in there}
    if missing:
        changes = [
            {
                "Action": "CREATE",
                "ResourceRecordSet": {
                    "Name": name,
                    "Type": "A",
                    "TTL": 1,
                    "ResourceRecords": [{"Value": address}],
                },
            }
            for name, address in sorted(missing.items())
        ]
        route53.change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch={"Changes": changes})
