"""The parts of the program that speaks to the cloud from hosts: signatures, digests, journals, storage classes."""

import hashlib
import os
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from orchestrator.contracts.programs import program_text
from orchestrator.movers.host_programs.block_delta.leaves import Volume, root_digest
from orchestrator.targets.aws.images import PROGRAM
from orchestrator.targets.host_programs.cloud_data.blocks import (
    BLOCK,
    LINE,
    Image,
    Journal,
    VolumeDigest,
    digests_in,
    write_digests,
)
from orchestrator.targets.host_programs.cloud_data.calls import Refused, refused
from orchestrator.targets.host_programs.cloud_data.objects import Bucket, Upload, composite, part_bytes, storage_class
from orchestrator.targets.host_programs.cloud_data.signing import Signer, query_string
from orchestrator.targets.host_programs.cloud_data.snapshots import digests_of, settle

MIB = 1 << 20


@pytest.mark.parametrize("token", ["", "a/token+of=role"])
def test_calls_are_signed_as_the_sdk_signs_them(token: str) -> None:
    keys = {"access_key": "AKIAEXAMPLE", "secret_key": "secret/with+signs", "token": token}
    query = {"blockToken": "AAAB+x/y=", "maxResults": "100"}
    digest = hashlib.sha256(b"body").hexdigest()
    more = {"x-amz-checksum": "abc=", "content-type": "application/octet-stream"}
    signer = Signer(keys, "eu-central-1", "ebs")
    signed = signer.headers("PUT", "ebs.test:4566", "/snapshots/snap-1", query, more, digest)
    request = AWSRequest(
        method="PUT", url=f"http://ebs.test:4566/snapshots/snap-1?{query_string(query)}", data=b"body", headers=more
    )
    request.context["timestamp"] = signed["x-amz-date"]
    request.headers["X-Amz-Content-SHA256"] = digest
    sdk = SigV4Auth(Credentials("AKIAEXAMPLE", "secret/with+signs", token or None), "ebs", "eu-central-1")
    request.headers["X-Amz-Date"] = signed["x-amz-date"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    to_sign = sdk.string_to_sign(request, sdk.canonical_request(request))
    assert signed["authorization"].rpartition("=")[2] == sdk.signature(to_sign, request)


@pytest.mark.parametrize("size", [1, BLOCK, 3 * BLOCK + 4097, 70 * 1024])
def test_a_volume_in_blocks_has_the_digest_that_the_mover_makes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "disk"
    content = bytearray(random.Random(size).randbytes(size))
    content[: size // 2] = bytes(size // 2)
    path.write_bytes(content)
    image, found = Image(str(path)), VolumeDigest(size)
    numbers = list(range(image.count))
    random.Random(1).shuffle(numbers)
    assert all(found.add(number, image.read(number)) for number in numbers if any(image.read(number)))
    volume = Volume(image.descriptor, size)
    digests = b"".join(b"".join(volume.digests(volume.read(leaf, 1))) for leaf in range(volume.leaves))
    assert found.text() == root_digest(size, volume.leaf, digests)
    assert not VolumeDigest(10).add(0, b"x" * BLOCK)  # data beyond the end is seen


def test_a_volume_goes_on_from_what_was_remembered_of_its_parent(tmp_path: Path) -> None:
    kept, size = str(tmp_path / "leaves"), 3 * BLOCK + 4097
    content = random.Random(7).randbytes(4 * BLOCK)
    parent, whole = VolumeDigest(size), VolumeDigest(size)
    for number in range(3):
        parent.add(number, content[:BLOCK])
        whole.add(number, (content[:BLOCK], content[BLOCK : 2 * BLOCK], bytes(BLOCK))[number])
    parent.keep(kept)
    child = VolumeDigest(size)
    assert child.go_on_from(kept)
    assert child.text() == parent.text()
    child.add(1, content[BLOCK : 2 * BLOCK])
    child.add(2, bytes(BLOCK))
    assert child.text() == whole.text()
    assert child.blocks_with_data() == 2
    grown = VolumeDigest(size + BLOCK)
    assert not grown.go_on_from(kept)  # its last leaf was shorter
    assert not child.go_on_from(kept + "-missing")
    os.truncate(kept, 100)
    assert not child.go_on_from(kept)
    assert child.text() == whole.text()


def test_what_a_parent_holds_is_taken_to_differ_where_the_host_forgot_it(tmp_path: Path) -> None:
    service: Any = SimpleNamespace(listed=lambda snapshot: [(3, f"token of {snapshot}")])
    assert digests_of("", str(tmp_path), service) == {}
    assert digests_of("snap-1", str(tmp_path), service) == {3: b""}
    write_digests(str(tmp_path / "snap-1.blocks"), {7: b"x" * 32})
    assert digests_of("snap-1", str(tmp_path), service) == {7: b"x" * 32}


def test_two_runs_that_settle_one_snapshot_do_so_once(tmp_path: Path) -> None:
    for name in ("snap-2.candidate", "snap-1.blocks"):
        write_digests(str(tmp_path / name), {7: b"x" * 32})
    for _ in range(2):
        settle({"work": str(tmp_path), "snapshot": "snap-2"})
    assert [path.name for path in tmp_path.iterdir()] == ["snap-2.blocks"]


def test_a_journal_forgets_its_torn_line_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    journal = Journal(path)
    journal.add(7, b"a" * 32)
    journal.add(7, b"b" * 32)
    journal.add(9, b"c" * 32)
    journal.close()
    os.truncate(path, 3 * LINE.size - 1)
    again = Journal(path)
    assert again.done == {7: b"b" * 32}
    again.add(11, b"d" * 32)
    again.close()
    assert digests_in(path) == {7: b"b" * 32, 11: b"d" * 32}
    assert digests_in(path + "-missing") == {}


def test_refusals_keep_their_words() -> None:
    said = refused(400, {"x-amzn-errortype": "ValidationException:http://x/"}, b'{"message": "no", "Reason": "WHY"}')
    assert (said.code, str(said)) == ("ValidationException", "no (WHY)")
    said = refused(403, {}, b"<Error><Code>AccessDenied</Code><Message>not you</Message></Error>")
    assert (said.code, str(said), said.status) == ("AccessDenied", "not you", 403)
    assert refused(502, {}, b"<html>").code == "HTTP 502"


def test_parts_are_few_enough_whatever_the_size() -> None:
    assert part_bytes(5) == part_bytes(80_000 * MIB) == 8 * MIB
    assert part_bytes(80_001 * MIB) == 16 * MIB
    assert composite([hashlib.sha256(b"a").digest()] * 2).endswith("-2")


class BucketOfMany(Bucket):
    """Answers as S3 does where others, too, have begun uploads of the same key. `there`: somebody completed one."""

    def __init__(self, uploads: dict[str, str], *, there: bool = False) -> None:
        super().__init__("http://127.0.0.1:9", None, "b", ["checksums", "conditions"])
        self.uploads = uploads
        self.there = there
        self.checksum_there = ""

    def ask(
        self,
        method: str,
        key: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes | memoryview = b"",
        digest: str = "",
    ) -> tuple[bytes, dict[str, str]]:
        if "partNumber" in query:
            return b"", {"etag": query["partNumber"]}
        if method == "DELETE":
            del self.uploads[query["uploadId"]]
        elif method == "POST" and "uploads" in query:
            self.uploads["own"] = "arn:us"
            return b"<UploadId>own</UploadId>", {}
        elif method == "POST":
            if self.there:
                raise Refused("PreconditionFailed", "it is there", 412)
            del self.uploads[query["uploadId"]]
        elif "uploads" in query:
            row = "<Upload><Key>k</Key><UploadId>{}</UploadId><Initiator><ID>{}</ID></Initiator></Upload>"
            return "".join(row.format(*each) for each in self.uploads.items()).encode(), {}
        return b"", {"content-length": str(2 * MIB * 8), "x-amz-checksum-sha256": self.checksum_there}


@pytest.mark.parametrize("there", [False, True])
def test_only_uploads_that_the_same_identity_began_are_given_up(tmp_path: Path, there: bool) -> None:
    file = tmp_path / "k"
    file.write_bytes(bytes(2 * MIB * 8))
    bucket = BucketOfMany({"answer was lost": "arn:us", "foreign": "arn:others", "untold": ""}, there=there)
    half = hashlib.sha256(bytes(MIB * 8)).digest()
    bucket.checksum_there = composite([half, half])
    upload = Upload(bucket, str(file), "k", str(tmp_path / "kept"), {})
    upload.begin()
    for number in range(2):
        upload.send(number)
    assert set(bucket.uploads) == {"foreign", "untold"}


def test_the_first_rule_that_a_file_is_old_and_large_enough_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    rules = [
        {"storage_class": "COLD", "older_than_seconds": 1000.0, "bytes_min": 50},
        {"storage_class": "COOL", "older_than_seconds": 10.0, "bytes_min": 50},
    ]
    made = path.stat().st_mtime
    found = [storage_class(rules, str(path), made + age) for age in (5, 500, 5000)]
    assert found == ["STANDARD", "COOL", "COLD"]
    path.write_bytes(b"small")
    assert storage_class(rules, str(path), made + 5000) == "STANDARD"


def test_the_program_is_one_file_of_the_standard_library() -> None:
    text = program_text(PROGRAM).decode()
    compile(text, "cloud_data", "exec")
    assert "orchestrator" not in "\n".join(line for line in text.splitlines() if "import" in line)
