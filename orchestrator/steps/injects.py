"""What a drill may find wrong on purpose: something broken within its bubble that has to be found, and named."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.contracts.bubbles import BubbleData
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.errors import UsageError
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.names import Name
from orchestrator.model.system import System
from orchestrator.steps.places import services_in_start_order

# tampered_file       one byte of one file of a tree is another
# corrupted_block     one byte of one page of a database is another
# wrong_mapping       a tree's place shows something else than what is held
# stopped_dependency  what the first service depends on, or the first service itself, is not started
# quota_full          nothing can be written to the data
InjectName = Literal["tampered_file", "corrupted_block", "wrong_mapping", "stopped_dependency", "quota_full"]
INJECTS: tuple[InjectName, ...] = (
    "tampered_file",
    "corrupted_block",
    "wrong_mapping",
    "stopped_dependency",
    "quota_full",
)

ROOM_BYTES = 64 * 1024
NO_ROOM = "No space left on device"
WRONG_PLACE = "/usr/share"  # of the host, read-only in any bubble

# Changes the last byte of the largest file that is named so, below the folder that is named.
FLIP = """
import os, sys
found = [os.path.join(place, name) for place, _, names in os.walk(sys.argv[1]) for name in names]
files = [path for path in found if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path)]
if not files:
    sys.exit("no file below " + sys.argv[1])
path = max(files, key=lambda each: (os.path.getsize(each), each))
times = os.stat(path)
with open(path, "r+b") as stream:
    stream.seek(-100 if os.path.getsize(path) > 100 else -1, os.SEEK_END)
    byte = stream.read(1)
    stream.seek(-1, os.SEEK_CUR)
    stream.write(bytes([byte[0] ^ 1]))
os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
"""


@dataclass(frozen=True)
class Inject:
    """One of the catalogue, for one system; without a name, none."""

    name: InjectName | None
    system: System

    def __post_init__(self) -> None:
        wants = {"tampered_file": FileTree, "wrong_mapping": FileTree, "corrupted_block": PostgresCluster}
        kind = wants.get(self.name or "")
        if kind is not None and not any(isinstance(each, kind) for each in self.system.datasets):
            what = "file tree" if kind is FileTree else "database"
            raise UsageError(f"{self.system.name} has no {what}, so {self.name} cannot be put into its bubble")

    @property
    def about(self) -> str:
        """What it is put into, as findings call it."""
        return ", ".join(self._names())

    def _names(self) -> list[str]:
        if self.name in ("tampered_file", "wrong_mapping"):
            return [self._tree().name]
        if self.name == "corrupted_block":
            return [self._cluster().name]
        if self.name == "stopped_dependency":
            stopped = list(self.not_started(self.system))
            return stopped + [each.name for each in _clusters(self.system) if each.service in stopped]
        return [each.name for each in self.system.datasets]

    def given(self, system: System, data: Sequence[BubbleData]) -> list[BubbleData]:
        """The datasets as the bubble is opened with them."""
        if self.name == "quota_full":
            return [each.model_copy(update={"bytes_max": ROOM_BYTES}) for each in data]
        return list(data)

    def act(self, system: System, host: Host, inside: Transport) -> None:
        """Break it, once the bubble is proved isolated and before anything starts."""
        if self.name == "tampered_file":
            inside.run(["python3", "-c", FLIP, host.path(self._tree().path)])
        if self.name == "corrupted_block":
            inside.run(["python3", "-c", FLIP, f"{host.path(self._cluster().data_directory)}/base"])
        if self.name == "wrong_mapping":
            inside.run(["mount", "--bind", WRONG_PLACE, host.path(self._tree().path)])

    def not_started(self, system: System) -> Collection[Name]:
        if self.name != "stopped_dependency":
            return ()
        clusters = _clusters(system)
        if clusters:
            return (clusters[0].service,)
        return (services_in_start_order(system.services)[0].name,)

    def is_named_by(self, why: str) -> bool:
        """Whether a reason why the drill did not pass names what was broken."""
        if self.name == "stopped_dependency" and "no answer" in why:
            return True  # a service that is not there answers no check, and the check says so
        if self.name == "quota_full":
            return NO_ROOM in why
        return any(name in why for name in self._names())

    def _tree(self) -> FileTree:
        return next(each for each in self.system.datasets if isinstance(each, FileTree))

    def _cluster(self) -> PostgresCluster:
        return _clusters(self.system)[0]


def _clusters(system: System) -> list[PostgresCluster]:
    return [each for each in system.datasets if isinstance(each, PostgresCluster)]
