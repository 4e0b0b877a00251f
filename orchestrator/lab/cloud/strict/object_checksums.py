"""Checksums of objects as S3 keeps and tells them, and what it refuses when parts become an object.

Sources: S3 user guide "Checking object integrity in Amazon S3" (a composite checksum is that of the parts' checksums,
followed by a dash and their number; a full object's is that of the content; which algorithm has which), API reference
HeadObject (x-amz-checksum-mode), CreateMultipartUpload (x-amz-checksum-type) and CompleteMultipartUpload (InvalidPart,
InvalidPartOrder, EntityTooSmall, If-None-Match, x-amz-mp-object-size, x-amz-checksum-…). Moto forgets what a plain PUT
was checked with, and takes any list of parts. What is kept here comes back when calls are replayed.
"""

import base64
import re
import urllib.parse
from xml.sax.saxutils import unescape

from moto.s3.models import s3_backends

from orchestrator.lab.cloud.answers import Answer, AwsError
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall
from orchestrator.lab.cloud.strict.checksums import ALGORITHMS, checksum

PART_BYTES_MIN = 5 * 1024 * 1024
PREFIX = "x-amz-checksum-"
COMPOSITE, FULL_OBJECT = "COMPOSITE", "FULL_OBJECT"
# "Full object and composite checksum types": what an upload in parts may have, the usual one first.
TYPES = {
    "crc64nvme": (FULL_OBJECT,),
    "crc32": (COMPOSITE, FULL_OBJECT),
    "crc32c": (COMPOSITE, FULL_OBJECT),
    "sha1": (COMPOSITE,),
    "sha256": (COMPOSITE,),
}


def place_of(call: AwsCall) -> tuple[str, str]:
    bucket, _, key = urllib.parse.unquote(call.path).lstrip("/").partition("/")
    return bucket, key


def checksum_named(headers: dict[str, str]) -> tuple[str, str]:
    """(algorithm, base64) of the checksum among headers or trailers; ("", "") where there is none."""
    for name, value in headers.items():
        if name.removeprefix(PREFIX) in ALGORITHMS and name.startswith(PREFIX):
            return name.removeprefix(PREFIX), value
    return "", ""


class ObjectChecksums:
    """Of every version of every object, and of the parts of uploads under way."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], dict[str, str]] = {}
        self._parts: dict[tuple[str, int], tuple[str, str, int]] = {}  # upload, number → algorithm, base64, size
        self._begun: dict[str, tuple[str, str]] = {}  # upload → algorithm and type that it was begun with
        self._completing: dict[str, dict[str, str]] = {}  # upload → what its object will be told with

    def began(self, call: AwsCall, upload: str) -> None:
        self._begun[upload] = _wished(call)

    @staticmethod
    def check_begin(call: AwsCall) -> None:
        algorithm, kind = _wished(call)
        if algorithm and algorithm not in TYPES:
            raise AwsError("InvalidRequest", f"Checksum algorithm provided is unsupported: {algorithm}", 400)
        if algorithm and kind not in TYPES[algorithm]:
            message = f"The {kind} checksum type cannot be used with the {algorithm} checksum algorithm."
            raise AwsError("InvalidRequest", message, 400)

    def check_part(self, call: AwsCall, trailers: dict[str, str]) -> None:
        """User guide, "Checking object integrity": parts carry the algorithm that the upload was begun with."""
        _check_there(call)
        wanted, _ = self._begun.get(call.query["uploadId"], ("", ""))
        given, _ = checksum_named({**call.headers, **trailers})
        if wanted and given != wanted:
            message = f"Checksum Type mismatch occurred, expected checksum Type: {wanted}, actual: {given or 'null'}"
            raise AwsError("InvalidRequest", message, 400)

    def check_complete(self, call: AwsCall) -> None:
        """Refuse what S3 refuses of a list of parts."""
        upload = call.query["uploadId"]
        bucket, key = place_of(call)
        _check_there(call)
        rows = _rows(call)
        self._check_rows(upload, rows)
        numbers = [number for number, _ in rows]
        whole = sum(self._parts[upload, number][2] for number in numbers)
        if call.headers.get("x-amz-mp-object-size", str(whole)) != str(whole):
            raise AwsError("InvalidRequest", "The provided 'x-amz-mp-object-size' does not match the parts.", 400)
        if call.headers.get("if-none-match") == "*" and s3_backends[ACCOUNT]["aws"].get_object(bucket, key):
            raise AwsError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", 412)
        self._completing[upload] = self._check_whole(call, numbers)

    def _check_rows(self, upload: str, rows: list[tuple[int, dict[str, str]]]) -> None:
        """Parts in order, large enough, there, and with their checksums: a composite one is made of these."""
        begun_with, kind = self._begun.get(upload, ("", ""))
        numbers = [number for number, _ in rows]
        if numbers != sorted(set(numbers)):
            raise AwsError("InvalidPartOrder", "The list of parts was not in ascending order.", 400)
        for number, given in rows:
            algorithm, known, size = self._parts.get((upload, number), ("", "", -1))
            if size < 0:
                raise AwsError("InvalidPart", f"Part {number} could not be found.", 400)
            if number != numbers[-1] and size < PART_BYTES_MIN:
                raise AwsError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", 400)
            if begun_with and kind == COMPOSITE and begun_with not in given:
                message = (
                    f"The upload was created using a {begun_with} checksum. The complete request must include the "
                    f"checksum for each part. It was missing for part {number} in the request."
                )
                raise AwsError("InvalidRequest", message, 400)
            if algorithm and given.get(algorithm, known) != known:
                raise AwsError("InvalidPart", f"The {algorithm.upper()} of part {number} does not match.", 400)

    def _check_whole(self, call: AwsCall, numbers: list[int]) -> dict[str, str]:
        """What the object will be told with; a checksum of it that the call gives must be the same."""
        upload = call.query["uploadId"]
        algorithm, kind = self._begun.get(upload, ("", ""))
        if not algorithm:
            return {}
        if call.headers.get(PREFIX + "type", kind).upper() != kind:
            raise AwsError("InvalidRequest", f"The upload was created with the checksum type {kind}.", 400)
        if kind == COMPOSITE:
            digests = b"".join(base64.b64decode(self._parts[upload, number][1]) for number in numbers)
            value = f"{checksum(algorithm, digests)}-{len(numbers)}"
        else:
            parts = s3_backends[ACCOUNT]["aws"].buckets[place_of(call)[0]].multiparts[upload].parts
            value = checksum(algorithm, b"".join(parts[number].value for number in numbers))
        if call.headers.get(PREFIX + algorithm, value) != value:
            raise AwsError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.", 400)
        return {PREFIX + algorithm: value, PREFIX + "type": kind}

    def heard(self, call: AwsCall, answer: Answer, size: int, trailers: dict[str, str]) -> None:
        """Remember what a good PUT or completion was checked with."""
        named = checksum_named({**call.headers, **trailers})
        if "partNumber" in call.query:
            self._parts[call.query["uploadId"], int(call.query["partNumber"])] = (*named, size)
            return
        version = answer.headers.get("x-amz-version-id", "")
        told: dict[str, str] = {}
        if call.method == "POST":
            told = self._completing.pop(call.query["uploadId"], {})
            found = s3_backends[ACCOUNT]["aws"].get_object(*place_of(call))
            version = str(found.version_id) if found is not None and found.version_id else ""
        elif named[0]:
            told = {PREFIX + named[0]: named[1], PREFIX + "type": FULL_OBJECT}
        for each in {version, ""}:
            self._objects[(*place_of(call), each)] = told

    def heard_copy(self, call: AwsCall, answer: Answer) -> Answer:
        """UploadPartCopy: S3 itself makes the checksum of what it copied, and tells it in CopyPartResult."""
        upload, number = call.query["uploadId"], int(call.query["partNumber"])
        part = s3_backends[ACCOUNT]["aws"].buckets[place_of(call)[0]].multiparts[upload].parts[number]
        algorithm, _ = self._begun.get(upload, ("", ""))
        value = checksum(algorithm, part.value) if algorithm else ""
        self._parts[upload, number] = (algorithm, value, len(part.value))
        told = answer.body.replace(b"</CopyPartResult>", _element(algorithm, value) + b"</CopyPartResult>")
        return _resized(answer, told)

    def tell_parts(self, call: AwsCall, answer: Answer) -> Answer:
        """ListParts with the checksum of each part; moto leaves them out."""

        def with_checksum(found: re.Match[bytes]) -> bytes:
            algorithm, value, _ = self._parts.get((call.query["uploadId"], int(found[1])), ("", "", 0))
            return found[0] + _element(algorithm, value)

        return _resized(answer, re.sub(rb"<PartNumber>(\d+)</PartNumber>", with_checksum, answer.body))

    def tell(self, call: AwsCall, answer: Answer) -> Answer:
        """The answer with the object's checksum, where the client asks for it."""
        if call.headers.get("x-amz-checksum-mode", "").upper() != "ENABLED" or "range" in call.headers:
            return answer
        known = self._objects.get((*place_of(call), call.query.get("versionId", "")))
        if not known:
            return answer
        kept = {name: value for name, value in answer.headers.items() if not name.lower().startswith(PREFIX)}
        return Answer(answer.status, {**kept, **known}, answer.body)


def _check_there(call: AwsCall) -> None:
    bucket = s3_backends[ACCOUNT]["aws"].buckets.get(place_of(call)[0])
    if bucket is not None and call.query["uploadId"] not in bucket.multiparts:  # without a bucket moto says so
        raise AwsError("NoSuchUpload", "The upload was completed or given up, or never begun.", 404)


def _wished(call: AwsCall) -> tuple[str, str]:
    """Algorithm and type of the checksum that an upload in parts is begun with; ("", "") where none is asked for."""
    algorithm = call.headers.get("x-amz-checksum-algorithm", "").lower()
    usual = TYPES.get(algorithm, ("",))[0]
    return algorithm, call.headers.get(PREFIX + "type", usual).upper()


def _element(algorithm: str, value: str) -> bytes:
    name = f"Checksum{algorithm.upper()}"
    return f"<{name}>{value}</{name}>".encode() if algorithm else b""


def _resized(answer: Answer, body: bytes) -> Answer:
    """The answer with another body; who sends it counts anew."""
    kept = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
    return Answer(answer.status, kept, body)


def _rows(call: AwsCall) -> list[tuple[int, dict[str, str]]]:
    """Number and checksums of each part in the request."""
    rows = []
    for part in re.findall(rb"<Part>(.*?)</Part>", call.body, re.DOTALL):
        fields = {
            name.decode().lower(): unescape(value.decode()) for name, value in re.findall(rb"<(\w+)>([^<]*)</\1>", part)
        }
        if not fields.get("partnumber", "").isdigit():
            raise AwsError("MalformedXML", "A part has no number", 400)
        given = {name.removeprefix("checksum"): value for name, value in fields.items() if name.startswith("checksum")}
        rows.append((int(fields["partnumber"]), given))
    if not rows:
        raise AwsError("MalformedXML", "The list of parts is empty", 400)
    return rows
