"""Which networks a gateway, a peering or an endpoint is a door of, in each of the shapes that EC2 tells them in."""

from typing import Any

import pytest

from orchestrator.targets.aws.isolation import networks_of


@pytest.mark.parametrize(
    ("door", "networks"),
    [
        ({"Attachments": [{"State": "available", "VpcId": "vpc-1"}]}, {"vpc-1"}),
        ({"Attachments": [{"State": "detaching", "VpcId": "vpc-1"}]}, {"vpc-1"}),
        ({"Attachments": [{"State": "detached", "VpcId": "vpc-1"}]}, set()),
        ({"Attachments": []}, set()),
        ({"State": "available", "VpcAttachments": [{"State": "attached", "VpcId": "vpc-1"}]}, {"vpc-1"}),
        ({"State": "deleted", "VpcAttachments": [{"State": "attached", "VpcId": "vpc-1"}]}, set()),
        ({"State": "pending", "VpcId": "vpc-1"}, {"vpc-1"}),
        ({"State": "Deleted", "VpcId": "vpc-1"}, set()),
        ({"Status": {"Code": "active"}, "RequesterVpcInfo": {"VpcId": "vpc-1"}, "AccepterVpcInfo": {"VpcId": "vpc-2"}},
         {"vpc-1", "vpc-2"}),
        ({"Status": {"Code": "pending-acceptance"}, "RequesterVpcInfo": {"VpcId": "vpc-1"}, "AccepterVpcInfo": {}},
         {"vpc-1"}),
        ({"Status": {"Code": "rejected"}, "RequesterVpcInfo": {"VpcId": "vpc-1"}, "AccepterVpcInfo": {}}, set()),
    ],
)  # fmt: skip
def test_a_door_is_one_of_its_network_until_it_is_gone(door: dict[str, Any], networks: set[str]) -> None:
    assert networks_of(door) == networks
