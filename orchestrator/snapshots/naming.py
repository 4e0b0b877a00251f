"""Where points lie, and how one tells our own from what others made.

Rules: a point is the folder `.skerry-points/<dataset>/<point id>` beside its tree, holding `tree/` and `point.json`; it
appears whole, by a rename; a folder without a `point.json` of ours is foreign, and is neither listed nor touched.
"""

from pathlib import PurePosixPath

from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host

POINTS_FOLDER = ".skerry-points"
POINT_FORMAT = "skerry point/v1"


def points_folder(tree: FileTree, host: Host) -> str:
    """The folder of a tree's points on a host."""
    return str(PurePosixPath(host.path(tree.path)).parent / POINTS_FOLDER / tree.name)
