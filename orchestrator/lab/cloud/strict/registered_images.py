"""Images that are registered from snapshots, as EC2 keeps them: moto's forget the snapshot, the boot mode and the rest.

Sources: EC2 API reference RegisterImage (Architecture, BootMode, EnaSupport, BlockDeviceMapping.N, ImdsSupport), EC2
user guide "Boot modes", "Create a Linux AMI from a snapshot". An image from a snapshot has the snapshot's size.
"""

from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.utils import random_ami_id

from orchestrator.lab.cloud.answers import Answer, AwsError, ec2_answer
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall
from orchestrator.lab.cloud.strict.moto_state import find_instance

ARCHITECTURES = ("i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac")
BOOT_MODES = ("legacy-bios", "uefi", "uefi-preferred")


class RegisteredImage(Ami):
    """Moto's image, with what RegisterImage was told."""

    def __init__(self, backend: Any, call: AwsCall, mappings: list[dict[str, Any]], root: dict[str, Any]) -> None:
        told = call.parameters
        super().__init__(
            backend,
            random_ami_id(),
            name=told["Name"],
            description=told.get("Description", ""),
            owner_id=ACCOUNT,
            virtualization_type=told.get("VirtualizationType", "paravirtual"),
            architecture=told.get("Architecture", "i386"),
            hypervisor="xen",
            root_device_type="ebs",
            root_device_name=told["RootDeviceName"],
            region_name=call.region,
            boot_mode=told.get("BootMode", ""),
            tags=call.tags("image"),
        )
        backend.snapshots.pop(self.ebs_snapshot.id, None)  # moto made one of its own
        self.ebs_snapshot = backend.snapshots[root["SnapshotId"]]
        self.ena_support = call.flag("EnaSupport")
        self.imds_support = told.get("ImdsSupport")
        self.lab_mappings = mappings

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        return self.lab_mappings


def register(call: AwsCall) -> Answer:
    """RegisterImage from snapshots. What `volumes` refuses of names and snapshots was refused before."""
    backend = ec2_backends[ACCOUNT][call.region]
    told = call.parameters
    if told.get("Architecture", "i386") not in ARCHITECTURES:
        raise AwsError("InvalidParameterValue", f"Invalid architecture: {told['Architecture']}")
    if told.get("BootMode") and told["BootMode"] not in BOOT_MODES:
        raise AwsError("InvalidParameterValue", f"Invalid boot mode: {told['BootMode']}")
    if told.get("BootMode") == "legacy-bios" and told.get("Architecture") == "arm64":
        raise AwsError("InvalidParameterCombination", "The boot mode legacy-bios is not supported by arm64.")
    mappings = _mappings(call, backend)
    device = told.get("RootDeviceName", "")
    root = next((each["Ebs"] for each in mappings if each["DeviceName"] == device), None)
    if root is None or "SnapshotId" not in root:
        raise AwsError("InvalidBlockDeviceMapping", f"The root device {device or '(none)'} has no snapshot.")
    image = RegisteredImage(backend, call, mappings, root)
    backend.amis[image.id] = image
    return ec2_answer("RegisterImage", f"<imageId>{image.id}</imageId>")


def _mappings(call: AwsCall, backend: Any) -> list[dict[str, Any]]:
    mappings: list[dict[str, Any]] = []
    number = 1
    while (device := call.parameters.get(f"BlockDeviceMapping.{number}.DeviceName")) is not None:
        prefix = f"BlockDeviceMapping.{number}.Ebs."
        ebs: dict[str, Any] = {
            "VolumeType": call.parameters.get(prefix + "VolumeType", "gp2"),
            "DeleteOnTermination": call.parameters.get(prefix + "DeleteOnTermination", "true") == "true",
        }
        if identifier := call.parameters.get(prefix + "SnapshotId"):
            snapshot = backend.snapshots[identifier]
            least = int(snapshot.volume_size)
            wanted = int(call.parameters.get(prefix + "VolumeSize", least))
            if wanted < least:
                raise AwsError("InvalidParameterValue", f"Volume of {wanted}GiB is smaller than snapshot of {least}GiB")
            if prefix + "Encrypted" in call.parameters:
                message = "the parameter Encrypted may not be used with a snapshot when registering an image"
                raise AwsError("InvalidBlockDeviceMapping", message)
            ebs |= {"SnapshotId": identifier, "VolumeSize": wanted, "Encrypted": bool(snapshot.encrypted)}
        mappings.append({"DeviceName": device, "Ebs": ebs})
        number += 1
    return mappings


def root_snapshot(image_id: str) -> str:
    """The snapshot whose data a machine of this image starts with; "" for the lab's own images."""
    for backend in ec2_backends[ACCOUNT].values():
        image = backend.amis.get(image_id)
        if isinstance(image, RegisteredImage):
            return str(image.ebs_snapshot.id)
    return ""


def give_root_volume(instance_id: str) -> None:
    """A machine's root volume comes from its image's snapshot, in its size."""
    instance = find_instance(instance_id)
    snapshot = root_snapshot(instance.image_id) if instance is not None else ""
    if instance is None or not snapshot:
        return
    held = ec2_backends[ACCOUNT][instance.region_name].snapshots[snapshot]
    for block in instance.block_device_mapping.values():
        volume = ec2_backends[ACCOUNT][instance.region_name].volumes.get(block.volume_id)
        if volume is not None:
            volume.snapshot_id, volume.size = snapshot, held.volume_size
            volume.encrypted, volume.kms_key_id = held.encrypted, getattr(held, "kms_key_id", None)


def is_in_use(backend: Any, snapshot: str) -> str:
    """The image that needs this snapshot; "" where none does."""
    for image in backend.amis.values():
        if isinstance(image, RegisteredImage) and image.ebs_snapshot.id == snapshot:
            return str(image.id)
    return ""
