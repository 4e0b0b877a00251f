"""A server that speaks S3 and is not AWS: the laws of object stores, with nothing asked that it is not said to have."""

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from orchestrator.foundation.errors import DataError, SecretUnavailable
from orchestrator.hosts.local import LocalTransport
from orchestrator.inventory.secrets import SecretResolver
from orchestrator.model.inventory import BucketPlace, StoreAbility
from orchestrator.targets.s3.compatible import CompatibleS3
from orchestrator.targets.s3.store import S3Store
from tests.laws.object_store_laws import MIB, ObjectStoreLaws, StoreSite

BUCKET = "skerry-elsewhere"
READY_SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """moto as it comes: it checks no signature, keeps no lock, and is reached by path alone."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    words = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + READY_SECONDS_MAX
            while True:
                assert process.poll() is None
                assert time.monotonic() < until
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


class Site(StoreSite):
    def __init__(self, server: str, folder: Path, can: tuple[StoreAbility, ...]) -> None:
        keys = boto3.Session("theirs", "kept-elsewhere", region_name="us-east-1")
        client: Any = keys.client("s3", endpoint_url=server, config=Config(s3={"addressing_style": "path"}))
        client.create_bucket(Bucket=BUCKET)
        super().__init__(folder, client, BUCKET)
        for name, value in (("id", "theirs"), ("key", "kept-elsewhere")):
            (folder / name).write_text(value)
            (folder / name).chmod(0o600)
        self.place = BucketPlace(
            bucket=BUCKET,
            endpoint=server,
            region="eu-home-2",
            access_key=f"file:{folder}/id",
            secret_key=f"file:{folder}/key",
            can=can,
        )

    def store(self, **settings: Any) -> S3Store:
        opened = CompatibleS3(self.place, SecretResolver(self.folder.parent))
        can = self.place.can
        return S3Store(opened, LocalTransport, self.place.bucket, self.prefix, tags=self.tags, can=can, **settings)


COUNT = itertools.count()


@pytest.fixture
def site(server: str, tmp_path: Path) -> Site:
    folder = tmp_path / f"site-{next(COUNT)}"  # the bucket is that of all tests
    folder.mkdir()
    return Site(server, folder, ())


class TestCompatibleS3(ObjectStoreLaws):
    """Without anything but putting and giving back."""

    def test_an_object_in_parts_that_was_changed_is_found_by_reading_it_back(self, site: Site) -> None:
        content = bytearray(os.urandom(17 * MIB))
        site.write("large", bytes(content))
        site.store().store(site.host, str(site.folder))
        content[9 * MIB] ^= 1
        site.s3.put_object(Bucket=BUCKET, Key=f"{site.prefix}/large", Body=bytes(content))
        assert site.store().compare(site.host, str(site.folder)).different == (f"{site.prefix}/large",)
        with pytest.raises(DataError, match="large is in the bucket with other content"):
            site.store().store(site.host, str(site.folder))

    def test_a_key_that_cannot_be_resolved_sends_nothing(self, site: Site) -> None:
        (site.folder.parent / "key").unlink()
        with pytest.raises(SecretUnavailable):
            site.store().store(site.host, str(site.folder))
        assert site.objects() == {}
