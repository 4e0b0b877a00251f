"""An empty tree never takes the place of one that holds something, unless a person said that it is meant."""

import threading

from orchestrator.contracts.programs import root_user
from orchestrator.contracts.transport import Transports
from orchestrator.foundation.errors import SourceShrank
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host

LOOK_SECONDS_MAX = 60.0


class EmptiedTrees:
    """A disk that is not mounted looks like an empty folder; copied, it would empty the replica, and every one after.

    Safe for many threads. What was said is kept in this process alone.
    """

    def __init__(self, transports: Transports) -> None:
        self._transports = transports
        self._lock = threading.Lock()
        self._meant: set[tuple[str, str]] = set()

    def let_empty(self, tree: FileTree) -> None:
        with self._lock:
            self._meant.add((tree.name, tree.path))

    def refuse(self, tree: FileTree, source: Host, source_path: str, replica: Host) -> None:
        """SourceShrank where a copy would leave nothing of what the replica holds. A source that is not there at all is
        for the copy to complain of.
        """
        with self._lock:
            if (tree.name, tree.path) in self._meant:
                return
        if self._first_entry(source, source_path) == "" and self._first_entry(replica, replica.path(tree.path)):
            raise SourceShrank(
                f"{tree.name}: nothing is at {source.name}:{source_path}, and {replica.name} holds something",
                hint=f"See that every disk is mounted at {source.name}. If it is meant to be empty, empty it at "
                f"{replica.name} too, then run the same command again. Nothing was copied.",
            )

    def _first_entry(self, host: Host, path: str) -> str | None:
        """Empty for a tree without entries; None where there is no tree, or it cannot be looked at."""
        words = ["find", f"{path}/", "-mindepth", "1", "-maxdepth", "1", "-printf", "there", "-quit"]
        done = self._transports(host).run(words, user=root_user(host), timeout_seconds=LOOK_SECONDS_MAX, check=False)
        return done.text if done.exit_code == 0 else None
