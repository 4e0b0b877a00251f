"""What the cloud costs, as somebody who has a contract with it wrote it down; and what was chosen with that."""

from typing import Literal

from pydantic import Field

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import HostName, SystemName

Tier = Literal["hot", "warm", "dr_small"]
Architecture = Literal["x86_64", "arm64"]
ARCHITECTURES: dict[str, Architecture] = {"x86_64": "x86_64", "aarch64": "arm64"}  # as machines name themselves
HOURS_PER_MONTH = 730.0


class InstancePrice(Frozen):
    """One instance type: what it has, and what an hour of it costs."""

    vcpus: int = Field(ge=1)
    memory_gib: float = Field(gt=0)
    disk_mib_per_second: float = Field(gt=0)  # what it can read and write, sustained
    per_hour: float = Field(ge=0)
    architecture: Architecture = "x86_64"


class StoragePrice(Frozen):
    """What one GiB costs for a month."""

    volume_gib_month: float = Field(ge=0)
    snapshot_gib_month: float = Field(ge=0)
    object_gib_month: float | None = Field(default=None, ge=0)


class PriceFile(Frozen):
    """Prices of one region. `source` says where they are from and of which day: a price nobody dated is a guess."""

    currency: str = Field(min_length=3, max_length=3)
    region: str
    source: str = Field(min_length=1)
    instances: dict[str, InstancePrice] = Field(min_length=1)
    storage: StoragePrice


class MeasuredLoad(Frozen):
    """What a machine really uses, at its busiest."""

    vcpus_busy: float = Field(ge=0)
    memory_gib: float = Field(ge=0)
    disk_mib_per_second: float = Field(ge=0)
    disk_gib: float = Field(ge=0)
    architecture: Architecture = "x86_64"
    measured_on: str = ""  # the host that was looked at; "" where a person said so
    seconds: float = 0.0  # how long, over all looks
    measured_at: str = ""  # RFC 3339 UTC, of the last look

    def together(self, other: "MeasuredLoad") -> "MeasuredLoad":
        """The busiest of both looks at one host."""
        names = ("vcpus_busy", "memory_gib", "disk_mib_per_second", "disk_gib")
        highest: dict[str, float] = {name: max(getattr(self, name), getattr(other, name)) for name in names}
        at = max(self.measured_at, other.measured_at)
        return other.model_copy(update={**highest, "seconds": self.seconds + other.seconds, "measured_at": at})


class SizeChoice(Frozen):
    """An instance type that was proposed, why, and what it costs. Money is in the price file's currency."""

    system: SystemName
    host: HostName
    tier: Tier
    instance_type: str
    because: str
    load: MeasuredLoad
    per_month: float  # the machine as its tier runs it, with its disk
    per_drill: float  # one test machine for a drill's hours, with its disk for that time
    drill_hours: float
    currency: str
    prices_from: str
    prices_digest: str
    by: str = ""  # who asked
    at: str = ""  # RFC 3339 UTC
