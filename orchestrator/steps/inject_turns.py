"""Which injects fit a system, and whose turn it is. Pure."""

from collections.abc import Iterable, Mapping

from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.drill import INJECTS, InjectName
from orchestrator.model.system import System

NEEDS_TREE = frozenset({"tampered_file", "wrong_mapping", "dead_link", "replica_behind"})
NEEDS_CLUSTER = frozenset({"corrupted_block", "expired_credential"})

NEEDS_FILES = frozenset({"quota_full", "slow_disk"})


def why_not_into(inject: InjectName, system: System) -> str:
    """Why `inject` cannot be put into a drill of `system`; empty where it can."""
    trees = any(isinstance(each, FileTree) for each in system.datasets)
    clusters = [each for each in system.datasets if isinstance(each, PostgresCluster)]
    if inject in NEEDS_TREE and not trees:
        return f"{system.name} has no file tree"
    if inject in NEEDS_CLUSTER and not clusters:
        return f"{system.name} has no database"
    if inject == "expired_credential" and not clusters[0].replication_password:
        return f"{clusters[0].name} names no credential (replication_password)"
    if inject in NEEDS_FILES and not (trees or clusters):
        return f"{system.name} has no file tree and no database"
    if inject == "stopped_dependency" and not (clusters or system.services):
        return f"{system.name} starts nothing"
    return ""


def in_turn(
    system: System, last: Mapping[InjectName, str], among: Iterable[InjectName] = INJECTS
) -> list[InjectName]:
    """The injects that fit, the next one first: those that were never put in, then the one that was longest ago.

    `last` says when each was put into a drill of the system, RFC 3339 UTC. So each comes up once before any does again.
    """
    fitting = [each for each in INJECTS if each in set(among) and not why_not_into(each, system)]
    return sorted(fitting, key=lambda each: last.get(each, ""))
