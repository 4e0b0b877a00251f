"""The lab's EBS direct APIs refuse what AWS refuses. Each class cites the reference that decides."""

import base64
import hashlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakes.aws_cloud import AwsCloud, running_cloud

pytestmark = pytest.mark.platform("ssh")
BLOCK = 512 * 1024


@pytest.fixture(scope="module")
def ebs(cloud: AwsCloud) -> Any:
    return cloud.client("ebs")


def refused(call: Callable[..., Any], **wish: Any) -> tuple[str, str]:
    """The error's code and reason."""
    with pytest.raises(ClientError) as caught:
        call(**wish)
    return caught.value.response["Error"]["Code"], str(caught.value.response.get("Reason", ""))


def digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def aggregate(*contents: bytes) -> str:
    return digest(b"".join(hashlib.sha256(content).digest() for content in contents))


def put(ebs: Any, snapshot: str, index: int, content: bytes, **other: Any) -> Any:
    wish = {"DataLength": len(content), "Checksum": digest(content), "ChecksumAlgorithm": "SHA256", **other}
    return ebs.put_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockData=content, **wish)


def await_completed(cloud: AwsCloud, snapshot: str) -> None:
    until = time.monotonic() + 20
    while cloud.client("ec2").describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"] != "completed":
        assert time.monotonic() < until
        time.sleep(0.05)


def made(cloud: AwsCloud, blocks: dict[int, bytes], *, parent: str | None = None) -> str:
    ebs = cloud.client("ebs")
    more = {"ParentSnapshotId": parent} if parent else {}
    snapshot = str(ebs.start_snapshot(VolumeSize=1, **more)["SnapshotId"])
    for index, content in blocks.items():
        put(ebs, snapshot, index, content)
    ebs.complete_snapshot(
        SnapshotId=snapshot,
        ChangedBlocksCount=len(blocks),
        Checksum=aggregate(*(blocks[index] for index in sorted(blocks))),
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    await_completed(cloud, snapshot)
    return snapshot


class TestStart:
    """https://docs.aws.amazon.com/ebs/latest/APIReference/API_StartSnapshot.html: block size 524288; ClientToken;
    ParentSnapshotId; VolumeSize not below the parent's.
    """

    def test_blocks_are_half_a_mebibyte_and_the_snapshot_is_pending(self, ebs: Any) -> None:
        told = ebs.start_snapshot(VolumeSize=1, Description="d", Tags=[{"Key": "k", "Value": "v"}])
        assert (told["BlockSize"], told["Status"], told["VolumeSize"]) == (524288, "pending", 1)
        assert told["Tags"] == [{"Key": "k", "Value": "v"}]

    def test_a_client_token_makes_one_snapshot_and_only_for_one_wish(self, ebs: Any) -> None:
        wish = {"VolumeSize": 1, "ClientToken": "token-of-this-test"}
        assert ebs.start_snapshot(**wish)["SnapshotId"] == ebs.start_snapshot(**wish)["SnapshotId"]
        assert refused(ebs.start_snapshot, **{**wish, "VolumeSize": 2})[0] == "ConflictException"

    def test_a_parent_must_exist_be_completed_and_not_be_larger(self, ebs: Any, cloud: AwsCloud) -> None:
        missing = refused(ebs.start_snapshot, VolumeSize=1, ParentSnapshotId="snap-0123456789abcdef0")
        assert missing == ("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND")
        pending = ebs.start_snapshot(VolumeSize=2)["SnapshotId"]
        assert refused(ebs.start_snapshot, VolumeSize=2, ParentSnapshotId=pending)[0] == "ValidationException"
        ebs.complete_snapshot(SnapshotId=pending, ChangedBlocksCount=0)
        await_completed(cloud, pending)
        smaller = refused(ebs.start_snapshot, VolumeSize=1, ParentSnapshotId=pending)
        assert smaller == ("ValidationException", "INVALID_VOLUME_SIZE")

    def test_encryption_with_a_key_that_is_not_enabled_is_refused(self, ebs: Any, cloud: AwsCloud) -> None:
        kms = cloud.client("kms")
        key = kms.create_key()["KeyMetadata"]["Arn"]
        told = ebs.start_snapshot(VolumeSize=1, Encrypted=True, KmsKeyArn=key)
        assert told["KmsKeyArn"] == key
        shown = cloud.client("ec2").describe_snapshots(SnapshotIds=[told["SnapshotId"]])["Snapshots"][0]
        assert (shown["Encrypted"], shown["KmsKeyId"]) == (True, key)
        kms.disable_key(KeyId=key.rpartition("/")[2])
        disabled = refused(ebs.start_snapshot, VolumeSize=1, Encrypted=True, KmsKeyArn=key)
        assert disabled == ("ValidationException", "INVALID_CUSTOMER_KEY")

    def test_a_key_without_encryption_is_refused(self, ebs: Any, cloud: AwsCloud) -> None:
        key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
        assert refused(ebs.start_snapshot, VolumeSize=1, KmsKeyArn=key)[1] == "INVALID_DEPENDENCY_REQUEST"

    @pytest.mark.parametrize(
        ("wish", "reason"),
        [
            ({"VolumeSize": 64 * 1024 + 1}, "INVALID_VOLUME_SIZE"),
            ({"VolumeSize": 1, "Timeout": 4321}, "INVALID_PARAMETER_VALUE"),
        ],
    )
    def test_sizes_and_times_have_bounds(self, ebs: Any, wish: dict[str, Any], reason: str) -> None:
        assert refused(ebs.start_snapshot, **wish) == ("ValidationException", reason)

    def test_what_nothing_comes_for_is_given_up(self, ebs: Any, cloud: AwsCloud) -> None:
        """ "Timeout … the snapshot status changes to error if no progress is made"."""
        snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
        cloud.give_up_pending()
        [shown] = cloud.client("ec2").describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
        assert shown["State"] == "error"
        assert refused(lambda: put(ebs, snapshot, 0, bytes(BLOCK)))[1] == "INVALID_SNAPSHOT_ID"
        assert refused(ebs.list_snapshot_blocks, SnapshotId=snapshot)[0] == "ValidationException"


class TestPut:
    """https://docs.aws.amazon.com/ebs/latest/APIReference/API_PutSnapshotBlock.html: "DataLength … only supported
    value is 524288"; the checksum is verified.
    """

    @pytest.fixture
    def snapshot(self, ebs: Any) -> str:
        return str(ebs.start_snapshot(VolumeSize=1)["SnapshotId"])

    def test_the_answer_repeats_the_digest_of_what_was_received(self, ebs: Any, snapshot: str) -> None:
        content = os.urandom(BLOCK)
        told = put(ebs, snapshot, 0, content)
        assert (told["Checksum"], told["ChecksumAlgorithm"]) == (digest(content), "SHA256")

    def test_a_wrong_digest_is_refused(self, ebs: Any, snapshot: str) -> None:
        wrong = {"Checksum": digest(b"other")}
        assert refused(lambda: put(ebs, snapshot, 0, bytes(BLOCK), **wrong)) == ("ValidationException", "INVALID_BLOCK")

    def test_a_short_block_is_refused(self, ebs: Any, snapshot: str) -> None:
        assert refused(lambda: put(ebs, snapshot, 0, b"short")) == ("ValidationException", "INVALID_BLOCK")

    def test_a_block_outside_of_the_volume_is_refused(self, ebs: Any, snapshot: str) -> None:
        put(ebs, snapshot, 2047, bytes(BLOCK))
        assert refused(lambda: put(ebs, snapshot, 2048, bytes(BLOCK)))[1] == "INVALID_BLOCK"

    def test_a_sealed_snapshot_takes_no_more_blocks(self, ebs: Any, cloud: AwsCloud) -> None:
        snapshot = made(cloud, {0: bytes(BLOCK)})
        assert refused(lambda: put(ebs, snapshot, 1, bytes(BLOCK)))[1] == "INVALID_SNAPSHOT_ID"

    def test_blocks_go_in_and_out_by_an_enabled_key_alone(self, ebs: Any, cloud: AwsCloud) -> None:
        """https://docs.aws.amazon.com/ebs/latest/userguide/ebsapi-using-encryption.html"""
        kms = cloud.client("kms")
        key = kms.create_key()["KeyMetadata"]
        snapshot = ebs.start_snapshot(VolumeSize=1, Encrypted=True, KmsKeyArn=key["Arn"])["SnapshotId"]
        put(ebs, snapshot, 0, bytes(BLOCK))
        kms.disable_key(KeyId=key["KeyId"])
        assert refused(lambda: put(ebs, snapshot, 1, bytes(BLOCK)))[1] == "INVALID_CUSTOMER_KEY"
        kms.enable_key(KeyId=key["KeyId"])
        ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1)
        await_completed(cloud, snapshot)
        [block] = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
        kms.disable_key(KeyId=key["KeyId"])
        assert refused(ebs.get_snapshot_block, SnapshotId=snapshot, **block)[1] == "INVALID_CUSTOMER_KEY"

    def test_an_unknown_snapshot_is_not_found(self, ebs: Any) -> None:
        assert refused(lambda: put(ebs, "snap-0123456789abcdef0", 0, bytes(BLOCK)))[1] == "SNAPSHOT_NOT_FOUND"


class TestComplete:
    """https://docs.aws.amazon.com/ebs/latest/APIReference/API_CompleteSnapshot.html: ChangedBlocksCount, and the
    LINEAR aggregate: digests in ascending order, concatenated.
    """

    def test_the_count_must_be_what_was_written(self, ebs: Any) -> None:
        snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
        for content in (b"a", b"b"):  # one block, written twice
            put(ebs, snapshot, 5, content * BLOCK)
        for wrong in (0, 2):
            code, _ = refused(ebs.complete_snapshot, SnapshotId=snapshot, ChangedBlocksCount=wrong)
            assert code == "ValidationException"
        assert ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1)["Status"] in ("pending", "completed")

    def test_the_aggregate_is_in_the_order_of_the_blocks_not_of_the_calls(self, ebs: Any, cloud: AwsCloud) -> None:
        one, two = os.urandom(BLOCK), os.urandom(BLOCK)
        snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
        put(ebs, snapshot, 9, two)
        put(ebs, snapshot, 3, one)
        wish = {"ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR"}
        sealing = {"SnapshotId": snapshot, "ChangedBlocksCount": 2, **wish}
        assert refused(ebs.complete_snapshot, Checksum=aggregate(two, one), **sealing)[0] == "ValidationException"
        ebs.complete_snapshot(Checksum=aggregate(one, two), **sealing)
        await_completed(cloud, snapshot)

    def test_completing_twice_is_completing_once(self, ebs: Any, cloud: AwsCloud) -> None:
        snapshot = made(cloud, {0: bytes(BLOCK)})
        assert ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1)["Status"] == "completed"


class TestRead:
    """https://docs.aws.amazon.com/ebs/latest/APIReference/API_ListSnapshotBlocks.html, …/API_ListChangedBlocks.html,
    …/API_GetSnapshotBlock.html: tokens and their end, pages, lineage.
    """

    def test_what_was_written_is_read_with_its_digest(self, ebs: Any, cloud: AwsCloud) -> None:
        content = {0: os.urandom(BLOCK), 7: os.urandom(BLOCK)}
        snapshot = made(cloud, content)
        listed = ebs.list_snapshot_blocks(SnapshotId=snapshot)
        assert (listed["BlockSize"], listed["VolumeSize"]) == (BLOCK, 1)
        assert [block["BlockIndex"] for block in listed["Blocks"]] == [0, 7]
        for block in listed["Blocks"]:
            got = ebs.get_snapshot_block(SnapshotId=snapshot, **block)
            read = got["BlockData"].read()
            assert read == content[block["BlockIndex"]]
            assert got["Checksum"] == digest(read)

    def test_a_pending_snapshot_is_not_listed(self, ebs: Any) -> None:
        snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
        assert refused(ebs.list_snapshot_blocks, SnapshotId=snapshot)[0] == "ValidationException"

    def test_a_token_is_good_for_its_block_alone(self, ebs: Any, cloud: AwsCloud) -> None:
        snapshot = made(cloud, {0: bytes(BLOCK), 1: bytes(BLOCK)})
        token = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"][0]["BlockToken"]
        for wrong in ({"BlockIndex": 1, "BlockToken": token}, {"BlockIndex": 0, "BlockToken": "nonsense"}):
            assert refused(ebs.get_snapshot_block, SnapshotId=snapshot, **wrong)[1] == "INVALID_BLOCK_TOKEN"

    def test_a_token_whose_time_is_over_reads_nothing_and_a_new_one_does(self, ebs: Any, cloud: AwsCloud) -> None:
        snapshot = made(cloud, {3: bytes(BLOCK)})
        told = ebs.list_snapshot_blocks(SnapshotId=snapshot)
        assert timedelta(days=6) < told["ExpiryTime"] - datetime.now(UTC) <= timedelta(days=7)
        [block] = told["Blocks"]
        with cloud.tokens_over():
            over = refused(ebs.get_snapshot_block, SnapshotId=snapshot, **block)
        assert over == ("ValidationException", "INVALID_BLOCK_TOKEN")
        assert ebs.get_snapshot_block(SnapshotId=snapshot, **block)["BlockData"].read() == bytes(BLOCK)

    def test_a_child_shows_its_parents_blocks_under_its_own(self, ebs: Any, cloud: AwsCloud) -> None:
        old, new = os.urandom(BLOCK), os.urandom(BLOCK)
        parent = made(cloud, {0: old, 3: old})
        child = made(cloud, {3: new, 4: new}, parent=parent)
        listed = ebs.list_snapshot_blocks(SnapshotId=child)["Blocks"]
        assert [block["BlockIndex"] for block in listed] == [0, 3, 4]
        read = [ebs.get_snapshot_block(SnapshotId=child, **block)["BlockData"].read() for block in listed]
        assert read == [old, new, new]
        # The parent is as it was.
        kept = ebs.list_snapshot_blocks(SnapshotId=parent)["Blocks"]
        assert [block["BlockIndex"] for block in kept] == [0, 3]

    def test_changed_blocks_are_those_that_the_second_wrote(self, ebs: Any, cloud: AwsCloud) -> None:
        first = made(cloud, {0: bytes(BLOCK), 3: bytes(BLOCK)})
        second = made(cloud, {3: os.urandom(BLOCK), 4: os.urandom(BLOCK)}, parent=first)
        rows = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)["ChangedBlocks"]
        assert [(row["BlockIndex"], "FirstBlockToken" in row) for row in rows] == [(3, True), (4, False)]

    def test_changed_blocks_over_generations_either_way(self, ebs: Any, cloud: AwsCloud) -> None:
        """Also a block that was written anew with the content it had: EBS compares what was written."""
        same = os.urandom(BLOCK)
        first = made(cloud, {0: same, 1: os.urandom(BLOCK)})
        second = made(cloud, {1: os.urandom(BLOCK), 9: os.urandom(BLOCK)}, parent=first)
        third = made(cloud, {2: os.urandom(BLOCK), 0: same}, parent=second)

        def changed(one: str, other: str, **more: Any) -> list[tuple[int, bool, bool]]:
            told = ebs.list_changed_blocks(FirstSnapshotId=one, SecondSnapshotId=other, **more)
            assert (told["BlockSize"], told["VolumeSize"]) == (BLOCK, 1)
            rows = told["ChangedBlocks"]
            return [(row["BlockIndex"], "FirstBlockToken" in row, "SecondBlockToken" in row) for row in rows]

        assert changed(first, third) == [(0, True, True), (1, True, True), (2, False, True), (9, False, True)]
        assert changed(third, second) == [(0, True, True), (2, True, False)]
        assert changed(first, third, StartingBlockIndex=2) == [(2, False, True), (9, False, True)]
        assert changed(third, third) == []
        [_, row, *_] = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=third)["ChangedBlocks"]
        for snapshot, name in ((first, "FirstBlockToken"), (third, "SecondBlockToken")):
            got = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=row["BlockIndex"], BlockToken=row[name])
            assert digest(got["BlockData"].read()) == got["Checksum"]

    def test_snapshots_of_different_lineage_are_not_compared(self, ebs: Any, cloud: AwsCloud) -> None:
        one, other = made(cloud, {0: bytes(BLOCK)}), made(cloud, {0: bytes(BLOCK)})
        wish = {"FirstSnapshotId": one, "SecondSnapshotId": other}
        assert refused(ebs.list_changed_blocks, **wish)[1] == "UNRELATED_SNAPSHOTS"

    def test_long_lists_come_in_pages(self, ebs: Any, cloud: AwsCloud) -> None:
        snapshot = made(cloud, dict.fromkeys(range(130), bytes(BLOCK)))
        first = ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100)
        second = ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100, NextToken=first["NextToken"])
        assert [len(first["Blocks"]), len(second["Blocks"])] == [100, 30]
        assert "NextToken" not in second
        later = ebs.list_snapshot_blocks(SnapshotId=snapshot, StartingBlockIndex=120)
        assert [block["BlockIndex"] for block in later["Blocks"]] == list(range(120, 130))


class TestTrouble:
    """https://docs.aws.amazon.com/ebs/latest/APIReference/CommonErrors.html and API_PutSnapshotBlock.html:
    RequestThrottledException (400), InternalServerException (500); the SDK tries both again.
    """

    @pytest.mark.parametrize("kind", ["throttle", "error", "drop_before", "drop_after"])
    def test_trouble_passes_and_the_block_is_there(self, ebs: Any, cloud: AwsCloud, kind: str) -> None:
        snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
        cloud.put_faults({"kind": kind, "service": "ebs", "action": "PutSnapshotBlock", "count": 2})
        content = os.urandom(BLOCK)
        put(ebs, snapshot, 0, content)
        cloud.heal()
        wish = {"ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR"}
        ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1, Checksum=aggregate(content), **wish)

    def test_a_throttled_call_says_when_to_come_again(self, cloud: AwsCloud) -> None:
        """https://docs.aws.amazon.com/ebs/latest/userguide/ebsapi-error-retries.html"""
        impatient = cloud.session(attempts_max=1).client("ebs")
        cloud.put_faults({"kind": "throttle", "service": "ebs", "count": 1, "seconds": 3})
        with pytest.raises(ClientError) as caught:
            impatient.start_snapshot(VolumeSize=1)
        assert caught.value.response["Error"]["Code"] == "RequestThrottledException"
        assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "3"

    def test_a_wrong_digest_in_an_answer_can_be_seen(self, ebs: Any, cloud: AwsCloud) -> None:
        snapshot = made(cloud, {0: os.urandom(BLOCK)})
        [block] = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
        cloud.put_faults({"kind": "wrong_digest", "service": "ebs", "action": "GetSnapshotBlock"})
        got = ebs.get_snapshot_block(SnapshotId=snapshot, **block)
        cloud.heal()
        assert got["Checksum"] != digest(got["BlockData"].read())


def test_snapshots_outlive_the_process_of_the_cloud(tmp_path: Path) -> None:
    content = os.urandom(BLOCK)
    with running_cloud(tmp_path) as first:
        snapshot = made(first, {0: content})
        half = first.client("ebs").start_snapshot(VolumeSize=1, ClientToken="half")["SnapshotId"]
        put(first.client("ebs"), half, 1, content)
        token = first.client("ebs").list_snapshot_blocks(SnapshotId=snapshot)["Blocks"][0]["BlockToken"]
    with running_cloud(tmp_path) as second:
        ebs = second.client("ebs")
        read = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=0, BlockToken=token)["BlockData"].read()
        assert read == content
        assert ebs.start_snapshot(VolumeSize=1, ClientToken="half")["SnapshotId"] == half
        put(ebs, half, 2, content)
        ebs.complete_snapshot(SnapshotId=half, ChangedBlocksCount=2)
