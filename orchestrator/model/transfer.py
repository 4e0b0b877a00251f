"""What a hop moved and proved."""

from typing import Literal

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import DatasetName, Digest, HostName


class TransferReport(Frozen):
    """One dataset over one hop. `bytes_wire` is what crossed the network, `bytes_total` what the dataset holds."""

    dataset: DatasetName
    source: HostName
    replica: HostName
    method: str  # rsync, pg_basebackup, streaming, block_delta …
    bytes_total: int
    bytes_wire: int
    files: int = 0
    seconds: float
    changed: tuple[str, ...] = ()  # names of what moved, cut at a limit
    detail: dict[str, str] = {}


class ContentDigest(Frozen):
    """Digest of one dataset at one host, made by that host from the content alone."""

    dataset: DatasetName
    host: HostName
    digest: Digest
    algorithm: Literal["tree/v1", "postgresql/v1", "block/v1"]
    bytes_read: int = 0
    entries: int = 0
    seconds: float = 0.0


class ClusterEnd(Frozen):
    """Where a cluster's log ends. Of two clusters of one origin, differences of both numbers count what one lacks."""

    lsn: str
    position: int  # the same, in bytes since the log began
    transactions: int  # numbers given to transactions so far, also to those that changed nothing that lasts


class LogAlone(Frozen):
    """What of a cluster's log one host holds and another does not. `start` is "" where it begins with the log itself.

    `parted`: the other host's history left the log at `start` and went on without it.
    """

    bytes: int
    transactions: int
    start: str = ""
    end: str = ""
    parted: bool = False


class ClusterCheck(Frozen):
    """What PostgreSQL's own checks said of a clone that was opened at `lsn`: by check, `passed: …` or `not shown: why`.

    A check that failed is an error, never an entry here.
    """

    dataset: DatasetName
    host: HostName
    lsn: str
    digest: Digest
    checks: dict[str, str]


class Lag(Frozen):
    """How far a standby is behind. `seconds_behind` is None where nobody can tell."""

    bytes_behind: int
    seconds_behind: float | None
    received: str = ""
    replayed: str = ""
    streaming: bool = False
