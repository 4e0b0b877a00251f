"""What came of cells that were tried, in a file: who goes on later does not try again what passed."""

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.crash.matrix_cells import Case
from tests.crash.real_estate import ROOT

KEPT = ROOT / ".crash-matrix" / "on_hosts.jsonl"


@dataclass(frozen=True)
class Tried:
    """One cell, once. `problem` is empty where it passed; `commit` is that of the code."""

    cell: str
    problem: str
    seconds: float
    commit: str


class KeptTrials:
    """A file with a line for each cell that was tried; of several of one cell the last one holds.

    Several commands may write to one file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._commit = commit_of_the_code()

    def all(self) -> dict[str, Tried]:
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        found = [Tried(**json.loads(line)) for line in lines]
        return {tried.cell: tried for tried in found}

    def passed(self, chosen: Iterable[Case]) -> list[Case]:
        known = self.all()
        return [case for case in chosen if str(case) in known and not known[str(case)].problem]

    def add(self, case: Case, problem: str, seconds: float) -> None:
        tried = Tried(str(case), problem, round(seconds, 1), self._commit)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as stream:
            stream.write(json.dumps(asdict(tried)) + "\n")

    def forget(self, chosen: Sequence[Case]) -> None:
        """These are tried anew."""
        forgotten = {str(case) for case in chosen}
        left = [tried for cell, tried in self.all().items() if cell not in forgotten]
        if self._file.exists():
            self._file.write_text("".join(json.dumps(asdict(tried)) + "\n" for tried in left))


def commit_of_the_code() -> str:
    """Short; with a plus where files were changed since."""
    told = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty=+"]
    return subprocess.run(told, capture_output=True, text=True, check=False).stdout.strip()
