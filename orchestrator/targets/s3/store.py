"""Folders of hosts as objects of a bucket: sent by the host itself, compared by checksum, locked where asked for."""

import hashlib
import urllib.parse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, get_args

from pydantic import Field

from orchestrator.contracts.buckets import BucketComparison, StoredFolder
from orchestrator.contracts.progress import ProgressSink
from orchestrator.contracts.transport import Transports
from orchestrator.foundation.errors import TargetLacks
from orchestrator.foundation.limits import KIB
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.inventory import StoreAbility
from orchestrator.targets.host_asking import KeyGiver, ask_host

PROGRAM = Path(__file__).parent.parent / "host_programs" / "cloud_data"
STREAMS = 8
DAY_SECONDS = 24 * 3600.0
ALL_OF_AWS: tuple[StoreAbility, ...] = get_args(StoreAbility)


class StorageRule(Frozen):
    """Files that nobody wrote to for so long, and that are large enough, go into this class: hot, warm and cold."""

    storage_class: str
    older_than_seconds: float = Field(ge=0)
    bytes_min: int = Field(default=128 * KIB, ge=0)  # what S3 charges at least in its cooler classes


# The coldest first: the first rule that fits a file is its own.
USUAL_RULES = (
    StorageRule(storage_class="GLACIER_IR", older_than_seconds=365 * DAY_SECONDS),
    StorageRule(storage_class="STANDARD_IA", older_than_seconds=60 * DAY_SECONDS),
)


class S3Service(KeyGiver, Protocol):
    """Where a bucket is, and the keys that open it."""

    @property
    def region(self) -> str: ...
    def endpoint_at_hosts(self, service: str) -> str: ...


class S3Store:
    """contracts.buckets.ObjectStore over S3 and what speaks like it."""

    def __init__(
        self,
        session: S3Service,
        transports: Transports,
        bucket: str,
        prefix: str,
        *,
        tags: Mapping[str, str],
        can: Collection[StoreAbility] = ALL_OF_AWS,
        rules: tuple[StorageRule, ...] | None = None,
        locked_until: str = "",
    ) -> None:
        """`tags` are what every new object carries, where the server keeps tags. `locked_until` (RFC 3339) locks every
        new object in compliance mode; "" leaves that to the bucket. `rules` are the usual ones where none are given and
        the server knows storage classes.
        """
        self._can = frozenset(can)
        for wished, ability in ((rules, "storage_classes"), (locked_until, "object_lock")):
            if wished and ability not in self._can:
                raise TargetLacks(
                    f"the server of s3://{bucket} is not said to have {ability.replace('_', ' ')}",
                    hint=f"Where it has, add {ability} to `can` of the bucket in policy.buckets.",
                )
        if rules is None:
            rules = USUAL_RULES if "storage_classes" in self._can else ()
        self._session = session
        self._transports = transports
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        self._rules = rules
        self._headers: dict[str, str] = {}
        if "tags" in self._can:
            self._headers["x-amz-tagging"] = urllib.parse.urlencode(sorted(tags.items()))
        if locked_until:
            self._headers |= {
                "x-amz-object-lock-mode": "COMPLIANCE",
                "x-amz-object-lock-retain-until-date": locked_until,
            }

    @property
    def abilities(self) -> frozenset[StoreAbility]:
        return self._can

    def store(self, host: Host, path: str, *, progress: ProgressSink | None = None) -> StoredFolder:
        """`path`, a folder or a file of the host, below the prefix."""
        rules = [rule.model_dump() for rule in self._rules]
        found = self._ask(host, {"do": "store", "path": path, "classes": rules, "headers": self._headers}, progress)
        return StoredFolder(
            files=found["files"],
            present=found["present"],
            bytes_total=found["bytes"],
            bytes_sent=found["bytes_sent"],
            storage_classes=found["storage_classes"],
            seconds=found["seconds"],
            memory_bytes=found["memory_bytes"],
        )

    def compare(self, host: Host, path: str, *, progress: ProgressSink | None = None) -> BucketComparison:
        found = self._ask(host, {"do": "compare", "path": path}, progress)
        names = BucketComparison.model_fields.keys() & found.keys()
        return BucketComparison(**{name: found[name] for name in names}, bytes_read=found["bytes"])

    def _ask(self, host: Host, wish: dict[str, Any], progress: ProgressSink | None) -> dict[str, Any]:
        place = hashlib.sha256(f"{self._bucket}/{self._prefix}".encode()).hexdigest()[:16]
        request = {
            **wish,
            "work": host.path(f"/var/lib/skerry/cloud/bucket-{place}"),
            "endpoint": self._session.endpoint_at_hosts("s3"),
            "region": self._session.region,
            "bucket": self._bucket,
            "prefix": self._prefix,
            "can": sorted(self._can),
            "streams": STREAMS,
        }
        where = f"s3://{self._bucket}/{self._prefix}"
        return ask_host(self._session, self._transports(host), PROGRAM, request, where, progress)
