"""Disks of ours at AWS: seeded from the host that holds the replica, through the EBS direct APIs, then an AMI.

Rules: what a snapshot holds is read back and compared before anybody may use it (of a child, what differs from its
parent); a snapshot that was not proved is never a parent; only snapshots and images with our tags are looked at; the
host gets keys that end by themselves.
"""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import ClientError

from orchestrator.contracts.images import CloudImage, ImageFacts, SeededVolume, SeedWish
from orchestrator.contracts.progress import ProgressSink
from orchestrator.contracts.transport import Transports
from orchestrator.foundation.errors import (
    DataError,
    DigestMismatch,
    TargetError,
    TargetForbidden,
)
from orchestrator.foundation.limits import GIB, KIB
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.targets.aws.image_facts import look_into
from orchestrator.targets.aws.machines import RUN_TAG, SYSTEM_TAG, tags_of
from orchestrator.targets.aws.session import VISIBLE_SECONDS_MAX, AwsSession, aws_errors, error_code
from orchestrator.targets.host_asking import ask_host

PROGRAM = Path(__file__).parent.parent / "host_programs" / "cloud_data"
DATASET_TAG, KEY_TAG, PARENT_TAG, PROVED_TAG = "skerry:dataset", "skerry:key", "skerry:parent", "skerry:digest"
BLOCK_BYTES = 512 * KIB
STREAMS = 8
SNAPSHOTS_PER_KEY_MAX = 5  # a snapshot that AWS gave up (its time-out) is followed by the key's next one
PENDING_SECONDS_MAX = 3600.0
TIMEOUT_MINUTES = 4320  # AWS gives a pending snapshot up when nothing came for so long: its longest
AVAILABLE_SECONDS_MAX = 900.0
ROOT_DEVICE = "/dev/xvda"


class AwsImages:
    """contracts.images.CloudImages over EBS and EC2. `kms_key` is an ARN; "" leaves that to the account."""

    def __init__(
        self,
        session: AwsSession,
        transports: Transports,
        *,
        kms_key: str = "",
        streams: int = STREAMS,
        pending_seconds_max: float = PENDING_SECONDS_MAX,
    ) -> None:
        self._session = session
        self._transports = transports
        self._kms_key = kms_key
        self._streams = streams
        self._pending_seconds_max = pending_seconds_max

    def look(self, volume: BlockVolume, host: Host, *, path: str) -> ImageFacts:
        return look_into(self._transports, volume, host, path)

    # -- the snapshot

    def seed(self, wish: SeedWish, *, progress: ProgressSink | None = None) -> SeededVolume:
        volume, host = wish.volume, wish.host
        known = self._ask(volume, host, {"do": "known", "path": wish.path})
        snapshot = self._snapshot(volume, known, wish.key, wish.tags)
        identifier, parent = snapshot["SnapshotId"], tags_of(snapshot).get(PARENT_TAG, "")
        sent: dict[str, Any] = {}
        if snapshot["State"] == "pending":
            asked = {"do": "put", "path": wish.path, "snapshot": identifier, "parent": parent}
            sent = self._ask(volume, host, asked, progress=progress)
            self._complete(identifier, sent)
            snapshot = self._await_completed(identifier)
        wished = {"do": "read", "snapshot": identifier, "parent": parent, "size": known["size"]}
        read = self._ask(volume, host, wished, progress=progress)
        if read["digest"] != wish.expected:
            raise DigestMismatch(
                f"{volume.name}: snapshot {identifier} reads back as {read['digest']}, expected was {wish.expected}",
                hint="It is used by nobody and no parent of another. Seed again; see: skerry cloud orphans",
            )
        proved = {PROVED_TAG: read["digest"]}
        if sent:
            proved["skerry:aggregate"] = sent["aggregate"]
        self._mark(identifier, proved)
        self._ask(volume, host, {"do": "settle", "snapshot": identifier})
        return SeededVolume(
            dataset=volume.name,
            snapshot=identifier,
            parent=parent,
            digest=read["digest"],
            aggregate=sent.get("aggregate", tags_of(snapshot).get("skerry:aggregate", "")),
            kms_key=str(snapshot.get("KmsKeyId", "")),
            volume_bytes=known["size"],
            blocks_with_data=read["blocks_with_data"],
            blocks_read=read["blocks_read"],
            blocks_written=sent.get("blocks_written", 0),
            blocks_sent=sent.get("blocks_sent", 0),
            bytes_wire=sent.get("blocks_sent", 0) * BLOCK_BYTES,
            seconds=sent.get("seconds", 0.0) + read["seconds"],
            sending_seconds=sent.get("seconds", 0.0),
            memory_bytes=max(sent.get("memory_bytes", 0), read["memory_bytes"]),
        )

    def _snapshot(self, volume: BlockVolume, known: dict[str, Any], key: str, tags: dict[str, str]) -> dict[str, Any]:
        """The snapshot of this key, pending or completed; begun where there is none."""
        for needed in (SYSTEM_TAG, RUN_TAG):
            if needed not in tags:
                raise TargetError(f"{volume.name}: a snapshot needs the tag {needed}")
        mine = {**tags, DATASET_TAG: volume.name}
        for turn in range(1, SNAPSHOTS_PER_KEY_MAX + 1):
            token = hashlib.sha256(f"{key}#{turn}".encode()).hexdigest()
            found = self._described([{"Name": f"tag:{KEY_TAG}", "Values": [token]}, *_filters(mine, SYSTEM_TAG)])
            if not found:
                return self._start(volume, known, token, mine)
            if found[0]["State"] in ("pending", "completed"):
                return found[0]
        raise TargetError(f"{volume.name}: {SNAPSHOTS_PER_KEY_MAX} snapshots of it were given up by AWS")

    def _start(self, volume: BlockVolume, known: dict[str, Any], token: str, tags: dict[str, str]) -> dict[str, Any]:
        size_gib = -(-known["size"] // GIB)
        parent = self._parent(known["parents"], size_gib, tags)
        marked = {**tags, KEY_TAG: token, PARENT_TAG: parent, "Name": f"{tags[SYSTEM_TAG]}-{volume.name}"}
        wish: dict[str, Any] = {
            "VolumeSize": size_gib,
            "Description": f"{volume.name} of {tags[SYSTEM_TAG]}",
            "Tags": _listed(marked),
            "ClientToken": token,
            "Timeout": TIMEOUT_MINUTES,
        }
        if parent:
            wish["ParentSnapshotId"] = parent  # it says how the child is encrypted
        elif self._kms_key:
            wish |= {"Encrypted": True, "KmsKeyArn": self._kms_key}
        with aws_errors(f"beginning a snapshot of {volume.name}"):
            begun = self._session.client("ebs").start_snapshot(**wish)
        return {"SnapshotId": begun["SnapshotId"], "State": begun["Status"], "Tags": _listed(marked)}

    def _parent(self, remembered: list[str], size_gib: int, tags: dict[str, str]) -> str:
        """A snapshot that was proved, whose blocks the host remembers, and that may be a parent of this one."""
        if not remembered:
            return ""
        fitting = [
            found
            for found in self._described(
                [
                    {"Name": "snapshot-id", "Values": remembered},
                    {"Name": "status", "Values": ["completed"]},
                    {"Name": "tag-key", "Values": [PROVED_TAG]},
                    *_filters(tags, SYSTEM_TAG, DATASET_TAG),
                ]
            )
            if found["VolumeSize"] <= size_gib and str(found.get("KmsKeyId", "")) == self._kms_key
        ]
        return str(max(fitting, key=lambda each: each["StartTime"])["SnapshotId"]) if fitting else ""

    def _described(self, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        with aws_errors("looking for snapshots of ours"):
            pages = (
                self._session.client("ec2")
                .get_paginator("describe_snapshots")
                .paginate(OwnerIds=["self"], Filters=filters)
            )
            return [found for page in pages for found in page["Snapshots"]]

    def _complete(self, identifier: str, sent: dict[str, Any]) -> None:
        wish: dict[str, Any] = {"SnapshotId": identifier, "ChangedBlocksCount": sent["blocks_written"]}
        if sent["blocks_written"]:
            wish |= {
                "Checksum": sent["aggregate"],
                "ChecksumAlgorithm": "SHA256",
                "ChecksumAggregationMethod": "LINEAR",
            }
        with aws_errors(f"completing {identifier}"):
            self._session.client("ebs").complete_snapshot(**wish)

    def _await_completed(self, identifier: str) -> dict[str, Any]:
        state = "unknown"

        def look() -> dict[str, Any] | None:
            nonlocal state
            found = self._described([{"Name": "snapshot-id", "Values": [identifier]}])
            state = found[0]["State"] if found else "unknown"
            return found[0] if state in ("completed", "error") else None

        found = self._session.poll(look, self._pending_seconds_max)
        if found is None or state == "error":
            raise TargetError(
                f"snapshot {identifier} is {state}, not completed, after {self._pending_seconds_max:g} s",
                hint="All its blocks are there. Run the same command again: it goes on with this snapshot.",
            )
        return found

    def _mark(self, identifier: str, tags: dict[str, str]) -> None:
        """Whoever looks for these tags afterwards finds them: EC2 shows new ones after a while."""
        with aws_errors(f"marking {identifier} as proved"):
            self._session.client("ec2").create_tags(Resources=[identifier], Tags=_listed(tags))
        mine = [{"Name": "snapshot-id", "Values": [identifier]}, *_filters(tags, *tags)]
        if self._session.poll(lambda: self._described(mine) or None, VISIBLE_SECONDS_MAX) is None:
            raise TargetError(f"snapshot {identifier} was marked as proved and does not show it")

    # -- the image

    def register(self, seeded: SeededVolume, facts: ImageFacts, *, name: str, tags: dict[str, str]) -> CloudImage:
        if self._image_called(name) is None:
            if not facts.architecture:
                said = f"{seeded.dataset}: nothing on the disk tells its architecture, so no image is made of it"
                raise DataError(said)
            self._make_image(seeded, facts, name, tags)
        found = self._await_available(name)
        if not {SYSTEM_TAG, RUN_TAG} <= set(tags_of(found)):
            raise TargetForbidden(f"the image {name} ({found['ImageId']}) does not carry our tags; it stays")
        held = [each["Ebs"].get("SnapshotId") for each in found["BlockDeviceMappings"] if "Ebs" in each]
        if seeded.snapshot not in held:
            raise TargetError(f"the image {name} was made of {held}, not of {seeded.snapshot}")
        return CloudImage(id=found["ImageId"], name=name, snapshot=seeded.snapshot)

    def _image_called(self, name: str) -> dict[str, Any] | None:
        mine = [{"Name": "name", "Values": [name]}]
        with aws_errors(f"looking for the image {name}"):
            answer = self._session.client("ec2").describe_images(Owners=["self"], Filters=mine)
        return answer["Images"][0] if answer["Images"] else None

    def _await_available(self, name: str) -> dict[str, Any]:
        state = "unknown"

        def look() -> dict[str, Any] | None:
            nonlocal state
            found = self._image_called(name)
            state = found["State"] if found else "unknown"
            return found if state not in ("pending", "unknown") else None

        found = self._session.poll(look, AVAILABLE_SECONDS_MAX)
        if found is None or state != "available":
            raise TargetError(f"the image {name} is {state}, not available, after {AVAILABLE_SECONDS_MAX:g} s at most")
        return found

    def _make_image(self, seeded: SeededVolume, facts: ImageFacts, name: str, tags: dict[str, str]) -> None:
        marked = _listed({**tags, DATASET_TAG: seeded.dataset, PROVED_TAG: seeded.digest, "Name": name})
        disk = {"SnapshotId": seeded.snapshot, "VolumeType": "gp3", "DeleteOnTermination": True}
        with aws_errors(f"registering the image {name}"):
            try:
                self._session.client("ec2").register_image(
                    Name=name,
                    Architecture=facts.architecture,
                    BootMode=facts.boot_mode,
                    EnaSupport=True,
                    ImdsSupport="v2.0",
                    VirtualizationType="hvm",
                    RootDeviceName=ROOT_DEVICE,
                    BlockDeviceMappings=[{"DeviceName": ROOT_DEVICE, "Ebs": disk}],
                    TagSpecifications=[{"ResourceType": "image", "Tags": marked}],
                )
            except ClientError as error:
                if error_code(error) != "InvalidAMIName.Duplicate":  # made a moment ago, and not shown yet
                    raise

    # -- the host's part

    def _ask(
        self, volume: BlockVolume, host: Host, wish: dict[str, Any], *, progress: ProgressSink | None = None
    ) -> dict[str, Any]:
        request = {
            **wish,
            "work": work_folder(volume, host),
            "endpoint": self._session.endpoint_at_hosts("ebs"),
            "region": self._session.region,
            "streams": self._streams,
        }
        return ask_host(self._session, self._transports(host), PROGRAM, request, volume.name, progress)


def work_folder(volume: BlockVolume, host: Host) -> str:
    """Where a host remembers the blocks of snapshots that were made of this volume."""
    place = hashlib.sha256(str(PurePosixPath(volume.path)).encode()).hexdigest()[:8]
    return host.path(f"/var/lib/skerry/cloud/{volume.name}-{place}")


def _listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in sorted(tags.items())]


def _filters(tags: dict[str, str], *names: str) -> list[dict[str, Any]]:
    return [{"Name": f"tag:{name}", "Values": [tags[name]]} for name in names]
