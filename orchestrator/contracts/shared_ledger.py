"""A ledger that several machines write: what the database they share keeps of it, so that its order is one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol


class SharedHead(NamedTuple):
    """A signed head of the log. `number` says in which order they were signed, whatever their sizes are."""

    number: int
    size: int
    root: bytes
    note: str


class Unnumbered(NamedTuple):
    """An entry but for its number within its run."""

    run: str
    numbered: Callable[[int], bytes]


class SharedLedger(Protocol):
    """The entries, heads and artifacts of one log, for any number of processes on any machines. Fails with
    EngineUnavailable.

    Laws (tests/laws/shared_ledger_laws.py):
      found      the first caller founds the log with these words and entries, all or nothing, and is told True;
                 everybody else is told False, and nothing changes
      about      the words that the log was founded with; empty before
      append     gives each entry the next place of the log and the next number of its run, in one transaction; entries
                 are never changed or removed; durable when it returns
      settle     keeps the root of a size, unless one is kept; returns what is kept
      sign       keeps the note of a settled size, unless one is kept; returns what is kept
    """

    def found(self, words: dict[str, str], entries: Sequence[tuple[str, int, bytes]]) -> bool:
        """`entries` in the order of the log: (run, number within the run, entry)."""
        ...

    def about(self) -> dict[str, str]: ...
    def size(self) -> int: ...
    def append(self, entries: Sequence[Unnumbered]) -> range: ...
    def entries(self, first: int, *, limit: int) -> Sequence[bytes]: ...
    def heads(self, *, after: int) -> Sequence[SharedHead]:
        """Those that were signed after the one with this number, in that order. 0: all."""
        ...

    def settle(self, size: int, root: bytes) -> bytes: ...
    def sign(self, size: int, note: str) -> str: ...

    def keep_artifact(self, digest: str, content: bytes) -> None: ...
    def artifact(self, digest: str) -> bytes | None: ...
