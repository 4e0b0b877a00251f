"""The lab's S3 refuses what S3 refuses. Each class cites the documentation that decides."""

import base64
import hashlib
import http.client
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from orchestrator.lab.cloud.strict.checksums import ALGORITHMS, checksum
from tests.fakes.aws_cloud import AwsCloud, running_cloud

pytestmark = pytest.mark.platform("ssh")
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def s3(cloud: AwsCloud) -> Any:
    client = cloud.client("s3")
    where = {"CreateBucketConfiguration": {"LocationConstraint": cloud.region}}
    client.create_bucket(Bucket="plain", **where)
    client.create_bucket(Bucket="vault", ObjectLockEnabledForBucket=True, **where)
    return client


def refused(call: Callable[..., Any], **wish: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**wish)
    return str(caught.value.response["Error"]["Code"])


def put_raw(cloud: AwsCloud, path: str, body: bytes, headers: dict[str, str]) -> int:
    """A PUT as it is on the wire; the status of the answer."""
    key = json.loads((cloud.folder / "keys.json").read_text())
    scope = f"Credential={next(iter(key))}/20260101/{cloud.region}/s3/aws4_request"
    connection = http.client.HTTPConnection(urlsplit(cloud.url).netloc, timeout=60)
    try:
        signed = f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"
        connection.request("PUT", path, body, {**headers, "Authorization": signed})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("algorithm", "check_value"),
    [
        ("crc32", "cbf43926"),
        ("crc32c", "e3069283"),
        ("crc64nvme", "ae8b14860a799888"),
        ("sha1", hashlib.sha1(b"123456789").hexdigest()),
        ("sha256", hashlib.sha256(b"123456789").hexdigest()),
    ],
)
def test_the_published_check_values(algorithm: str, check_value: str) -> None:
    assert base64.b64decode(checksum(algorithm, b"123456789")).hex() == check_value


class TestIntegrity:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html: S3 compares the value
    you send with its own, and stores on a match.
    """

    @pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
    def test_a_right_checksum_is_taken_and_told(self, s3: Any, algorithm: str) -> None:
        field = f"Checksum{algorithm.upper()}"
        content = os.urandom(1000)
        s3.put_object(Bucket="plain", Key=algorithm, Body=content, **{field: checksum(algorithm, content)})
        assert s3.get_object(Bucket="plain", Key=algorithm)["Body"].read() == content

    @pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
    def test_a_wrong_checksum_stores_nothing(self, s3: Any, algorithm: str) -> None:
        field = f"Checksum{algorithm.upper()}"
        wrong = {field: checksum(algorithm, b"other")}
        assert refused(s3.put_object, Bucket="plain", Key="never", Body=b"content", **wrong) == "BadDigest"
        assert refused(s3.head_object, Bucket="plain", Key="never") == "404"

    def test_a_wrong_md5_is_refused(self, s3: Any) -> None:
        wrong = base64.b64encode(bytes(16)).decode()
        assert refused(s3.put_object, Bucket="plain", Key="x", Body=b"content", ContentMD5=wrong) == "BadDigest"

    def test_an_md5_is_of_the_content_also_where_the_body_comes_in_signed_chunks(
        self, s3: Any, cloud: AwsCloud
    ) -> None:
        """API reference, "Signature calculations: chunked upload": the MD5 is of the object, not of the frame."""
        content = b"in two pieces"
        frame = b"".join(
            b"%x;chunk-signature=%s\r\n%s\r\n" % (len(piece), b"0" * 64, piece)
            for piece in (content[:6], content[6:], b"")
        )
        headers = {
            "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "x-amz-decoded-content-length": str(len(content)),
            "Content-Encoding": "aws-chunked",
        }
        right = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        of_frame = base64.b64encode(hashlib.md5(frame, usedforsecurity=False).digest()).decode()
        assert put_raw(cloud, "/plain/chunked", frame, {**headers, "Content-MD5": of_frame}) == 400
        assert put_raw(cloud, "/plain/chunked", frame, {**headers, "Content-MD5": right}) == 200
        assert s3.get_object(Bucket="plain", Key="chunked")["Body"].read() == content

    def test_parts_are_checked_one_by_one(self, s3: Any) -> None:
        upload = s3.create_multipart_upload(Bucket="plain", Key="parts", ChecksumAlgorithm="SHA256")["UploadId"]
        part = {"Bucket": "plain", "Key": "parts", "UploadId": upload, "PartNumber": 1, "Body": b"content"}
        assert refused(s3.upload_part, ChecksumSHA256=checksum("sha256", b"other"), **part) == "BadDigest"
        s3.upload_part(ChecksumSHA256=checksum("sha256", b"content"), **part)


class TestMultipart:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html: 10 000 parts; each but the last at
    least 5 MiB; in order.
    """

    @pytest.fixture
    def upload(self, s3: Any) -> dict[str, str]:
        made = s3.create_multipart_upload(Bucket="plain", Key="multipart")["UploadId"]
        return {"Bucket": "plain", "Key": "multipart", "UploadId": made}

    @staticmethod
    def part(s3: Any, upload: dict[str, str], number: int, content: bytes) -> dict[str, Any]:
        return {"PartNumber": number, "ETag": s3.upload_part(PartNumber=number, Body=content, **upload)["ETag"]}

    def test_parts_make_the_object(self, s3: Any, upload: dict[str, str]) -> None:
        contents = [os.urandom(5 * MIB), os.urandom(1000)]
        parts = [self.part(s3, upload, number, content) for number, content in enumerate(contents, 1)]
        s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)
        assert s3.get_object(Bucket="plain", Key="multipart")["Body"].read() == b"".join(contents)

    def test_a_small_part_before_the_last_is_refused(self, s3: Any, upload: dict[str, str]) -> None:
        parts = [self.part(s3, upload, number, b"small") for number in (1, 2)]
        assert refused(s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **upload) == "EntityTooSmall"

    def test_a_part_that_was_not_uploaded_is_refused(self, s3: Any, upload: dict[str, str]) -> None:
        parts = [{**self.part(s3, upload, 1, b"x"), "ETag": '"00000000000000000000000000000000"'}]
        assert refused(s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **upload) == "InvalidPart"

    @pytest.mark.parametrize("number", [0, 10_001])
    def test_part_numbers_have_bounds(self, s3: Any, upload: dict[str, str], number: int) -> None:
        assert refused(s3.upload_part, PartNumber=number, Body=b"x", **upload) == "InvalidArgument"


class TestPartsAreKnown:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html, …/API_UploadPartCopy.html

    Each part is told with its checksum, a copied one too, and all carry the algorithm that the upload was begun with.
    """

    @pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
    def test_parts_are_listed_with_their_checksums(self, s3: Any, algorithm: str) -> None:
        where = {"Bucket": "plain", "Key": f"listed-{algorithm}"}
        upload = s3.create_multipart_upload(ChecksumAlgorithm=algorithm, **where)["UploadId"]
        name, wanted = f"Checksum{algorithm}", checksum(algorithm.lower(), b"content")
        s3.upload_part(UploadId=upload, PartNumber=2, Body=b"content", **where, **{name: wanted})
        [part] = s3.list_parts(UploadId=upload, **where)["Parts"]
        assert (part["PartNumber"], part["Size"], part[name]) == (2, 7, wanted)

    def test_a_part_with_another_algorithm_is_refused(self, s3: Any) -> None:
        where = {"Bucket": "plain", "Key": "mixed"}
        upload = s3.create_multipart_upload(ChecksumAlgorithm="SHA256", **where)["UploadId"]
        wish = {"UploadId": upload, "PartNumber": 1, "Body": b"content", **where}
        assert refused(s3.upload_part, ChecksumCRC32=checksum("crc32", b"content"), **wish) == "InvalidRequest"

    def test_a_copied_part_has_the_checksum_of_what_was_copied(self, s3: Any) -> None:
        content = os.urandom(6 * MIB)
        s3.put_object(Bucket="plain", Key="from", Body=content)
        where = {"Bucket": "plain", "Key": "to"}
        upload = s3.create_multipart_upload(ChecksumAlgorithm="SHA256", **where)["UploadId"]
        ranges = ("bytes=0-5242879", f"bytes=5242880-{len(content) - 1}")
        pieces = (content[:5242880], content[5242880:])
        parts = []
        for number, (asked, piece) in enumerate(zip(ranges, pieces, strict=True), 1):
            wish = {"UploadId": upload, "PartNumber": number, "CopySource": "plain/from", "CopySourceRange": asked}
            told = s3.upload_part_copy(**wish, **where)["CopyPartResult"]
            assert told["ChecksumSHA256"] == checksum("sha256", piece)
            parts.append({"PartNumber": number, "ETag": told["ETag"], "ChecksumSHA256": told["ChecksumSHA256"]})
        s3.complete_multipart_upload(UploadId=upload, MultipartUpload={"Parts": parts}, **where)
        head = s3.head_object(ChecksumMode="ENABLED", **where)
        digests = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
        assert head["ChecksumSHA256"] == f"{base64.b64encode(hashlib.sha256(digests).digest()).decode()}-2"
        assert s3.get_object(**where)["Body"].read() == content


class TestVersions:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html: what is overwritten or
    deleted stays a version; a deletion without a version is a marker.
    """

    def test_what_was_overwritten_and_deleted_is_still_read_by_its_version(self, s3: Any) -> None:
        first, second = (
            s3.put_object(Bucket="vault", Key="versions", Body=body)["VersionId"] for body in (b"first", b"second")
        )
        assert s3.get_object(Bucket="vault", Key="versions")["Body"].read() == b"second"
        marker = s3.delete_object(Bucket="vault", Key="versions")
        assert marker["DeleteMarker"]
        assert refused(s3.get_object, Bucket="vault", Key="versions") == "NoSuchKey"
        for version, content in ((first, b"first"), (second, b"second")):
            assert s3.get_object(Bucket="vault", Key="versions", VersionId=version)["Body"].read() == content
        s3.delete_object(Bucket="vault", Key="versions", VersionId=marker["VersionId"])
        assert s3.get_object(Bucket="vault", Key="versions")["Body"].read() == b"second"


class TestConditionalWrites:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""

    def test_if_none_match_holds_when_parts_become_an_object_too(self, s3: Any) -> None:
        where = {"Bucket": "plain", "Key": "once-in-parts"}
        s3.put_object(Body=b"first", **where)
        upload = s3.create_multipart_upload(**where)["UploadId"]
        tag = s3.upload_part(UploadId=upload, PartNumber=1, Body=b"second", **where)["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
        wish = {"UploadId": upload, "MultipartUpload": parts, "IfNoneMatch": "*", **where}
        assert refused(s3.complete_multipart_upload, **wish) == "PreconditionFailed"
        assert s3.get_object(**where)["Body"].read() == b"first"

    def test_if_match_replaces_what_was_seen_alone(self, s3: Any) -> None:
        where = {"Bucket": "plain", "Key": "seen"}
        seen = s3.put_object(Body=b"first", **where)["ETag"]
        assert refused(s3.put_object, Body=b"x", IfMatch='"00000000000000000000000000000000"', **where) == (
            "PreconditionFailed"
        )
        s3.put_object(Body=b"second", IfMatch=seen, **where)
        assert s3.get_object(**where)["Body"].read() == b"second"

    def test_if_none_match_keeps_what_is_there(self, s3: Any) -> None:
        s3.put_object(Bucket="plain", Key="once", Body=b"first", IfNoneMatch="*")
        wish = {"Bucket": "plain", "Key": "once", "Body": b"second", "IfNoneMatch": "*"}
        assert refused(s3.put_object, **wish) == "PreconditionFailed"
        assert s3.get_object(Bucket="plain", Key="once")["Body"].read() == b"first"


class TestObjectLock:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html: in compliance mode retention can't be
    shortened, by anyone, nor its mode changed.
    """

    @staticmethod
    def locked(s3: Any, mode: str) -> dict[str, Any]:
        until = datetime.now(UTC) + timedelta(days=2)
        key = f"{mode}-{os.urandom(4).hex()}"
        put = s3.put_object(Bucket="vault", Key=key, Body=b"kept", ObjectLockMode=mode, ObjectLockRetainUntilDate=until)
        return {"Bucket": "vault", "Key": key, "VersionId": put["VersionId"]}

    @staticmethod
    def retention(mode: str, days: float) -> dict[str, Any]:
        return {"Retention": {"Mode": mode, "RetainUntilDate": datetime.now(UTC) + timedelta(days=days)}}

    @pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
    def test_a_locked_version_is_not_deleted(self, s3: Any, mode: str) -> None:
        assert refused(s3.delete_object, **self.locked(s3, mode)) == "AccessDenied"

    @pytest.mark.parametrize("bypass", [False, True])
    def test_compliance_is_never_shortened_nor_loosened(self, s3: Any, bypass: bool) -> None:
        version = self.locked(s3, "COMPLIANCE")
        more = {"BypassGovernanceRetention": bypass} if bypass else {}
        for wish in (self.retention("COMPLIANCE", 1), self.retention("GOVERNANCE", 5)):
            assert refused(s3.put_object_retention, **version, **wish, **more) == "AccessDenied"

    def test_the_default_of_a_bucket_with_objects_may_be_changed_for_new_ones(self, s3: Any) -> None:
        """API reference, PutObjectLockConfiguration: "applied by default to every new object placed in the bucket"."""
        where = {"LocationConstraint": "eu-central-1"}
        s3.create_bucket(Bucket="defaults", CreateBucketConfiguration=where, ObjectLockEnabledForBucket=True)
        for days in (10, 20):
            rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": days}}
            wish = {"ObjectLockEnabled": "Enabled", "Rule": rule}
            s3.put_object_lock_configuration(Bucket="defaults", ObjectLockConfiguration=wish)
            s3.put_object(Bucket="defaults", Key=f"{days}", Body=b"kept", ChecksumAlgorithm="SHA256")
        for days in (10, 20):
            until = s3.get_object_retention(Bucket="defaults", Key=f"{days}")["Retention"]["RetainUntilDate"]
            assert abs(until - datetime.now(UTC) - timedelta(days=days)) < timedelta(hours=1)
        nothing = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 0}}}
        refusal = refused(s3.put_object_lock_configuration, Bucket="defaults", ObjectLockConfiguration=nothing)
        assert refusal in ("InvalidArgument", "MalformedXML")

    def test_compliance_may_be_lengthened(self, s3: Any) -> None:
        version = self.locked(s3, "COMPLIANCE")
        s3.put_object_retention(**version, **self.retention("COMPLIANCE", 9))
        kept = s3.get_object_retention(**version)["Retention"]
        assert kept["RetainUntilDate"] > datetime.now(UTC) + timedelta(days=8)

    def test_governance_is_shortened_with_the_bypass_alone(self, s3: Any) -> None:
        version = self.locked(s3, "GOVERNANCE")
        wish = self.retention("GOVERNANCE", 1)
        assert refused(s3.put_object_retention, **version, **wish) == "AccessDenied"
        s3.put_object_retention(**version, **wish, BypassGovernanceRetention=True)

    def test_retention_must_lie_ahead(self, s3: Any) -> None:
        version = self.locked(s3, "GOVERNANCE")
        wish = self.retention("GOVERNANCE", -1)
        assert refused(s3.put_object_retention, **version, **wish) == "InvalidArgument"

    def test_a_bucket_without_lock_keeps_nothing(self, s3: Any) -> None:
        s3.put_object(Bucket="plain", Key="free", Body=b"x")
        wish = self.retention("GOVERNANCE", 1)
        assert refused(s3.put_object_retention, Bucket="plain", Key="free", **wish) == "InvalidRequest"


class TestTrouble:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html: SlowDown (503) and InternalError
    (500) are worth another try, and the SDK makes it.
    """

    @pytest.mark.parametrize("kind", ["throttle", "error", "drop_before", "drop_after"])
    def test_trouble_passes(self, s3: Any, cloud: AwsCloud, kind: str) -> None:
        cloud.put_faults({"kind": kind, "service": "s3", "count": 2})
        s3.put_object(Bucket="plain", Key=kind, Body=b"content")
        cloud.heal()
        assert s3.get_object(Bucket="plain", Key=kind)["Body"].read() == b"content"


def test_versions_locks_and_uploads_under_way_outlive_the_process_of_the_cloud(tmp_path: Path) -> None:
    with running_cloud(tmp_path) as first:
        s3 = first.client("s3")
        where = {"CreateBucketConfiguration": {"LocationConstraint": first.region}, "Bucket": "kept"}
        s3.create_bucket(ObjectLockEnabledForBucket=True, **where)
        until = datetime.now(UTC) + timedelta(days=2)
        locked = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
        version = s3.put_object(Bucket="kept", Key="a", Body=b"first", **locked)["VersionId"]
        s3.put_object(Bucket="kept", Key="a", Body=b"second")
        place = {"Bucket": "kept", "Key": "parts"}
        upload = s3.create_multipart_upload(ChecksumAlgorithm="SHA256", **place)["UploadId"]
        wanted = checksum("sha256", b"content")
        s3.upload_part(UploadId=upload, PartNumber=1, Body=b"content", ChecksumSHA256=wanted, **place)
    with running_cloud(tmp_path) as second:
        s3 = second.client("s3")
        assert s3.get_object(Bucket="kept", Key="a", VersionId=version)["Body"].read() == b"first"
        assert s3.get_object(Bucket="kept", Key="a")["Body"].read() == b"second"
        assert refused(s3.delete_object, Bucket="kept", Key="a", VersionId=version) == "AccessDenied"
        [part] = s3.list_parts(UploadId=upload, **place)["Parts"]
        assert part["ChecksumSHA256"] == wanted
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": wanted}]}
        s3.complete_multipart_upload(UploadId=upload, MultipartUpload=parts, **place)
        assert s3.get_object(**place)["Body"].read() == b"content"
