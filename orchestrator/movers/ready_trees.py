"""What stands ready for the last delta of a tree: a watch on each host that keeps its digest, and an open line between.

None where something of it is missing (see kept_programs).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.contracts.access import TransferAccess
from orchestrator.contracts.authority import Order
from orchestrator.contracts.joined_program import with_libraries
from orchestrator.contracts.kept_program import KeptProgram
from orchestrator.contracts.programs import root_user
from orchestrator.contracts.transport import Transports
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.movers.host_orders import with_order
from orchestrator.movers.kept_programs import KeptPrograms, Key
from orchestrator.movers.rsync_words import enclosed
from orchestrator.movers.source_line import line_to_source

_FOLDER = Path(__file__).with_name("host_programs")
_LIBRARIES = {
    "tree_watch.py": ("tree_digest", "answering.py"),
    "rsync_line.py": ("obeyed.py", "rsync_pull.py", "answering.py"),
}
LIFE_SECONDS_MAX = 6 * 3600.0
PULL_SECONDS_MAX = 1800.0
SETTLE_SECONDS_MAX = 30.0  # clients wait meanwhile; the long way is no longer than that for most


@dataclass(frozen=True)
class Seen:
    """What a watch says of its tree now. `names`: what to bring of all that changed since it began; None: too much, or
    not to be named.
    """

    digest: str
    entries: int
    bytes_read: int
    names: tuple[str, ...] | None


class ReadyTrees:
    """Safe for many threads; one hop of one tree at a time."""

    def __init__(self, transports: Transports, access: TransferAccess) -> None:
        self._transports = transports
        self._access = access
        self._programs = KeptPrograms()

    def watch(self, tree: FileTree, host: Host) -> str:
        """Watch, and note from now on what changes; why not, where it cannot be."""
        key, request = _watch_key(tree, host), {"path": host.path(tree.path)}
        if self._ask(key, {"do": "begin"}) is not None:
            return ""
        return self._programs.begin(key, lambda: self._opened("tree_watch.py", host, request))

    def open_line(
        self, tree: FileTree, source: Host, replica: Host, *, words: Sequence[str], force_command: str
    ) -> str:
        """Open the line for `words` of rsync ({shell} and {peer} stand in them), once, and let one stand ready over it;
        why not, if not.

        Where the source cannot enclose what reads there in the tree, there is no line. The key and its certificate are
        for the login alone: they are gone when this returns.
        """

        def begin() -> KeptProgram:
            self._transports(source).run(enclosed(["true"], source.path(tree.path)), user=root_user(source))
            with line_to_source(self._access, source, replica, force_command) as access:
                request = {
                    "ssh": list(access.ssh_words),
                    "destination": access.destination,
                    "words": [word.replace("{peer}:", f"{access.destination}:", 1) for word in words],
                    "target": replica.path(tree.path),
                }
                return self._opened("rsync_line.py", replica, request)

        key = _line_key(tree, source, replica)
        why = self._programs.begin(key, begin)
        if not why and self._ask(key, {"do": "stand ready"}) is None:
            return f"the line from {replica.name} to {source.name} ended"
        return why

    def seen(self, tree: FileTree, host: Host) -> Seen | None:
        """What the tree is now, when its watch stands."""
        answer = self._ask(_watch_key(tree, host), {"do": "settle"})
        if answer is None or "cannot" in answer:
            return None
        unnamed = answer["all"] or answer["linked"]
        return Seen(
            digest=answer["digest"],
            entries=answer["entries"],
            bytes_read=answer["bytes"],
            names=None if unnamed else to_bring(answer["changed"], answer["gone"]),
        )

    def pull(
        self, tree: FileTree, source: Host, replica: Host, names: Sequence[str], order: Order | None
    ) -> dict[str, Any] | None:
        """Bring the named entries over the line; what rsync came to, None where there is no line."""
        question = with_order({"do": "pull", "names": list(names)}, order, replica)
        return self._ask(_line_key(tree, source, replica), question, timeout_seconds=PULL_SECONDS_MAX)

    def release(self, tree: FileTree | None = None) -> None:
        """End what stands ready for `tree`, or for all."""
        self._programs.end(lambda key: tree is None or key[:2] == (tree.name, tree.path))

    def _opened(self, name: str, host: Host, request: dict[str, Any]) -> KeptProgram:
        text = with_libraries(_FOLDER / name, *(_FOLDER / library for library in _LIBRARIES[name]))
        user = root_user(host)
        program = KeptProgram(self._transports(host), text, request, user=user, seconds_max=LIFE_SECONDS_MAX)
        program.open()
        return program

    def _ask(
        self, key: Key, question: dict[str, Any], *, timeout_seconds: float = SETTLE_SECONDS_MAX
    ) -> dict[str, Any] | None:
        return self._programs.ask(key, question, timeout_seconds=timeout_seconds)


def to_bring(changed: Sequence[str], gone: Sequence[str]) -> tuple[str, ...]:
    """The names as rsync takes them: what is gone is removed by comparing the folder it was in, which ends with `/`.

    rsync can be told of a missing name (--delete-missing-args), but a receiver since Debian's 3.2.7-1+deb12u5 takes
    what the sender says of it for a mode that is not valid, and refuses all of the copy.
    """
    missing = set(gone)
    compared = {f"{name.rpartition('/')[0] or '.'}/" for name in gone}
    compared = {folder for folder in compared if folder[:-1] not in missing}
    there = [name for name in changed if name not in missing and f"{name}/" not in compared]
    return (*there, *sorted(compared))


def _watch_key(tree: FileTree, host: Host) -> Key:
    return tree.name, tree.path, "watch", host.name


def _line_key(tree: FileTree, source: Host, replica: Host) -> Key:
    return tree.name, tree.path, "line", source.name, replica.name
