"""Everything at AWS that carries the tag of a run of ours."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from orchestrator.contracts.cloud_things import CloudThing
from orchestrator.foundation.clock import timestamp
from orchestrator.targets.aws.machines import LIVE_STATES, RUN_TAG, tags_of
from orchestrator.targets.aws.session import AwsSession, aws_errors

OURS = {"Name": "tag-key", "Values": [RUN_TAG]}


class AwsThings:
    """contracts.cloud_things.CloudThings over EC2 and EBS."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    def all(self) -> Sequence[CloudThing]:
        with aws_errors("listing what is ours"):
            ec2 = self._session.client("ec2")
            images = [image for page in ec2.get_paginator("describe_images").paginate(Owners=["self"], Filters=[OURS])
                      for image in page["Images"]]  # fmt: skip
            return [*_machines(ec2), *_volumes(ec2), *map(_image, images), *_snapshots(ec2, images)]


def _machines(ec2: Any) -> Iterator[CloudThing]:
    live = {"Name": "instance-state-name", "Values": LIVE_STATES}
    for page in ec2.get_paginator("describe_instances").paginate(Filters=[OURS, live]):
        for reservation in page["Reservations"]:
            for each in reservation["Instances"]:
                yield CloudThing(
                    kind="machine",
                    id=each["InstanceId"],
                    state=each["State"]["Name"],
                    made_at=_moment(each.get("LaunchTime")),
                    tags=tags_of(each),
                    instance_type=each["InstanceType"],
                )


def _volumes(ec2: Any) -> Iterator[CloudThing]:
    for page in ec2.get_paginator("describe_volumes").paginate(Filters=[OURS]):
        for each in page["Volumes"]:
            attached = [one["InstanceId"] for one in each.get("Attachments", []) if one.get("InstanceId")]
            yield CloudThing(
                kind="volume",
                id=each["VolumeId"],
                state=each["State"],
                made_at=_moment(each.get("CreateTime")),
                tags=tags_of(each),
                gib=each["Size"],
                part_of=attached[0] if attached else "",
            )


def _snapshots(ec2: Any, images: list[dict[str, Any]]) -> Iterator[CloudThing]:
    under = {
        mapping["Ebs"]["SnapshotId"]: image["ImageId"]
        for image in images
        for mapping in image["BlockDeviceMappings"]
        if mapping.get("Ebs", {}).get("SnapshotId")
    }
    for page in ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=[OURS]):
        for each in page["Snapshots"]:
            yield CloudThing(
                kind="snapshot",
                id=each["SnapshotId"],
                state=each["State"],
                made_at=_moment(each.get("StartTime")),
                tags=tags_of(each),
                gib=each["VolumeSize"],
                part_of=str(under.get(each["SnapshotId"], "")),
            )


def _image(image: dict[str, Any]) -> CloudThing:
    created = image.get("CreationDate", "")
    return CloudThing(
        kind="image", id=image["ImageId"], state=image["State"], made_at=str(created), tags=tags_of(image)
    )


def _moment(value: Any) -> str:
    return timestamp(value) if isinstance(value, datetime) else ""
