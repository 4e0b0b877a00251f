"""Everything at AWS that carries the tag of a run of ours, and what is ours by its place, for it can carry none."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from orchestrator.contracts.cloud_things import CloudThing
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.limits import GIB
from orchestrator.targets.aws.machines import LIVE_STATES, RUN_TAG, tags_of
from orchestrator.targets.aws.session import AwsSession, aws_errors, error_code
from orchestrator.targets.aws.traffic import SET_PREFIX

OURS = {"Name": "tag-key", "Values": [RUN_TAG]}


class AwsThings:
    """contracts.cloud_things.CloudThings over EC2, EBS, S3 and Route 53."""

    def __init__(self, session: AwsSession, *, buckets: Sequence[str] = (), zones: Collection[str] = ()) -> None:
        """`buckets` were stored into by us; `zones` hold the names of the estate's systems."""
        self._session = session
        self._buckets = buckets
        self._zones = zones

    def all(self) -> Sequence[CloudThing]:
        with aws_errors("listing what is ours"):
            ec2 = self._session.client("ec2")
            images = [image for page in ec2.get_paginator("describe_images").paginate(Owners=["self"], Filters=[OURS])
                      for image in page["Images"]]  # fmt: skip
            tagged = [*_machines(ec2), *_volumes(ec2), *map(_image, images), *_snapshots(ec2, images)]
            uploads = [each for bucket in self._buckets for each in _uploads(self._session.client("s3"), bucket)]
            records = _records(self._session.client("route53"), self._zones) if self._zones else ()
            return [*tagged, *uploads, *records]


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


def _uploads(s3: Any, bucket: str) -> Iterator[CloudThing]:
    """Parts that were sent and never became an object: no list of objects shows them, and they are billed."""
    try:
        begun = [
            each
            for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket)
            for each in page.get("Uploads", [])
        ]
    except ClientError as error:
        if error_code(error) == "NoSuchBucket":
            return  # and its uploads went with it
        raise
    for each in begun:
        mine = {"Bucket": bucket, "Key": each["Key"], "UploadId": each["UploadId"]}
        parts = [part for page in s3.get_paginator("list_parts").paginate(**mine) for part in page.get("Parts", [])]
        yield CloudThing(
            kind="upload",
            id=f"s3://{bucket}/{each['Key']} {each['UploadId']}",
            state="begun",
            made_at=_moment(each.get("Initiated")),
            gib=sum(part["Size"] for part in parts) / GIB,
            part_of=bucket,
        )


def _records(route53: Any, zones: Collection[str]) -> Iterator[CloudThing]:
    """Weighted records that a switch of ours made."""
    pages = route53.get_paginator("list_hosted_zones").paginate()
    for zone in [zone for page in pages for zone in page["HostedZones"] if zone["Name"].rstrip(".") in zones]:
        for page in route53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone["Id"]):
            for record in page["ResourceRecordSets"]:
                if str(record.get("SetIdentifier", "")).startswith(SET_PREFIX):
                    name = record["Name"].rstrip(".")
                    yield CloudThing(
                        kind="record", id=f"{name} {record['SetIdentifier']}", state="in force", part_of=name
                    )


def _moment(value: Any) -> str:
    return timestamp(value) if isinstance(value, datetime) else ""
