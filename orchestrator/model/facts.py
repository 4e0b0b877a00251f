"""What hosts really are, as the survey found them."""

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import DatasetName, Digest, HostName


class DatasetFacts(Frozen):
    """One dataset on one host. `exists` is False where a replica has yet to be made."""

    exists: bool
    bytes_used: int = 0
    files: int = 0
    file_system: str = ""
    bytes_free: int = 0
    version: str = ""  # PostgreSQL: server_version_num of the binaries
    detail: dict[str, str] = {}


class HostFacts(Frozen):
    """One host, at one time."""

    host: HostName
    reachable: bool
    why_not: str = ""
    hostname: str = ""
    operating_system: str = ""
    kernel: str = ""
    architecture: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    python: str = ""
    tools: dict[str, str] = {}  # program → version, "" where it is missing
    listening: tuple[int, ...] = ()
    peers: dict[str, tuple[int, ...]] = {}  # remote address → listening ports it is connected to
    clock_offset_seconds: float = 0.0
    datasets: dict[DatasetName, DatasetFacts] = {}


class Facts(Frozen):
    """What the survey found on all hosts."""

    hosts: dict[HostName, HostFacts]
    taken_at: str  # RFC 3339, UTC
    digest: Digest
