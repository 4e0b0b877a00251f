"""The bucket of the vault: it must lock by itself what comes in, and every object in it is locked long enough."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from orchestrator.foundation.errors import TargetError
from orchestrator.targets.aws.session import aws_errors, error_code

MODE = "COMPLIANCE"  # in governance mode a privileged account could still remove what is locked
PARALLEL_MAX = 8
_REFUSALS = {"AccessDenied", "AccessDeniedException"}
_TEMPORARY = "locks/"  # the repository's own signs of who works in it; they come and go


class S3VaultBucket:
    """`VaultBucket`. The keys are those of the vault, asked when the first call is made."""

    def __init__(self, bucket: str, prefix: str, *, region: str, endpoint: str, secrets: Callable[[str], str]) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._region = region
        self._endpoint = endpoint
        self._secrets = secrets

    @cached_property
    def _s3(self) -> Any:
        style: Any = {"addressing_style": "path"} if self._endpoint else {}
        with aws_errors(f"opening the vault {self._bucket}"):
            return boto3.Session(
                aws_access_key_id=self._secrets("access_key"),
                aws_secret_access_key=self._secrets("secret_key"),
                region_name=self._region,
            ).client(
                "s3",
                endpoint_url=self._endpoint or None,
                config=Config(s3=style, retries={"mode": "standard", "total_max_attempts": 8}),
            )

    def check(self, *, locked_days: int) -> None:
        wanted = f"it must lock every new object in compliance mode for {locked_days} days or longer"
        hint = (
            f"Have its owner set it: aws s3api put-object-lock-configuration --bucket {self._bucket}"
            f" (ObjectLockEnabled, DefaultRetention {MODE}, Days {locked_days}). Nothing was copied."
        )
        with aws_errors(f"looking at the lock of the vault {self._bucket}"):
            try:
                answer = self._s3.get_object_lock_configuration(Bucket=self._bucket)
            except ClientError as error:
                if error_code(error) != "ObjectLockConfigurationNotFoundError":
                    raise
                answer = {}
        found = answer.get("ObjectLockConfiguration", {})
        rule = found.get("Rule", {}).get("DefaultRetention", {})
        days = int(rule.get("Days", 0)) or int(rule.get("Years", 0)) * 365
        if found.get("ObjectLockEnabled") != "Enabled":
            raise TargetError(f"the bucket {self._bucket} has no Object Lock; {wanted}", hint=hint)
        if rule.get("Mode") != MODE or days < locked_days:
            said = f"{rule['Mode']} for {days} days" if rule else "nothing"
            raise TargetError(f"the bucket {self._bucket} locks by default: {said}; {wanted}", hint=hint)

    def lock_all(self, *, locked_until: str) -> int:
        """Copies share what is equal in them, so an object of an old copy must outlive its first lock."""
        until = datetime.fromisoformat(locked_until)
        with ThreadPoolExecutor(PARALLEL_MAX) as pool:
            return len(list(pool.map(lambda one: self._lock(one[0], one[1], until), list(self._objects()))))

    def try_removal(self, name: str) -> str:
        key = f"{self._prefix}-proofs/{name}"
        body = f"written to be kept: {hashlib.sha256(key.encode()).hexdigest()}\n".encode()
        with aws_errors(f"proving the lock of the vault {self._bucket}"):
            # No lock is asked for: what is proved is what the bucket does by itself.
            version = self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256")[
                "VersionId"
            ]
            try:
                self._s3.delete_object(Bucket=self._bucket, Key=key, VersionId=version)
            except ClientError as error:
                if error_code(error) in _REFUSALS:
                    said = str(error.response["Error"].get("Message", "")).strip()
                    return f"{error_code(error)}: {said}" if said else error_code(error)
                raise
        raise TargetError(
            f"the bucket {self._bucket} let a locked object be removed; it is no vault",
            hint="Look at its Object Lock and at who may bypass it. The copy is not recorded.",
        )

    def _objects(self) -> Iterator[tuple[str, str]]:
        """(key, version) of everything that the repository consists of now."""
        with aws_errors(f"listing the vault {self._bucket}"):
            pages = self._s3.get_paginator("list_object_versions").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}/"
            )
            for page in pages:
                for each in page.get("Versions", []):
                    if each["IsLatest"] and not each["Key"].startswith(f"{self._prefix}/{_TEMPORARY}"):
                        yield each["Key"], each["VersionId"]

    def _lock(self, key: str, version: str, until: datetime) -> None:
        with aws_errors(f"locking s3://{self._bucket}/{key}"):
            head = self._s3.head_object(Bucket=self._bucket, Key=key, VersionId=version)
            present = head.get("ObjectLockRetainUntilDate")
            if head.get("ObjectLockMode") == MODE and present is not None and present >= until:
                return
            # S3 keeps whole seconds.
            wanted = max(filter(None, (present, until))).astimezone(UTC).replace(microsecond=0)
            wanted += timedelta(seconds=1) if wanted < until else timedelta()
            lock = {"Mode": MODE, "RetainUntilDate": wanted}
            self._s3.put_object_retention(Bucket=self._bucket, Key=key, VersionId=version, Retention=lock)
