"""What S3 refuses: bodies that are not what was announced, tags of no form, and retention that would be shortened.

Sources: S3 user guide "Checking object integrity in Amazon S3", "Object Lock" and "Categorizing your objects using
tags"; API reference PutObject, UploadPart, PutObjectRetention, error responses (BadDigest, InvalidDigest, InvalidTag,
XAmzContentSHA256Mismatch, InvalidRequest, AccessDenied).
"""

import base64
import binascii
import hashlib
import re
import urllib.parse
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

from moto.s3.models import s3_backends

from orchestrator.lab.cloud.answers import Answer, AwsError
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall
from orchestrator.lab.cloud.strict.checksums import ALGORITHMS, checksum
from orchestrator.lab.cloud.strict.layer import Lenient
from orchestrator.lab.cloud.strict.object_checksums import ObjectChecksums, place_of

PART_NUMBER_MAX = 10_000
SINGLE_PUT_BYTES_MAX = 5 * 1024**3
TAGS_MAX, TAG_KEY_MAX, TAG_VALUE_MAX = 10, 128, 256
CHUNK = re.compile(rb"([0-9a-fA-F]+)(;[^\r\n]*)?\r\n")


class StrictS3(Lenient):
    """Integrity of what comes in, multipart numbers, Object Lock."""

    def __init__(self) -> None:
        self._checksums = ObjectChecksums()
        self._locks: dict[str, tuple[str, str]] = {}  # upload → mode and time that it was begun with; moto forgets them
        self._renamed: dict[str, str] = {}  # upload as a replay drew it → as it was

    def received(self, call: AwsCall) -> None:
        if call.method in ("PUT", "POST") and "/" in call.path.strip("/"):
            content, trailers = payload(call)
            _check_length(call, content)
            _check_digests(call, content, trailers)
            _check_tags(call.headers.get("x-amz-tagging", ""))
            if "partNumber" in call.query:
                _check_part_number(call.query["partNumber"])

    def before(self, call: AwsCall) -> Answer | None:
        if call.method == "POST" and "uploads" in call.query:
            self._checksums.check_begin(call)
        if call.action == "PutBucketVersioning":
            _check_versioning(call)
        if "uploadId" in call.query and call.method == "PUT" and "x-amz-copy-source" not in call.headers:
            self._checksums.check_part(call, payload(call)[1])
        if "uploadId" in call.query and call.method == "POST":
            self._checksums.check_complete(call)
        if call.action == "PutBucketObjectLockConfiguration":
            return _put_default_retention(call)
        if call.action == "PutObjectRetention":
            _check_retention(call)
        if call.action == "GetObjectRetention":
            return _retention(call)
        if call.action == "PutObjectLegalHold":
            _needs_lock(_bucket_and_key(call)[0])
        return None

    def after(self, call: AwsCall, answer: Answer) -> Answer:
        if "/" not in call.path.strip("/"):
            return answer
        if call.action == "PutObject" and "uploads" not in call.query and "x-amz-copy-source" not in call.headers:
            content, trailers = payload(call)
            self._checksums.heard(call, answer, len(content), trailers)
            if call.method == "POST" and (lock := self._locks.pop(call.query["uploadId"], None)):
                found = s3_backends[ACCOUNT]["aws"].get_object(*place_of(call))
                if found is not None:
                    found.lock_mode, found.lock_until = lock
        if "uploadId" in call.query and "x-amz-copy-source" in call.headers:
            return self._checksums.heard_copy(call, answer)
        if call.action == "ListMultipartUploadParts":
            return self._checksums.tell_parts(call, answer)
        if begun := _upload_begun(call, answer):
            begun = self._renamed.pop(begun, begun)
            self._checksums.began(call, begun)
            if "x-amz-object-lock-mode" in call.headers:
                until = call.headers.get("x-amz-object-lock-retain-until-date", "")
                self._locks[begun] = (call.headers["x-amz-object-lock-mode"], until)
        if call.action == "GetObject":
            return self._checksums.tell(call, answer)
        return answer

    def kept(self, call: AwsCall, answer: Answer) -> dict[str, Any]:
        """Moto draws the ids of uploads from the system's generator."""
        begun = _upload_begun(call, answer)
        return {"upload": begun} if begun else {}

    def restore(self, call: AwsCall, answer: Answer, kept: dict[str, Any]) -> None:
        if "upload" in kept:
            drawn = _upload_begun(call, answer)
            uploads = _bucket_and_key(call)[0].multiparts
            uploads[kept["upload"]] = uploads.pop(drawn)
            uploads[kept["upload"]].id = kept["upload"]
            self._renamed[drawn] = kept["upload"]


def _upload_begun(call: AwsCall, answer: Answer) -> str:
    """The id in the answer to CreateMultipartUpload; "" for other calls."""
    found = re.search(rb"<UploadId>(.*?)</UploadId>", answer.body)
    return found[1].decode() if found and call.method == "POST" and "uploads" in call.query else ""


def payload(call: AwsCall) -> tuple[bytes, dict[str, str]]:
    """The content without its transfer frame, and the trailers; aws-chunked bodies are unfolded."""
    if "aws-chunked" not in call.headers.get("content-encoding", "") and not call.headers.get(
        "x-amz-content-sha256", ""
    ).startswith("STREAMING-"):
        return call.body, {}
    pieces: list[bytes] = []
    place = 0
    while (head := CHUNK.match(call.body, place)) is not None:
        size = int(head[1], 16)
        place = head.end()
        if size == 0:
            break
        pieces.append(call.body[place : place + size])
        if len(pieces[-1]) != size or call.body[place + size : place + size + 2] != b"\r\n":
            raise AwsError("IncompleteBody", "The request body terminated unexpectedly", 400)
        place += size + 2
    else:
        raise AwsError("IncompleteBody", "The request body terminated unexpectedly", 400)
    pairs = (line.split(":", 1) for line in call.body[place:].decode("latin-1").split("\r\n") if ":" in line)
    return b"".join(pieces), {name.lower(): value.strip() for name, value in pairs}


def _check_length(call: AwsCall, content: bytes) -> None:
    if len(content) > SINGLE_PUT_BYTES_MAX:
        raise AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", 400)
    announced = call.headers.get("x-amz-decoded-content-length")
    if announced is not None and announced != str(len(content)):
        raise AwsError("IncompleteBody", "The decoded body has another length than was announced", 400)


def _check_digests(call: AwsCall, content: bytes, trailers: dict[str, str]) -> None:
    if md5 := call.headers.get("content-md5"):
        try:
            wanted = base64.b64decode(md5, validate=True)
        except (ValueError, binascii.Error):
            wanted = b""
        if len(wanted) != 16:
            raise AwsError("InvalidDigest", "The Content-MD5 you specified was invalid.", 400)
        # Of the content: the frame of an aws-chunked body is the transfer's, not the message's.
        if wanted != hashlib.md5(content, usedforsecurity=False).digest():
            raise AwsError("BadDigest", "The Content-MD5 you specified did not match what we received.", 400)
    signed = call.headers.get("x-amz-content-sha256", "")
    is_signed = re.fullmatch(r"[0-9a-f]{64}", signed) is not None
    if is_signed and signed != call.body_sha256:
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise AwsError("XAmzContentSHA256Mismatch", message, 400)
    if call.method == "POST":
        return  # completion of a multipart upload: the header is of the whole object, which moto composes
    given = {
        name.removeprefix("x-amz-checksum-"): value
        for name, value in {**call.headers, **trailers}.items()
        if name.startswith("x-amz-checksum-") and name.removeprefix("x-amz-checksum-") in ALGORITHMS
    }
    if len(given) > 1:
        raise AwsError("InvalidRequest", "Expecting a single x-amz-checksum- header.", 400)
    promised = call.headers.get("x-amz-trailer", "").lower()
    if promised.startswith("x-amz-checksum-") and not given:
        raise AwsError("MalformedTrailerError", "The trailing checksum that was announced is missing", 400)
    for algorithm, value in given.items():
        known = algorithm == "sha256" and content is call.body
        computed = base64.b64encode(bytes.fromhex(call.body_sha256)).decode() if known else checksum(algorithm, content)
        if value != computed:
            message = f"The {algorithm.upper()} you specified did not match the calculated checksum."
            raise AwsError("BadDigest", message, 400)


def _check_tags(text: str) -> None:
    """User guide: up to ten tags of an object, each key once, of 128 characters, values of 256."""
    pairs = urllib.parse.parse_qsl(text, keep_blank_values=True)
    if len(pairs) > TAGS_MAX:
        raise AwsError("BadRequest", f"Object tags cannot be greater than {TAGS_MAX}", 400)
    if len({key for key, _ in pairs}) != len(pairs):
        raise AwsError("InvalidTag", "Cannot provide multiple Tags with the same key", 400)
    for key, value in pairs:
        if not 1 <= len(key) <= TAG_KEY_MAX or len(value) > TAG_VALUE_MAX:
            raise AwsError("InvalidTag", f"The key or the value of the tag {key[:20]!r} is too long or empty", 400)


def _check_versioning(call: AwsCall) -> None:
    """User guide, "Object Lock considerations": once it is enabled, versioning cannot be suspended."""
    bucket, _ = _bucket_and_key(call)
    if bucket.object_lock_enabled and b"Suspended" in call.body:
        message = "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed."
        raise AwsError("InvalidBucketState", message, 409)


def _check_part_number(text: str) -> None:
    if not text.isdigit() or not 1 <= int(text) <= PART_NUMBER_MAX:
        message = f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive"
        raise AwsError("InvalidArgument", message, 400)


def _bucket_and_key(call: AwsCall) -> tuple[Any, str]:
    name, _, key = urllib.parse.unquote(call.path).lstrip("/").partition("/")
    bucket = s3_backends[ACCOUNT]["aws"].buckets.get(name)
    if bucket is None:
        raise AwsError("NoSuchBucket", "The specified bucket does not exist", 404)
    return bucket, key


def _put_default_retention(call: AwsCall) -> Answer | None:
    """The default of a bucket that locks already; moto wants it empty, S3 changes it at any time for new objects."""
    bucket, _ = _bucket_and_key(call)
    if not bucket.object_lock_enabled:
        return None
    fields = {element.tag.rpartition("}")[2]: element.text or "" for element in _tree(call).iter()}
    mode, days, years = fields.get("Mode", ""), fields.get("Days", ""), fields.get("Years", "")
    if "DefaultRetention" in fields:
        if mode not in ("GOVERNANCE", "COMPLIANCE") or bool(days) == bool(years):
            raise AwsError("MalformedXML", "DefaultRetention needs Mode, and either Days or Years", 400)
        if not (days or years).isdigit() or int(days or years) < 1:
            message = "Default retention period must be a positive integer value."
            raise AwsError("InvalidArgument", message, 400)
    bucket.default_lock_mode = mode or None
    bucket.default_lock_days, bucket.default_lock_years = int(days or 0), int(years or 0)
    return Answer(200, {}, b"")


def _tree(call: AwsCall) -> ET.Element:
    try:
        return ET.fromstring(call.body or b"<Empty/>")  # noqa: S314 - the lab's own clients
    except ET.ParseError as error:
        raise AwsError("MalformedXML", str(error), 400) from error


def _needs_lock(bucket: Any) -> None:
    if not bucket.object_lock_enabled:
        raise AwsError("InvalidRequest", "Bucket is missing Object Lock Configuration", 400)


def _locked_object(call: AwsCall) -> Any:
    bucket, key = _bucket_and_key(call)
    _needs_lock(bucket)
    found = s3_backends[ACCOUNT]["aws"].get_object(bucket.name, key, version_id=call.query.get("versionId"))
    if found is None:
        raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
    return found


def _retention(call: AwsCall) -> Answer:
    """GetObjectRetention, which moto does not know."""
    found = _locked_object(call)
    if not found.lock_mode or not found.lock_until:
        message = "The specified object does not have an ObjectLock configuration"
        raise AwsError("NoSuchObjectLockConfiguration", message, 404)
    until = _moment(str(found.lock_until)).strftime("%Y-%m-%dT%H:%M:%SZ")
    inner = f"<Mode>{found.lock_mode}</Mode><RetainUntilDate>{until}</RetainUntilDate>"
    text = f'<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</Retention>'
    return Answer(200, {"Content-Type": "application/xml"}, text.encode())


def _check_retention(call: AwsCall) -> None:
    found = _locked_object(call)
    wanted_mode, wanted_until = _wanted_retention(call)
    asked_at = _asked_at(call)
    if wanted_until is not None and wanted_until <= asked_at:
        raise AwsError("InvalidArgument", "The retain until date must be in the future!", 400)
    if not found.lock_mode or not found.lock_until:
        return
    present_until = _moment(str(found.lock_until))
    if present_until <= asked_at:
        return
    loosened = wanted_until is None or wanted_until < present_until or wanted_mode != found.lock_mode
    tightened = (found.lock_mode, wanted_mode) == ("GOVERNANCE", "COMPLIANCE")
    if tightened and wanted_until is not None and wanted_until >= present_until:
        loosened = False
    bypass = call.headers.get("x-amz-bypass-governance-retention", "").lower() == "true"
    if loosened and not (found.lock_mode == "GOVERNANCE" and bypass):
        raise AwsError("AccessDenied", "Access Denied because object protected by object lock.", 403)


def _wanted_retention(call: AwsCall) -> tuple[str, datetime | None]:
    fields = {child.tag.rpartition("}")[2]: child.text or "" for child in _tree(call)}
    mode, until = fields.get("Mode", ""), fields.get("RetainUntilDate", "")
    if mode not in ("", "GOVERNANCE", "COMPLIANCE") or bool(mode) != bool(until):
        raise AwsError("MalformedXML", "Mode and RetainUntilDate are needed together", 400)
    return mode, _moment(until) if until else None


def _asked_at(call: AwsCall) -> datetime:
    """When the call was signed: one that is replayed is judged by its own time."""
    signed = call.headers.get("x-amz-date", "")
    return datetime.strptime(signed, "%Y%m%dT%H%M%S%z") if signed else datetime.now(UTC)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise AwsError("InvalidArgument", f"not a date: {text}", 400) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
