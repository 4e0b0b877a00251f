"""The EBS direct APIs, whole: moto keeps blocks but checks nothing, so none of it is asked.

Source: "Amazon EBS direct APIs reference" (StartSnapshot, PutSnapshotBlock, CompleteSnapshot, ListSnapshotBlocks,
ListChangedBlocks, GetSnapshotBlock) and "Amazon EBS direct APIs concepts" in the EBS user guide. Snapshots are EC2's
too: DescribeSnapshots shows them, pending until completed.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from moto.ec2.models import ec2_backends
from moto.kms.models import kms_backends

from orchestrator.lab.cloud.answers import Answer, AwsError, json_answer
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall
from orchestrator.lab.cloud.strict.block_store import BLOCK_BYTES, SnapshotBlocks
from orchestrator.lab.cloud.strict.freshness import Freshness
from orchestrator.lab.cloud.strict.layer import Lenient
from orchestrator.lab.cloud.strict.registered_images import root_snapshot

GIB = 1024**3
VOLUME_GIB_MAX = 64 * 1024
TOKEN_SECONDS = 7 * 24 * 3600  # "The time when the … token expires": seven days
RESULTS_MIN, RESULTS_MAX, RESULTS_DEFAULT = 100, 10_000, 10_000
COMPLETION_SECONDS = 0.2
WITHOUT_VOLUME = "vol-ffffffff"  # what EC2 shows for snapshots that no volume was behind


class _Snapshot:
    """One snapshot that the direct APIs made."""

    def __init__(self, blocks: SnapshotBlocks, ec2: Any, size_gib: int, tags: list[dict[str, str]]) -> None:
        self.blocks = blocks
        self.ec2 = ec2  # moto's, whose status people see
        self.size_gib = size_gib
        self.tags = tags
        self.kms_key = ""
        self.sealed = False


class StrictEbs(Lenient):
    """All calls are answered here. Blocks have a durable state of their own; starts and completions are replayed."""

    def __init__(self, folder: Path, freshness: Freshness) -> None:
        self._folder = folder
        self._freshness = freshness
        self._snapshots: dict[str, _Snapshot] = {}
        self._tokens: dict[str, tuple[str, str]] = {}  # client token → digest of the wish, snapshot
        self._secret = self._own_secret()
        self._over_until = 0.0  # tokens that expire no later than this are taken for expired

    def stands_alone(self, call: AwsCall) -> bool:
        return call.action in ("PutSnapshotBlock", "GetSnapshotBlock", "ListSnapshotBlocks", "ListChangedBlocks")

    def before(self, call: AwsCall) -> Answer | None:
        handler = {
            "StartSnapshot": self._start,
            "PutSnapshotBlock": self._put,
            "CompleteSnapshot": self._complete,
            "GetSnapshotBlock": self._get,
            "ListSnapshotBlocks": self._list,
            "ListChangedBlocks": self._list_changed,
        }.get(call.action)
        if handler is None:
            raise AwsError("UnknownOperationException", f"no {call.action} in the EBS direct APIs", 404)
        return handler(call)

    # -- writing

    def _start(self, call: AwsCall) -> Answer:
        wish = call.json()
        token = str(wish.get("ClientToken", ""))
        digest = hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()
        if token and token in self._tokens:
            known, identifier = self._tokens[token]
            if known != digest:
                raise AwsError(
                    "ConflictException",
                    "The request uses the same client token as a previous, but non-identical one.",
                    409,
                )
            return self._described(identifier)
        size_gib = wish.get("VolumeSize")
        if not isinstance(size_gib, int) or not 1 <= size_gib <= VOLUME_GIB_MAX:
            raise _invalid("INVALID_VOLUME_SIZE", f"VolumeSize must be from 1 to {VOLUME_GIB_MAX}")
        if not 10 <= int(wish.get("Timeout", 60)) <= 4320:
            raise _invalid("INVALID_PARAMETER_VALUE", "Timeout must be from 10 to 4320 minutes")
        parent = self._parent(wish, size_gib)
        kms_key = self._kms_key(call, wish, parent)
        snapshot = self._register(call, wish, size_gib, parent, kms_key)
        if token:
            self._tokens[token] = (digest, snapshot)
        return self._described(snapshot)

    def _parent(self, wish: dict[str, Any], size_gib: int) -> _Snapshot | None:
        identifier = wish.get("ParentSnapshotId")
        if not identifier:
            return None
        parent = self._snapshots.get(str(identifier))
        if parent is None:
            raise _missing(str(identifier))
        if parent.ec2.status != "completed":
            raise _invalid("INVALID_SNAPSHOT_ID", f"The parent snapshot {identifier} is {parent.ec2.status}")
        if parent.size_gib > size_gib:
            raise _invalid("INVALID_VOLUME_SIZE", "VolumeSize must not be smaller than the parent snapshot's")
        if "Encrypted" in wish:
            raise _invalid("INVALID_DEPENDENCY_REQUEST", "Encrypted must not be given with ParentSnapshotId")
        return parent

    def _kms_key(self, call: AwsCall, wish: dict[str, Any], parent: _Snapshot | None) -> str:
        arn = str(wish.get("KmsKeyArn", ""))
        if not arn:
            return parent.kms_key if parent else ""
        if not wish.get("Encrypted") and parent is None:
            raise _invalid("INVALID_DEPENDENCY_REQUEST", "KmsKeyArn needs Encrypted")
        _check_key(call, arn)
        return arn

    def _register(
        self, call: AwsCall, wish: dict[str, Any], size_gib: int, parent: _Snapshot | None, kms_key: str
    ) -> str:
        ec2 = ec2_backends[ACCOUNT][call.region]
        volume = ec2.create_volume(size=size_gib, zone_name=f"{call.region}a")
        shown = ec2.create_snapshot(volume_id=volume.id, description=str(wish.get("Description", "")))
        ec2.volumes.pop(volume.id)
        volume.id = WITHOUT_VOLUME
        shown.status = "pending"
        shown.encrypted = bool(wish.get("Encrypted")) or bool(kms_key) or bool(parent and parent.ec2.encrypted)
        shown.kms_key_id = kms_key or None
        tags = [{"Key": str(tag["Key"]), "Value": str(tag.get("Value", ""))} for tag in wish.get("Tags", [])]
        shown.add_tags({tag["Key"]: tag["Value"] for tag in tags})
        blocks = SnapshotBlocks(self._folder / shown.id, shown.id, parent.blocks if parent else None)
        snapshot = _Snapshot(blocks, shown, size_gib, tags)
        snapshot.kms_key = kms_key
        self._snapshots[shown.id] = snapshot
        self._freshness.made([shown.id])
        return str(shown.id)

    def _described(self, identifier: str) -> Answer:
        snapshot = self._snapshots[identifier]
        told = {
            "SnapshotId": identifier,
            "OwnerId": ACCOUNT,
            "Status": snapshot.ec2.status,
            "StartTime": snapshot.ec2.start_time.timestamp(),
            "VolumeSize": snapshot.size_gib,
            "BlockSize": BLOCK_BYTES,
            "Tags": snapshot.tags,
            "Description": snapshot.ec2.description,
        }
        if snapshot.blocks.parent is not None:
            told["ParentSnapshotId"] = snapshot.blocks.parent.identifier
        if snapshot.kms_key:
            told["KmsKeyArn"] = snapshot.kms_key
        return json_answer(told, 201)

    def _put(self, call: AwsCall) -> Answer:
        snapshot, number = self._snapshot_and_block(call)
        if snapshot.sealed:
            raise _invalid("INVALID_SNAPSHOT_ID", f"The snapshot {snapshot.blocks.identifier} is not pending")
        if call.headers.get("x-amz-data-length") != str(BLOCK_BYTES) or len(call.body) != BLOCK_BYTES:
            raise _invalid("INVALID_BLOCK", f"A block holds exactly {BLOCK_BYTES} bytes, not {len(call.body)}")
        if call.headers.get("x-amz-checksum-algorithm") != "SHA256":
            raise _invalid("INVALID_PARAMETER_VALUE", "ChecksumAlgorithm must be SHA256")
        digest = hashlib.sha256(call.body).digest()
        if _decoded(call.headers.get("x-amz-checksum", "")) != digest:
            raise _invalid("INVALID_BLOCK", "The checksum provided does not match the block data")
        snapshot.blocks.put(number, call.body, digest)
        headers = {"x-amz-Checksum": base64.b64encode(digest).decode(), "x-amz-Checksum-Algorithm": "SHA256"}
        return Answer(201, {"Content-Type": "application/json", **headers}, b"{}")

    def _complete(self, call: AwsCall) -> Answer:
        identifier = call.path.rsplit("/", 1)[1]
        snapshot = self._known(identifier)
        counted = call.headers.get("x-amz-changedblockscount", "")
        if not counted.isdigit():
            raise _invalid("INVALID_PARAMETER_VALUE", "ChangedBlocksCount must be a number")
        if int(counted) != snapshot.blocks.written:
            raise _invalid(
                "INVALID_PARAMETER_VALUE",
                f"ChangedBlocksCount is {counted}, but {snapshot.blocks.written} blocks were written",
            )
        self._check_aggregate(call, snapshot)
        if not snapshot.sealed:
            snapshot.sealed = True
            snapshot.blocks.sync()
            timer = threading.Timer(COMPLETION_SECONDS, self._settle, [snapshot])
            timer.daemon = True
            timer.start()
        return json_answer({"Status": snapshot.ec2.status}, 202)

    def _check_aggregate(self, call: AwsCall, snapshot: _Snapshot) -> None:
        given = call.headers.get("x-amz-checksum", "")
        fields = (
            call.headers.get("x-amz-checksum-algorithm", ""),
            call.headers.get("x-amz-checksum-aggregation-method", ""),
        )
        if not given and fields == ("", ""):
            return  # optional, all three together
        if fields != ("SHA256", "LINEAR"):
            raise _invalid("INVALID_PARAMETER_VALUE", "The aggregate needs SHA256 and LINEAR")
        if _decoded(given) != snapshot.blocks.aggregate_digest():
            raise _invalid("INVALID_PARAMETER_VALUE", "The aggregated checksum does not match the written blocks")

    def _settle(self, snapshot: _Snapshot) -> None:
        snapshot.ec2.status = "completed"

    def give_up_pending(self, method: str, body: bytes) -> Answer:
        """`/_lab/pending`: DELETE gives up what is pending, as EBS does when nothing comes in time."""
        given_up = [each for each in self._snapshots.values() if method == "DELETE" and not each.sealed]
        for snapshot in given_up:
            snapshot.sealed, snapshot.ec2.status = True, "error"
        return json_answer({"given_up": [each.blocks.identifier for each in given_up]})

    def settle_all(self) -> None:
        """What was sealed is completed, after a restart."""
        for snapshot in self._snapshots.values():
            if snapshot.sealed and snapshot.ec2.status == "pending":
                self._settle(snapshot)

    # -- reading

    def _get(self, call: AwsCall) -> Answer:
        snapshot, number = self._snapshot_and_block(call)
        self._check_token(call.query.get("blockToken", ""), snapshot.blocks.identifier, number)
        found = snapshot.blocks.read(number)
        if found is None:
            raise _invalid("INVALID_BLOCK", f"The snapshot has no block {number}")
        content, digest = found
        headers = {
            "x-amz-Data-Length": str(len(content)),
            "x-amz-Checksum": base64.b64encode(digest).decode(),
            "x-amz-Checksum-Algorithm": "SHA256",
            "Content-Type": "application/octet-stream",
        }
        return Answer(200, headers, content)

    def _list(self, call: AwsCall) -> Answer:
        snapshot = self._completed(call.path.split("/")[2])
        numbers, more = _page(call, snapshot.blocks.numbers())
        expires = int(time.time()) + TOKEN_SECONDS
        blocks = [
            {"BlockIndex": number, "BlockToken": self._token(snapshot.blocks.identifier, number, expires)}
            for number in numbers
        ]
        return json_answer({"Blocks": blocks, **_frame(snapshot, expires, more)})

    def _list_changed(self, call: AwsCall) -> Answer:
        second = self._completed(call.path.split("/")[2])
        named = call.query.get("firstSnapshotId", "")
        first = self._completed(named) if named else None
        if first is not None and not second.blocks.is_related_to(first.blocks):
            raise _invalid("UNRELATED_SNAPSHOTS", "The snapshots are of different volumes")
        changed = second.blocks.changed_since(first.blocks) if first else second.blocks.numbers()
        numbers, more = _page(call, changed)
        expires = int(time.time()) + TOKEN_SECONDS
        rows = []
        for number in numbers:
            row: dict[str, Any] = {"BlockIndex": number}
            for name, snapshot in (("FirstBlockToken", first), ("SecondBlockToken", second)):
                if snapshot is not None and snapshot.blocks.owner(number) is not None:
                    row[name] = self._token(snapshot.blocks.identifier, number, expires)
            rows.append(row)
        return json_answer({"ChangedBlocks": rows, **_frame(second, expires, more)})

    # -- what machines start with

    def disk_of(self, instance_id: str, image_id: str) -> Path | None:
        """A file with the content of the snapshot under the image, made when first asked for; the machine's own."""
        identifier = root_snapshot(image_id)
        if not identifier:
            return None
        snapshot = self._completed(identifier)
        path = self._folder / "disks" / instance_id
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".making")
            with unfinished.open("wb") as stream:
                stream.truncate(snapshot.size_gib * GIB)
                for number in snapshot.blocks.numbers():
                    held = snapshot.blocks.read(number)
                    if held is not None:
                        stream.seek(number * BLOCK_BYTES)
                        stream.write(held[0])
            unfinished.replace(path)
        return path

    # -- small print

    def _known(self, identifier: str) -> _Snapshot:
        snapshot = self._snapshots.get(identifier)
        if snapshot is None or identifier not in snapshot.ec2.ec2_backend.snapshots:
            raise _missing(identifier)
        return snapshot

    def _completed(self, identifier: str) -> _Snapshot:
        snapshot = self._known(identifier)
        if snapshot.ec2.status != "completed":
            raise _invalid("INVALID_SNAPSHOT_ID", f"The snapshot {identifier} is {snapshot.ec2.status}")
        return snapshot

    def _snapshot_and_block(self, call: AwsCall) -> tuple[_Snapshot, int]:
        _, _, identifier, _, text = call.path.split("/")
        snapshot = self._known(identifier)
        _check_key(call, snapshot.kms_key)
        if not text.isdigit() or int(text) >= snapshot.size_gib * GIB // BLOCK_BYTES:
            raise _invalid("INVALID_BLOCK", f"Block {text} is outside of the volume")
        return snapshot, int(text)

    def _token(self, identifier: str, number: int, expires: int) -> str:
        text = f"{identifier}/{number}/{expires}"
        seal = hmac.new(self._secret, text.encode(), "sha256").digest()
        return base64.urlsafe_b64encode(seal + str(expires).encode()).decode()

    def _check_token(self, token: str, identifier: str, number: int) -> None:
        try:
            expires = int(base64.urlsafe_b64decode(token)[32:])
        except (ValueError, binascii.Error):
            raise _invalid("INVALID_BLOCK_TOKEN", "The block token is not valid") from None
        if not hmac.compare_digest(token, self._token(identifier, number, expires)):
            raise _invalid("INVALID_BLOCK_TOKEN", "The block token belongs to another block")
        if expires < max(time.time(), self._over_until):
            raise _invalid("INVALID_BLOCK_TOKEN", "The block token has expired")

    def end_tokens(self, method: str, body: bytes) -> Answer:
        """`/_lab/tokens`: DELETE ends all block tokens that were given, as seven days would; POST takes that back."""
        self._over_until = time.time() + TOKEN_SECONDS + 1 if method == "DELETE" else 0.0
        return json_answer({"over_until": self._over_until}, 200)

    def _own_secret(self) -> bytes:
        """Tokens stay good over a restart of the cloud."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "token_secret"
        if not path.exists():
            path.write_bytes(secrets.token_bytes(32))
            path.chmod(0o600)
        return path.read_bytes()


def _check_key(call: AwsCall, arn: str) -> None:
    """EBS user guide, "Encryption outcomes for EBS direct APIs": blocks go through the snapshot's key, in and out."""
    key = kms_backends[ACCOUNT][call.region].keys.get(arn.rpartition("/")[2]) if arn else None
    if arn and (key is None or key.key_state != "Enabled"):
        raise _invalid("INVALID_CUSTOMER_KEY", f"The key {arn} is missing or not enabled")


def _invalid(reason: str, message: str) -> AwsError:
    return AwsError("ValidationException", message, 400, reason=reason)


def _missing(identifier: str) -> AwsError:
    return AwsError(
        "ResourceNotFoundException", f"The snapshot '{identifier}' does not exist.", 404, reason="SNAPSHOT_NOT_FOUND"
    )


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _frame(snapshot: _Snapshot, expires: int, more: str) -> dict[str, Any]:
    told: dict[str, Any] = {"ExpiryTime": expires, "VolumeSize": snapshot.size_gib, "BlockSize": BLOCK_BYTES}
    return {**told, "NextToken": more} if more else told


def _page(call: AwsCall, numbers: list[int]) -> tuple[list[int], str]:
    """The numbers of one page and the token of the next. A page token and a starting index exclude each other."""
    wanted = int(call.query.get("maxResults", RESULTS_DEFAULT))
    if not RESULTS_MIN <= wanted <= RESULTS_MAX:
        raise _invalid("INVALID_PARAMETER_VALUE", f"MaxResults must be from {RESULTS_MIN} to {RESULTS_MAX}")
    start = int(call.query.get("startingBlockIndex", 0))
    if "pageToken" in call.query:
        try:
            start = int(base64.urlsafe_b64decode(call.query["pageToken"]))
        except (ValueError, binascii.Error):
            raise _invalid("INVALID_PAGE_TOKEN", "The page token is not valid") from None
    left = [number for number in numbers if number >= start]
    more = base64.urlsafe_b64encode(str(left[wanted]).encode()).decode() if len(left) > wanted else ""
    return left[:wanted], more
