"""The lab's S3: checksums of whole objects, tags, and small print of uploads. Each class cites what decides."""

import base64
import os
from typing import Any

import pytest
from botocore.exceptions import ClientError

from orchestrator.lab.cloud.strict.checksums import checksum
from tests.fakes.aws_cloud import AwsCloud
from tests.platform.test_strict_s3 import MIB, put_raw, refused

pytestmark = pytest.mark.platform("ssh")
BUCKET = "wholes"
WHOLE = ["CRC32", "CRC32C", "CRC64NVME"]
OF_PARTS = ["CRC32", "CRC32C", "SHA1", "SHA256"]


@pytest.fixture(scope="module")
def s3(cloud: AwsCloud) -> Any:
    client = cloud.client("s3")
    where = {"CreateBucketConfiguration": {"LocationConstraint": cloud.region}}
    client.create_bucket(Bucket="wholes-locked", ObjectLockEnabledForBucket=True, **where)
    return client


def begun(s3: Any, key: str, **wish: Any) -> dict[str, str]:
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key, **wish)["UploadId"]
    return {"Bucket": BUCKET, "Key": key, "UploadId": upload}


def sent(s3: Any, upload: dict[str, str], algorithm: str, *contents: bytes) -> list[dict[str, Any]]:
    """Each part as CompleteMultipartUpload names it."""
    field, parts = f"Checksum{algorithm}", []
    for number, content in enumerate(contents, 1):
        value = checksum(algorithm.lower(), content)
        told = s3.upload_part(PartNumber=number, Body=content, **upload, **{field: value})
        parts.append({"PartNumber": number, "ETag": told["ETag"], field: value})
    return parts


class TestWholeObjects:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html, "Full object and
    composite checksum types": CRC64NVME is of the whole object alone, SHA of the parts alone, CRC32 and CRC32C either.
    """

    @pytest.mark.parametrize("algorithm", WHOLE)
    def test_a_whole_objects_checksum_is_that_of_its_content(self, s3: Any, algorithm: str) -> None:
        contents = [os.urandom(5 * MIB), b"the end"] if algorithm == "CRC32" else [b"all of it"]
        field, key = f"Checksum{algorithm}", f"whole-{algorithm}"
        upload = begun(s3, key, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
        parts = sent(s3, upload, algorithm, *contents)
        wanted = checksum(algorithm.lower(), b"".join(contents))
        wrong = {field: checksum(algorithm.lower(), b"other"), "ChecksumType": "FULL_OBJECT"}
        complete = {"MultipartUpload": {"Parts": parts}, **upload}
        assert refused(s3.complete_multipart_upload, **complete, **wrong) == "BadDigest"
        assert refused(s3.complete_multipart_upload, **complete, ChecksumType="COMPOSITE") == "InvalidRequest"
        s3.complete_multipart_upload(**complete, **{**wrong, field: wanted})
        head = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        assert (head[field], head["ChecksumType"]) == (wanted, "FULL_OBJECT")

    def test_crc64nvme_is_of_the_whole_object_where_nothing_is_said(self, s3: Any) -> None:
        upload = begun(s3, "usual", ChecksumAlgorithm="CRC64NVME")
        parts = [{key: each[key] for key in ("PartNumber", "ETag")} for each in sent(s3, upload, "CRC64NVME", b"x")]
        s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)  # its parts need not be named by it
        head = s3.head_object(Bucket=BUCKET, Key="usual", ChecksumMode="ENABLED")
        assert (head["ChecksumCRC64NVME"], head["ChecksumType"]) == (checksum("crc64nvme", b"x"), "FULL_OBJECT")

    @pytest.mark.parametrize(
        ("algorithm", "kind"), [("CRC64NVME", "COMPOSITE"), ("SHA1", "FULL_OBJECT"), ("SHA256", "FULL_OBJECT")]
    )
    def test_what_does_not_go_together_is_refused_at_the_begin(self, s3: Any, algorithm: str, kind: str) -> None:
        wish = {"ChecksumAlgorithm": algorithm, "ChecksumType": kind}
        assert refused(s3.create_multipart_upload, Bucket=BUCKET, Key="never", **wish) == "InvalidRequest"

    @pytest.mark.parametrize("algorithm", OF_PARTS)
    def test_a_composite_checksum_is_made_of_those_of_all_parts(self, s3: Any, algorithm: str) -> None:
        key, field = f"parts-{algorithm}", f"Checksum{algorithm}"
        upload = begun(s3, key, ChecksumAlgorithm=algorithm)
        parts = sent(s3, upload, algorithm, b"all of it")
        bare = [{name: each[name] for name in ("PartNumber", "ETag")} for each in parts]
        assert refused(s3.complete_multipart_upload, MultipartUpload={"Parts": bare}, **upload) == "InvalidRequest"
        told = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)
        digest = base64.b64decode(checksum(algorithm.lower(), b"all of it"))
        head = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        assert head[field] == f"{checksum(algorithm.lower(), digest)}-1"
        assert told["ETag"].strip('"').endswith("-1")

    def test_a_checksum_behind_the_body_is_compared_too(self, s3: Any, cloud: AwsCloud) -> None:
        """API reference, "Trailing headers": x-amz-trailer names it, the last chunk is followed by it."""

        def framed(value: str) -> bytes:
            return b"7\r\ncontent\r\n0\r\nx-amz-checksum-crc32:" + value.encode() + b"\r\n\r\n"

        headers = {
            "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "x-amz-decoded-content-length": "7",
            "x-amz-trailer": "x-amz-checksum-crc32",
            "Content-Encoding": "aws-chunked",
        }
        path = f"/{BUCKET}/trailed"
        assert put_raw(cloud, path, framed(checksum("crc32", b"other")), headers) == 400
        assert put_raw(cloud, path, b"7\r\ncontent\r\n0\r\n\r\n", headers) == 400  # it was announced
        assert put_raw(cloud, path, framed(checksum("crc32", b"content")), headers) == 200
        assert s3.get_object(Bucket=BUCKET, Key="trailed")["Body"].read() == b"content"


class TestUploads:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html, "Special errors";
    …/API_AbortMultipartUpload.html
    """

    def test_parts_are_listed_in_order_and_make_the_size_that_was_said(self, s3: Any) -> None:
        upload = begun(s3, "order", ChecksumAlgorithm="SHA256")
        parts = sent(s3, upload, "SHA256", os.urandom(5 * MIB), b"end")
        turned = {"Parts": parts[::-1]}
        assert refused(s3.complete_multipart_upload, MultipartUpload=turned, **upload) == "InvalidPartOrder"
        wish = {"MultipartUpload": {"Parts": parts}, **upload}
        assert refused(s3.complete_multipart_upload, MpuObjectSize=5, **wish) == "InvalidRequest"
        s3.complete_multipart_upload(MpuObjectSize=5 * MIB + 3, **wish)
        assert s3.head_object(Bucket=BUCKET, Key="order")["ContentLength"] == 5 * MIB + 3

    def test_what_was_given_up_is_gone(self, s3: Any) -> None:
        upload = begun(s3, "given-up", ChecksumAlgorithm="SHA256")
        parts = sent(s3, upload, "SHA256", b"part")
        s3.abort_multipart_upload(**upload)
        assert refused(s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **upload) == "NoSuchUpload"
        assert refused(s3.list_parts, **upload) == "NoSuchUpload"
        assert refused(s3.upload_part, PartNumber=1, Body=b"x", **upload) == "NoSuchUpload"
        listed = s3.list_multipart_uploads(Bucket=BUCKET, Prefix="given-up").get("Uploads", [])
        assert listed == []

    def test_a_condition_on_what_is_not_there(self, s3: Any) -> None:
        """https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html: If-Match without an object
        of that name is 404.
        """
        wish = {"Bucket": BUCKET, "Key": "nothing", "Body": b"x", "IfMatch": '"00000000000000000000000000000000"'}
        assert refused(s3.put_object, **wish) == "NoSuchKey"


class TestTags:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html: up to ten tags, each key once, of 128
    characters, values of 256; an upload in parts is tagged when it is begun.
    """

    def test_tags_come_with_the_object_also_where_it_came_in_parts(self, s3: Any) -> None:
        s3.put_object(Bucket=BUCKET, Key="tagged", Body=b"x", Tagging="skerry%3Arun=r1&of=filing")
        upload = begun(s3, "tagged-parts", Tagging="skerry%3Arun=r1&of=filing")
        tag = s3.upload_part(PartNumber=1, Body=b"x", **upload)["ETag"]
        s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]}, **upload)
        for key in ("tagged", "tagged-parts"):
            told = s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
            assert {each["Key"]: each["Value"] for each in told} == {"skerry:run": "r1", "of": "filing"}

    @pytest.mark.parametrize(
        ("tags", "code"),
        [
            ("&".join(f"k{number}=v" for number in range(11)), "BadRequest"),
            ("a=1&a=2", "InvalidTag"),
            ("k" * 129 + "=v", "InvalidTag"),
            ("k=" + "v" * 257, "InvalidTag"),
        ],
    )
    def test_tags_have_bounds(self, s3: Any, tags: str, code: str) -> None:
        assert refused(s3.put_object, Bucket=BUCKET, Key="untagged", Body=b"x", Tagging=tags) == code
        assert refused(s3.create_multipart_upload, Bucket=BUCKET, Key="untagged", Tagging=tags) == code


class TestLockedPuts:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html and …/userguide/object-lock.html"""

    LOCK = {"x-amz-object-lock-mode": "COMPLIANCE", "x-amz-object-lock-retain-until-date": "2036-01-01T00:00:00Z"}

    def test_what_is_locked_is_checked(self, s3: Any, cloud: AwsCloud) -> None:
        path = "/wholes-locked/object"
        assert put_raw(cloud, path, b"content", self.LOCK) == 400  # neither Content-MD5 nor the algorithm is named
        assert refused(s3.head_object, Bucket="wholes-locked", Key="object") == "404"
        named = {"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": checksum("sha256", b"content")}
        checked = {**self.LOCK, **named}
        assert put_raw(cloud, path, b"content", checked) == 200
        assert put_raw(cloud, f"/{BUCKET}/object", b"content", checked) == 400  # that bucket locks nothing

    def test_a_legal_hold_keeps_a_version_until_it_is_lifted(self, s3: Any) -> None:
        version = s3.put_object(Bucket="wholes-locked", Key="held", Body=b"kept")["VersionId"]
        where = {"Bucket": "wholes-locked", "Key": "held", "VersionId": version}
        s3.put_object_legal_hold(LegalHold={"Status": "ON"}, **where)
        assert refused(s3.delete_object, **where) == "AccessDenied"
        s3.put_object_legal_hold(LegalHold={"Status": "OFF"}, **where)
        s3.delete_object(**where)
        with pytest.raises(ClientError):
            s3.head_object(**where)

    def test_a_bucket_that_locks_keeps_its_versions(self, s3: Any) -> None:
        """ "Versioning can't be suspended" once Object Lock is enabled."""
        wish = {"Bucket": "wholes-locked", "VersioningConfiguration": {"Status": "Suspended"}}
        assert refused(s3.put_bucket_versioning, **wish) == "InvalidBucketState"

    def test_what_is_put_over_a_locked_version_is_another_version(self, s3: Any) -> None:
        lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": "2036-01-01T00:00:00Z"}
        first = s3.put_object(Bucket="wholes-locked", Key="over", Body=b"first", **lock)["VersionId"]
        s3.put_object(Bucket="wholes-locked", Key="over", Body=b"second")
        where = {"Bucket": "wholes-locked", "Key": "over"}
        assert s3.get_object(**where)["Body"].read() == b"second"
        assert s3.get_object(VersionId=first, **where)["Body"].read() == b"first"
