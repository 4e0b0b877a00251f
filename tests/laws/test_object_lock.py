"""The fake locked bucket and S3 (moto, in this process) obey the same laws."""

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from orchestrator.foundation.errors import TargetError
from orchestrator.targets.s3.object_lock import S3ObjectLock
from tests.fakes.object_lock import FakeObjectLock
from tests.laws.object_lock_laws import UNTIL, ObjectLockLaws


class TestFakeObjectLock(ObjectLockLaws):
    @pytest.fixture
    def lock(self):
        return FakeObjectLock()


class TestS3ObjectLock(ObjectLockLaws):
    @pytest.fixture
    def lock(self, monkeypatch):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        with mock_aws():
            s3 = boto3.client("s3", region_name="us-east-1")
            s3.create_bucket(Bucket="worm", ObjectLockEnabledForBucket=True)
            s3.create_bucket(Bucket="plain")
            yield S3ObjectLock("worm", region="us-east-1")

    def test_a_bucket_that_locks_nothing_is_refused(self, lock):
        with pytest.raises(TargetError):
            S3ObjectLock("plain", region="us-east-1").put("log/1", b"head", locked_until=UNTIL)

    def test_a_missing_bucket_is_an_error_of_the_tree(self, lock):
        with pytest.raises(TargetError, match="missing"):
            S3ObjectLock("missing", region="us-east-1").list("log/")

    def test_s3_itself_deletes_nothing_that_is_held_or_locked(self, lock):
        s3 = boto3.client("s3", region_name="us-east-1")
        copy = lock.put("log/1", b"head", locked_until=UNTIL)
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket="worm", Key=copy.key, VersionId=copy.version)
        s3.put_object(Bucket="worm", Key="log/2", Body=b"not locked")
        (version,) = [each.version for each in lock.list("log/2")]
        lock.hold("log/2", version, on=True)
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket="worm", Key="log/2", VersionId=version)
        lock.hold("log/2", version, on=False)
        s3.delete_object(Bucket="worm", Key="log/2", VersionId=version)
        assert [each.key for each in lock.list("log/")] == ["log/1"]
