"""The laws of contracts.buckets.ObjectStore. Inherit, and give a fixture `site`."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, get_args

import pytest

from orchestrator.contracts.buckets import ObjectStore
from orchestrator.foundation.errors import DataError, TargetLacks
from orchestrator.model.host import Host
from orchestrator.model.inventory import StoreAbility
from orchestrator.targets.s3.store import StorageRule

MIB = 1 << 20
TAGS = {"skerry:system": "filing", "skerry:run": "bucket-rp-1", "skerry:dataset": "documents"}
UNTIL = "2036-01-01T00:00:00.000Z"
WISHES: dict[StoreAbility, dict[str, Any]] = {
    "storage_classes": {"rules": (StorageRule(storage_class="STANDARD_IA", older_than_seconds=0),)},
    "object_lock": {"locked_until": UNTIL},
}


class StoreSite(ABC):
    """A folder of a host with files of every kind. `s3` is a client that nobody here wrote, `bucket` what it opens."""

    tags = TAGS

    def __init__(self, folder: Path, s3: Any, bucket: str) -> None:
        self.host = Host(name="dr-a", site="dr", address="127.0.0.1", path_prefix=str(folder / "host"), become=False)
        self.folder = folder / "documents"
        self.folder.mkdir(exist_ok=True)
        self.prefix = folder.name
        self.s3, self.bucket = s3, bucket
        self.write("a.txt", b"first")
        self.write("below/ä b+c&d.txt", b"name with everything")
        self.write("empty", b"")

    @abstractmethod
    def store(self, **settings: Any) -> ObjectStore:
        """The store of the bucket, below the prefix, giving `tags`."""

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    def objects(self) -> dict[str, bytes]:
        """What is really in the bucket."""
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/").get("Contents", [])
        keys = [each["Key"] for each in found]
        contents = {key: self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}
        return {key.removeprefix(f"{self.prefix}/"): content for key, content in contents.items()}

    def files(self) -> dict[str, bytes]:
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


class ObjectStoreLaws:
    def test_a_folder_is_in_the_bucket_and_a_second_time_sends_nothing(self, site: StoreSite) -> None:
        site.write("large", os.urandom(20 * MIB + 5))
        first = site.store().store(site.host, str(site.folder))
        assert site.objects() == site.files()
        assert (first.files, first.present) == (4, 0)
        assert first.bytes_sent == first.bytes_total
        second = site.store().store(site.host, str(site.folder))
        assert (second.present, second.bytes_sent) == (4, 0)
        assert site.store().compare(site.host, str(site.folder)).equal

    def test_what_is_there_with_other_content_is_refused_and_stays(self, site: StoreSite) -> None:
        for content in (b"other", b"longer than it was"):
            site.s3.put_object(Bucket=site.bucket, Key=f"{site.prefix}/a.txt", Body=content)
            with pytest.raises(DataError, match=r"a\.txt is in the bucket with other content"):
                site.store().store(site.host, str(site.folder))
            assert site.objects()["a.txt"] == content

    def test_a_comparison_goes_by_checksum_and_names_what_differs(self, site: StoreSite) -> None:
        site.store().store(site.host, str(site.folder))
        (site.folder / "a.txt").write_bytes(b"FIRST")  # the same size
        site.write("new", b"x")
        (site.folder / "empty").unlink()
        found = site.store().compare(site.host, str(site.folder))
        assert found.counts == {"missing": 1, "extra": 1, "different": 1}
        assert (found.missing, found.extra, found.different) == (
            (f"{site.prefix}/new",),
            (f"{site.prefix}/empty",),
            (f"{site.prefix}/a.txt",),
        )
        assert not found.equal

    def test_every_object_carries_the_tags_that_were_given_or_none_where_the_server_keeps_none(
        self, site: StoreSite
    ) -> None:
        site.write("large", os.urandom(9 * MIB))
        site.store().store(site.host, str(site.folder))
        kept = TAGS if "tags" in site.store().abilities else {}
        for name in site.files():
            told = site.s3.get_object_tagging(Bucket=site.bucket, Key=f"{site.prefix}/{name}")["TagSet"]
            assert {each["Key"]: each["Value"] for each in told} == kept

    def test_what_it_does_not_declare_it_refuses_and_sends_nothing(self, site: StoreSite) -> None:
        for ability in set(get_args(StoreAbility)) - site.store().abilities:
            if ability in WISHES:
                with pytest.raises(TargetLacks, match=ability.replace("_", " ")) as caught:
                    site.store(**WISHES[ability])
                assert ability in caught.value.hint
        assert site.objects() == {}
