"""Looks at points for what ransomware leaves: each point against the one before it, on the host that holds them."""

from collections.abc import Sequence
from typing import Protocol

from orchestrator.contracts.trees import Point
from orchestrator.model.dataset import FileTree
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import PointId


class PointLook(Frozen):
    """What one point of a tree shows against the point before it; the first has nothing to be compared with.

    `compared`: changed or renamed files whose content could be measured before and after; `noise`: those of them that
    were not like noise and now are. `renamed`: files that have the same name as before with `suffix` behind it, the
    suffix that most of them have. `canaries`: those that are gone or changed, each with what is wrong.
    """

    point: PointId
    files_before: int
    files: int
    changed: int
    compared: int
    noise: int
    renamed: int
    suffix: str = ""
    canaries: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


class PointLooks(Protocol):
    """Laws (tests/unit/test_clean_points.py):
      reads every name of each point, content of what changed and of canaries alone; changes nothing
    Fails with DataError where a point is not there, else with a HostError.
    """

    def __call__(self, tree: FileTree, host: Host, points: Sequence[Point]) -> Sequence[PointLook]:
        """Of each of `points`, oldest first."""
        ...
