"""Whether a source has shrunk so much that a copy would do harm: an unmounted disk must not empty its replica.

Rules: a source without content, where the replica has some, is always too small; so is one whose copy would delete
more than the allowed share of the replica's entries, or that holds less than the rest of the bytes that were last
proved there.
"""

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.trees import CopyOutlook
from orchestrator.foundation.errors import SourceShrank
from orchestrator.model.dataset import FileTree
from orchestrator.model.site import Side
from orchestrator.steps.places import host_at
from orchestrator.steps.points import newest_point
from orchestrator.steps.still_data import still_data

FOLDER_ALONE = 1  # an empty tree has one entry, itself
SMALL_ENTRIES = 20  # so few may come and go: a share of them says little


def shrinkage(outlook: CopyOutlook, *, share_max: float, bytes_before: int = 0) -> str:
    """What is wrong with the source, in words; empty where nothing is. `bytes_before`: at the last good point."""
    if outlook.entries_source <= FOLDER_ALONE < outlook.entries_replica:
        return f"the source is empty, the replica has {outlook.entries_replica - FOLDER_ALONE} entries"
    if outlook.bytes_source == 0 < bytes_before:
        return f"the source holds no byte any more, {bytes_before} were there at the last good point"
    share = outlook.entries_deleted / outlook.entries_replica if outlook.entries_replica else 0.0
    if share > share_max and outlook.entries_deleted > SMALL_ENTRIES:
        return (
            f"the copy would delete {outlook.entries_deleted} of {outlook.entries_replica} entries at the replica "
            f"({share:.0%}, {share_max:.0%} are allowed)"
        )
    lost = 1 - outlook.bytes_source / bytes_before if bytes_before else 0.0
    if lost > share_max and outlook.entries_replica > SMALL_ENTRIES:
        return (
            f"the source holds {outlook.bytes_source} bytes, {bytes_before} were there at the last good point "
            f"({lost:.0%} less, {share_max:.0%} are allowed)"
        )
    return ""


def refuse_shrunk(drivers: Drivers, deed: Deed, source: Side, replica: Side) -> None:
    """SourceShrank where a tree at `source` lost more than may be lost in one copy to `replica`. Volumes and databases
    are looked at by their movers, which know it without looking twice.
    """
    last = newest_point(drivers.catalogue, deed.system_plan.system.name)
    before = {held.dataset: held.bytes_total for held in last.datasets} if last else {}
    for tree in still_data(deed):
        if isinstance(tree, FileTree):
            here, there = host_at(deed, source, tree.name), host_at(deed, replica, tree.name)
            outlook = drivers.trees.outlook(tree, here, there)
            share_max = drivers.shrink_share_max
            if problem := shrinkage(outlook, share_max=share_max, bytes_before=before.get(tree.name, 0)):
                raise SourceShrank(
                    f"{tree.name}, {here.name} to {there.name}: {problem}. Nothing was copied",
                    hint=f"See that every disk is mounted at {here.name}. If it is meant, remove it from {there.name}.",
                )
