"""The `zfs` program in memory: datasets with files, snapshots with user properties and holds, and OpenZFS's own words.

It knows the commands that skerry speaks, refuses others, and answers as OpenZFS 2.1 does. `log` holds what was asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Answer = tuple[int, bytes, bytes]


@dataclass
class FakeSnapshot:
    files: dict[str, bytes]
    properties: dict[str, str] = field(default_factory=dict)
    holds: list[str] = field(default_factory=list)


@dataclass
class FakeZfs:
    """`mounted` names the datasets by their mountpoints; `files` are the live files of each dataset."""

    mounted: dict[str, str]
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    snapshots: dict[str, FakeSnapshot] = field(default_factory=dict)
    full: bool = False
    log: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, words: Sequence[str], stdin: bytes) -> Answer:
        self.log.append(tuple(words))
        known: dict[str, Callable[[list[str]], str]] = {
            "list": self._list,
            "snapshot": self._snapshot,
            "destroy": self._destroy,
            "hold": self._hold,
            "release": self._release,
            "holds": self._holds,
        }
        try:
            if words[1] not in known:
                raise _Refused(2, f"unrecognized command '{words[1]}'")
            return 0, known[words[1]](list(words[2:])).encode(), b""
        except _Refused as error:
            return error.code, b"", f"{error.why}\n".encode()

    def _list(self, words: list[str]) -> str:
        name = words[-1]
        columns = words[words.index("-o") + 1].split(",")
        if "snapshot" not in words:
            tops = [top for top in self.mounted if name == top or name.startswith(top.rstrip("/") + "/")]
            if not tops:
                raise _Refused(1, f"cannot open '{name}': not a ZFS filesystem")
            top = max(tops, key=len)
            found = {"name": self.mounted[top], "mountpoint": top}
            return "\t".join(found[column] for column in columns) + "\n"
        if name not in self.mounted.values():
            raise _Refused(1, f"cannot open '{name}': dataset does not exist")
        rows = []
        for full, snapshot in self.snapshots.items():  # in the order in which they were made: -s createtxg
            if full.partition("@")[0] == name:
                values = {"name": full, "userrefs": str(len(snapshot.holds)), **snapshot.properties}
                rows.append("\t".join(values.get(column, "-") for column in columns))
        return "".join(row + "\n" for row in rows)

    def _snapshot(self, words: list[str]) -> str:
        full = words.pop()
        dataset = full.partition("@")[0]
        if dataset not in self.mounted.values():
            raise _Refused(1, f"cannot open '{dataset}': dataset does not exist")
        if full in self.snapshots:
            raise _Refused(1, f"cannot create snapshot '{full}': dataset already exists")
        if self.full:
            raise _Refused(1, f"cannot create snapshot '{full}': out of space")
        pairs = [word for word in words if word != "-o"]
        properties = dict(pair.split("=", 1) for pair in pairs)
        if any(":" not in name for name in properties):
            raise _Refused(2, "invalid property")
        self.snapshots[full] = FakeSnapshot(dict(self.files.get(dataset, {})), properties)
        return ""

    def _destroy(self, words: list[str]) -> str:
        (full,) = words
        if "@" not in full:
            raise _Refused(2, f"'{full}' is a filesystem, and nothing here may destroy one")
        if full not in self.snapshots:
            raise _Refused(1, "could not find any snapshots to destroy; check snapshot names.")
        if self.snapshots[full].holds:
            raise _Refused(1, f"cannot destroy snapshot {full}: dataset is busy")
        del self.snapshots[full]
        return ""

    def _hold(self, words: list[str]) -> str:
        tag, full = words
        if full not in self.snapshots:
            raise _Refused(1, f"cannot hold snapshot '{full}': dataset does not exist")
        if tag in self.snapshots[full].holds:
            raise _Refused(1, f"cannot hold snapshot '{full}': tag already exists on this dataset")
        self.snapshots[full].holds.append(tag)
        return ""

    def _release(self, words: list[str]) -> str:
        tag, full = words
        if full not in self.snapshots:
            raise _Refused(1, f"cannot release hold from snapshot '{full}': dataset does not exist")
        if tag not in self.snapshots[full].holds:
            raise _Refused(1, f"cannot release hold from snapshot '{full}': no such tag on this dataset")
        self.snapshots[full].holds.remove(tag)
        return ""

    def _holds(self, words: list[str]) -> str:
        rows = []
        for full in words[1:]:
            if full not in self.snapshots:
                raise _Refused(1, f"cannot open '{full}': dataset does not exist")
            rows += [f"{full}\t{tag}\tSat Nov 21 22:00 2026\n" for tag in self.snapshots[full].holds]
        return "".join(rows)


class _Refused(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why
