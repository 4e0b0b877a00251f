"""Copies in an S3 bucket under Object Lock in compliance mode, meant to be in another account than the operator's."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from orchestrator.contracts.object_lock import LockedCopy
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import TargetError, TargetForbidden

_FORBIDDEN = {"AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_THERE_ALREADY = {"PreconditionFailed", "ConditionalRequestConflict"}


class S3ObjectLock:
    """One bucket. Credentials are found by the SDK's own chain, by profile where one is named."""

    def __init__(self, bucket: str, *, region: str, endpoint: str = "", profile: str = "") -> None:
        self._bucket = bucket
        try:
            session = boto3.Session(profile_name=profile or None, region_name=region)
            self._s3: Any = session.client("s3", endpoint_url=endpoint or None)
        except (BotoCoreError, ValueError) as error:
            raise TargetError(f"the bucket {bucket} can not be opened: {error}") from error

    def put(self, key: str, content: bytes, *, locked_until: str) -> LockedCopy:
        try:
            answer = self._s3.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=content,
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=datetime.fromisoformat(locked_until),
                ChecksumAlgorithm="SHA256",
                IfNoneMatch="*",
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _THERE_ALREADY:
                return self._present(key)
            raise self._error("put", key, error) from error
        except BotoCoreError as error:
            raise self._error("put", key, error) from error
        if not answer.get("VersionId"):
            raise TargetError(f"{self._bucket}: the bucket keeps no versions, so it locks nothing")
        return LockedCopy(
            key=key,
            version=str(answer["VersionId"]),
            sha256=hashlib.sha256(content).hexdigest(),
            locked_until=locked_until,
        )

    def list(self, prefix: str) -> Sequence[LockedCopy]:
        try:
            pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix)
            found = [version for page in pages for version in page.get("Versions", [])]
        except (ClientError, BotoCoreError) as error:
            raise self._error("list", prefix, error) from error
        copies = [
            LockedCopy(key=each["Key"], version=each["VersionId"], stored_at=timestamp(each["LastModified"]))
            for each in found
        ]
        return sorted(copies, key=lambda copy: (copy.stored_at, copy.key))

    def look(self, key: str, version: str) -> LockedCopy:
        try:
            head = self._s3.head_object(Bucket=self._bucket, Key=key, VersionId=version)
        except (ClientError, BotoCoreError) as error:
            raise self._error("look at", key, error) from error
        until = head.get("ObjectLockRetainUntilDate")
        return LockedCopy(
            key=key,
            version=version,
            stored_at=timestamp(head["LastModified"]),
            locked_until=timestamp(until) if until else "",
            held=head.get("ObjectLockLegalHoldStatus") == "ON",
        )

    def extend(self, key: str, version: str, *, locked_until: str) -> None:
        # Compliance mode refuses to shorten; asking first keeps an S3 that does not from doing so.
        present = self.look(key, version).locked_until
        if present and datetime.fromisoformat(present) >= datetime.fromisoformat(locked_until):
            return
        lock = {"Mode": "COMPLIANCE", "RetainUntilDate": datetime.fromisoformat(locked_until)}
        try:
            self._s3.put_object_retention(Bucket=self._bucket, Key=key, VersionId=version, Retention=lock)
        except (ClientError, BotoCoreError) as error:
            raise self._error("lock for longer", key, error) from error

    def hold(self, key: str, version: str, *, on: bool) -> None:
        status = {"Status": "ON" if on else "OFF"}
        try:
            self._s3.put_object_legal_hold(Bucket=self._bucket, Key=key, VersionId=version, LegalHold=status)
        except (ClientError, BotoCoreError) as error:
            raise self._error("hold", key, error) from error

    def _present(self, key: str) -> LockedCopy:
        """What is there already, as the bucket tells of it."""
        try:
            head = self._s3.get_object(Bucket=self._bucket, Key=key)
            content = head["Body"].read()
        except (ClientError, BotoCoreError) as error:
            raise self._error("read", key, error) from error
        until = head.get("ObjectLockRetainUntilDate")
        return LockedCopy(
            key=key,
            version=str(head.get("VersionId", "")),
            sha256=hashlib.sha256(content).hexdigest(),
            stored_at=timestamp(head["LastModified"]),
            locked_until=timestamp(until) if until else "",
        )

    def _error(self, deed: str, key: str, error: ClientError | BotoCoreError) -> TargetError:
        code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
        kind = TargetForbidden if code in _FORBIDDEN else TargetError
        return kind(f"can not {deed} s3://{self._bucket}/{key}: {error}")
