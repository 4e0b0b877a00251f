"""Machine images of the lab: an AMI id, and what a host started from it holds.

An image is a JSON file in the images folder: {"name", "description", "architecture", "services": [unit …]} in the
blueprint's form. Its id follows from its name, so that inventories may know it before the lab is built.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.lab.blueprint import LabHost, Unit, host_as_json, host_from_json
from orchestrator.lab.cloud.call import ACCOUNT


def image_id(name: str) -> str:
    """`ami-` and 17 hex digits that belong to this name for ever."""
    return "ami-" + hashlib.sha256(f"lab image {name}".encode()).hexdigest()[:17]


def write_image(folder: Path, name: str, services: Sequence[Unit], *, description: str = "") -> str:
    """Put an image where the cloud finds it; returns its AMI id. The same name replaces."""
    carrier = LabHost("image", "cloud", "10.30.255.254", services=tuple(services))
    image = {
        "name": name,
        "description": description,
        "architecture": "x86_64",
        "services": host_as_json(carrier)["services"],
    }
    replace_file(folder / f"{name}.json", json.dumps(image, indent=1).encode())
    return image_id(name)


class Images:
    """The images folder, as AMIs of every region that is asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._registered: set[tuple[str, str]] = set()

    def register(self, region: str) -> None:
        """Make every image of the folder an AMI of `region`; those that are one already stay."""
        backend = ec2_backends[ACCOUNT][region]
        for image in self._all():
            identifier = image_id(image["name"])
            if identifier in backend.amis:
                continue
            backend.amis[identifier] = Ami(
                backend,
                identifier,
                name=image["name"],
                description=image.get("description", ""),
                owner_id=ACCOUNT,
                virtualization_type="hvm",
                architecture=image.get("architecture", "x86_64"),
                hypervisor="xen",
                root_device_type="ebs",
                root_device_name="/dev/xvda",
                region_name=region,
                boot_mode="uefi-preferred",
            )

    def services(self, identifier: str) -> tuple[Unit, ...]:
        """What a host of this image runs; nothing where the image came from elsewhere (RegisterImage)."""
        for image in self._all():
            if image_id(image["name"]) == identifier:
                carrier = {"name": "image", "site": "cloud", "address": "10.30.255.254", "port": 22, "trusts_ca": False}
                return host_from_json({**carrier, "services": image["services"]}).services
        return ()

    def _all(self) -> list[dict[str, Any]]:
        if not self._folder.is_dir():
            return []
        return [json.loads(path.read_text()) for path in sorted(self._folder.glob("*.json"))]
