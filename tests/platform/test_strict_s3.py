"""The lab's S3 refuses what S3 refuses. Each class cites the documentation that decides."""

import base64
import hashlib
import http.client
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from orchestrator.lab.cloud.strict.checksums import ALGORITHMS, checksum
from tests.fakes.aws_cloud import AwsCloud, running_cloud

pytestmark = pytest.mark.platform("ssh")
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsCloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


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
    """User guide, "Checking object integrity": S3 compares the value you send with its own, and stores on a match."""

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
    """User guide, "Amazon S3 multipart upload limits": 10 000 parts; each but the last at least 5 MiB; in order."""

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


class TestConditionalWrites:
    """User guide, "How to prevent object overwrites with conditional writes"."""

    def test_if_none_match_keeps_what_is_there(self, s3: Any) -> None:
        s3.put_object(Bucket="plain", Key="once", Body=b"first", IfNoneMatch="*")
        wish = {"Bucket": "plain", "Key": "once", "Body": b"second", "IfNoneMatch": "*"}
        assert refused(s3.put_object, **wish) == "PreconditionFailed"
        assert s3.get_object(Bucket="plain", Key="once")["Body"].read() == b"first"


class TestObjectLock:
    """User guide, "Object Lock": in compliance mode retention can't be shortened, by anyone, nor its mode changed."""

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
    """Error responses: SlowDown (503) and InternalError (500) are worth another try, and the SDK makes it."""

    @pytest.mark.parametrize("kind", ["throttle", "error", "drop_before", "drop_after"])
    def test_trouble_passes(self, s3: Any, cloud: AwsCloud, kind: str) -> None:
        cloud.put_faults({"kind": kind, "service": "s3", "count": 2})
        s3.put_object(Bucket="plain", Key=kind, Body=b"content")
        cloud.heal()
        assert s3.get_object(Bucket="plain", Key=kind)["Body"].read() == b"content"
