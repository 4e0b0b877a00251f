"""Folders in a bucket, in the role that the shipped policy is for: whole, by checksum, resumed, never replaced."""

import base64
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import RunInProgress, TargetForbidden
from orchestrator.hosts.local import LocalTransport
from orchestrator.targets.s3.store import S3Store
from tests.fakes.aws_cloud import REGION, AwsCloud, running_cloud
from tests.laws.object_store_laws import MIB, ObjectStoreLaws, StoreSite

pytestmark = pytest.mark.platform("ssh")

BUCKET = "skerry-data"
DAY = 24 * 3600.0


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsCloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        where = {"LocationConstraint": REGION}
        cloud.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration=where, ObjectLockEnabledForBucket=True
        )
        yield cloud


class Site(StoreSite):
    """A folder of a host, and the bucket of the strict cloud."""

    def __init__(self, cloud: AwsCloud, folder: Path) -> None:
        super().__init__(folder, cloud.client("s3"), BUCKET)
        self.cloud = cloud

    def store(self, **settings: Any) -> S3Store:
        session = self.cloud.session(role="replicator")
        return S3Store(session, LocalTransport, BUCKET, self.prefix, tags=self.tags, **settings)

    def parts_remembered(self) -> int:
        """How many parts the host has noted as acknowledged."""
        kept = [path for path in (self.folder.parent / "host").rglob("bucket-*/*") if path.suffix != ".tmp"]
        return sum(max(0, path.read_bytes().count(b"\n") - 1) for path in kept)


@pytest.fixture
def site(cloud: AwsCloud, tmp_path: Path) -> Iterator[Site]:
    yield Site(cloud, tmp_path)
    cloud.heal()


class TestS3(ObjectStoreLaws):
    """In AWS, with all that it can."""


def test_the_bucket_itself_holds_the_checksums(site: Site) -> None:
    content = os.urandom(17 * MIB)
    site.write("large", content)
    site.store().store(site.host, str(site.folder))
    s3 = site.cloud.client("s3")
    small = s3.head_object(Bucket=BUCKET, Key=f"{site.prefix}/a.txt", ChecksumMode="ENABLED")
    assert small["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"first").digest()).decode()
    large = s3.head_object(Bucket=BUCKET, Key=f"{site.prefix}/large", ChecksumMode="ENABLED")
    parts = [content[start : start + 8 * MIB] for start in range(0, len(content), 8 * MIB)]
    together = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
    assert large["ChecksumSHA256"] == base64.b64encode(together).decode() + "-3"


def test_old_and_large_files_go_into_cooler_classes(site: Site) -> None:
    now = datetime.now(UTC).timestamp()
    for name, days, size in (("hot", 1, MIB), ("warm", 90, MIB), ("cold", 400, MIB), ("tiny", 400, 10)):
        site.write(name, os.urandom(size))
        os.utime(site.folder / name, (now - days * DAY, now - days * DAY))
    stored = site.store().store(site.host, str(site.folder))
    assert stored.storage_classes == {"STANDARD": 5, "STANDARD_IA": 1, "GLACIER_IR": 1}
    s3 = site.cloud.client("s3")
    classes = {name: s3.head_object(Bucket=BUCKET, Key=f"{site.prefix}/{name}") for name in ("hot", "warm", "cold")}
    assert [classes[name].get("StorageClass", "STANDARD") for name in classes] == [
        "STANDARD",
        "STANDARD_IA",
        "GLACIER_IR",
    ]


def test_objects_are_locked_until_the_day_that_was_asked_for(site: Site) -> None:
    site.write("large", os.urandom(9 * MIB))
    until = timestamp(datetime.now(UTC).replace(microsecond=0) + timedelta(days=1))
    site.store(locked_until=until).store(site.host, str(site.folder))
    s3 = site.cloud.client("s3")
    for name in ("a.txt", "large"):
        head = s3.head_object(Bucket=BUCKET, Key=f"{site.prefix}/{name}")
        assert head["ObjectLockMode"] == "COMPLIANCE"
        assert timestamp(head["ObjectLockRetainUntilDate"]) == until


def test_a_store_that_broke_off_goes_on_with_the_parts_that_arrived(site: Site) -> None:
    site.write("large", os.urandom(40 * MIB))
    refuse = {"kind": "refuse", "service": "s3", "action": "PutObject", "status": 403, "code": "AccessDenied"}
    # The begin, and some of the parts and small files, pass.
    site.cloud.put_faults({**refuse, "probability": 0.25, "seed": 8})
    with pytest.raises(TargetForbidden, match="AccessDenied"):
        for _ in range(20):
            site.store().store(site.host, str(site.folder))
    site.cloud.heal()
    again = site.store().store(site.host, str(site.folder))
    assert site.objects() == site.files()
    assert again.bytes_sent <= again.bytes_total


def test_a_store_that_was_killed_goes_on_with_the_parts_that_arrived(site: Site) -> None:
    site.write("large", os.urandom(80 * MIB))
    site.cloud.put_faults({"kind": "delay", "service": "s3", "action": "PutObject", "seconds": 1.5})
    words = [sys.executable, "-c", STORING, str(site.cloud.folder), site.cloud.url, str(site.folder.parent)]
    with subprocess.Popen(words, start_new_session=True) as process:
        until = time.monotonic() + 60
        while not site.parts_remembered() >= 3:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)
        with pytest.raises(RunInProgress):  # the same store, from a second machine
            site.store().store(site.host, str(site.folder))
        os.killpg(process.pid, signal.SIGKILL)
    lock = next((site.folder.parent / "host").rglob("lock"))
    subprocess.run(["flock", "-w", "60", str(lock), "true"], check=True, stdin=subprocess.DEVNULL)
    site.cloud.heal()
    again = site.store().store(site.host, str(site.folder))
    assert again.bytes_sent <= (80 - 3 * 8) * MIB + 100
    assert site.objects() == site.files()


STORING = """
import sys
from pathlib import Path
from tests.fakes.aws_cloud import AwsCloud
from tests.platform.test_s3_store import Site
site = Site(AwsCloud(Path(sys.argv[1]), sys.argv[2]), Path(sys.argv[3]))
site.store().store(site.host, str(site.folder))
"""


@pytest.mark.parametrize("kind", ["throttle", "error", "drop_before", "drop_after"])
def test_trouble_that_passes_is_passed_over(site: Site, kind: str) -> None:
    site.write("large", os.urandom(17 * MIB))
    site.cloud.put_faults({"kind": kind, "service": "s3", "probability": 0.4, "seed": 2})
    site.store().store(site.host, str(site.folder))
    site.cloud.heal()
    assert site.objects() == site.files()
    assert site.cloud.client("s3").list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def test_an_upload_that_nobody_heard_begin_or_end_is_given_up(site: Site) -> None:
    """Its begin was answered into the void, and so is the first word that it is given up."""
    site.write("large", os.urandom(9 * MIB))
    s3 = site.cloud.client("s3")
    s3.create_multipart_upload(Bucket=BUCKET, Key=f"{site.prefix}/large", ChecksumAlgorithm="SHA256")
    site.cloud.put_faults({"kind": "drop_after", "service": "s3", "action": "AbortMultipartUpload", "count": 1})
    site.store().store(site.host, str(site.folder))
    assert site.objects() == site.files()
    assert s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def test_keys_that_end_meanwhile_are_replaced(site: Site) -> None:
    site.write("large", os.urandom(17 * MIB))
    expired = {"kind": "refuse", "service": "s3", "action": "PutObject", "code": "ExpiredToken", "status": 400}
    site.cloud.put_faults({**expired, "count": 1})
    site.store().store(site.host, str(site.folder))
    assert site.objects() == site.files()
