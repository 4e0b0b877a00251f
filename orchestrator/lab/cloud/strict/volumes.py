"""What EC2 refuses of volumes and snapshots.

Sources: EC2 API reference (CreateVolume, AttachVolume, DetachVolume, DeleteVolume, RegisterImage) and its error codes:
IncorrectState, InvalidVolume.ZoneMismatch, VolumeInUse, InvalidParameterValue, InvalidSnapshot.NotFound.
"""

import re
from typing import Any

from moto.ec2.models import ec2_backends

from orchestrator.lab.cloud.answers import AwsError
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall
from orchestrator.lab.cloud.strict.registered_images import is_in_use

# Least and greatest size in GiB: EBS user guide, "Amazon EBS volume types".
VOLUME_GIB = {
    "gp2": (1, 16_384),
    "gp3": (1, 65_536),
    "io1": (4, 16_384),
    "io2": (4, 65_536),
    "st1": (125, 16_384),
    "sc1": (125, 16_384),
    "standard": (1, 1_024),
}


# Service quotas of a new account, "Storage for … volumes, in TiB": 50.
STORAGE_QUOTA_GIB = 50 * 1024


def check(call: AwsCall) -> None:
    """Refuse with AwsError what EC2 refuses; other actions pass."""
    rule = {
        "CreateVolume": _create,
        "AttachVolume": _attach,
        "DetachVolume": _detach,
        "DeleteVolume": _delete,
        "RegisterImage": _register,
        "DeleteSnapshot": _delete_snapshot,
    }.get(call.action)
    if rule is not None:
        rule(call, ec2_backends[ACCOUNT][call.region])


def _snapshot(backend: Any, identifier: str) -> Any:
    found = backend.snapshots.get(identifier)
    if found is None:
        raise AwsError("InvalidSnapshot.NotFound", f"The snapshot '{identifier}' does not exist.")
    if found.status != "completed":
        raise AwsError("IncorrectState", f"Snapshot '{identifier}' is in the state '{found.status}', not 'completed'.")
    return found


def _create(call: AwsCall, backend: Any) -> None:
    kind = call.parameters.get("VolumeType", "gp2")
    if kind not in VOLUME_GIB:
        raise AwsError("UnknownVolumeType", f"Unsupported volume type '{kind}'.")
    zone = call.parameters.get("AvailabilityZone", "")
    if zone not in [each.name for each in backend.describe_availability_zones()]:
        raise AwsError("InvalidZone.NotFound", f"The zone '{zone}' does not exist.")
    size = call.parameters.get("Size", "")
    if identifier := call.parameters.get("SnapshotId"):
        snapshot = _snapshot(backend, identifier)
        if size and int(size) < int(snapshot.volume_size):
            message = f"The size {size}GiB is smaller than snapshot '{identifier}' of {snapshot.volume_size}GiB"
            raise AwsError("InvalidParameterValue", message)
    elif not size:
        raise AwsError("MissingParameter", "The request must contain the parameter size/snapshot")
    least, most = VOLUME_GIB[kind]
    if size and not least <= int(size) <= most:
        raise AwsError("InvalidParameterValue", f"Volume of {size}GiB is out of range for {kind}: {least} to {most}.")
    wanted = int(size) if size else int(snapshot.volume_size)
    in_use = sum(int(each.size) for each in backend.volumes.values() if each.volume_type == kind)
    if in_use + wanted > STORAGE_QUOTA_GIB:
        message = f"You have exceeded your maximum {kind} storage limit of {STORAGE_QUOTA_GIB} GiB in this region."
        raise AwsError("VolumeLimitExceeded", message)


def _attach(call: AwsCall, backend: Any) -> None:
    volume = backend.volumes.get(call.parameters.get("VolumeId", ""))
    instance = next(
        (each for each in backend.all_instances() if each.id == call.parameters.get("InstanceId", "")), None
    )
    if volume is None or instance is None:
        return  # moto says which of the two is not found
    device = call.parameters.get("Device", "")
    if not re.fullmatch(r"/dev/(sd[a-z]\d*|xvd[a-z]{1,2}\d*|hd[a-z])", device):
        raise AwsError("InvalidParameterValue", f"Value ({device}) for parameter device is invalid.")
    if volume.zone.name != instance.placement.zone:
        message = f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'"
        raise AwsError("InvalidVolume.ZoneMismatch", message)
    if volume.attachment is not None:
        raise AwsError("VolumeInUse", f"{volume.id} is already attached to an instance")
    if instance.state not in ("running", "stopped"):
        raise AwsError("IncorrectState", f"Instance '{instance.id}' is not 'running' or 'stopped'.")
    if device in instance.block_device_mapping:
        raise AwsError("InvalidParameterValue", f"Invalid value '{device}' for unixDevice. Attachment point is in use")


def _detach(call: AwsCall, backend: Any) -> None:
    volume = backend.volumes.get(call.parameters.get("VolumeId", ""))
    if volume is not None and volume.attachment is None:
        raise AwsError("IncorrectState", f"Volume '{volume.id}' is in the 'available' state.")


def _delete(call: AwsCall, backend: Any) -> None:
    volume = backend.volumes.get(call.parameters.get("VolumeId", ""))
    if volume is not None and volume.attachment is not None:
        raise AwsError("VolumeInUse", f"Volume {volume.id} is currently attached to {volume.attachment.instance.id}")


def _delete_snapshot(call: AwsCall, backend: Any) -> None:
    identifier = call.parameters.get("SnapshotId", "")
    if image := is_in_use(backend, identifier):
        raise AwsError("InvalidSnapshot.InUse", f"The snapshot {identifier} is currently in use by {image}")


def _register(call: AwsCall, backend: Any) -> None:
    number = 1
    while f"BlockDeviceMapping.{number}.DeviceName" in call.parameters:
        if identifier := call.parameters.get(f"BlockDeviceMapping.{number}.Ebs.SnapshotId"):
            _snapshot(backend, identifier)
        number += 1
    name = call.parameters.get("Name", "")
    if not re.fullmatch(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}", name):
        raise AwsError("InvalidAMIName.Malformed", "AMI names must be 3 to 128 letters, digits or ()[] ./-'@_")
    if any(image.name == name and image.owner_id == ACCOUNT for image in backend.amis.values()):
        raise AwsError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use")
