"""Where points lie, and how one tells our own from what others made.

Rules: a point is the folder `.skerry-points/<dataset>/<point id>` beside its tree or image, with `tree/` or `volume`,
and `point.json`; it appears whole, by a rename; a folder without a `point.json` of ours is foreign, and is neither
listed nor touched. Points of devices lie below `/var/lib/skerry/points`, for `/dev` is memory. On ZFS a point is the
snapshot `<dataset>@skerry-<point id>` with our properties; one without them is foreign.
"""

from pathlib import PurePosixPath

from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.model.host import Host

POINTS_FOLDER = ".skerry-points"
DEVICE_POINTS = "/var/lib/skerry/points"
POINT_FORMAT = "skerry point/v1"


def points_folder(dataset: FileTree | BlockVolume, host: Host) -> str:
    """The folder of a dataset's points on a host."""
    if isinstance(dataset, BlockVolume) and dataset.is_device:
        return host.path(f"{DEVICE_POINTS}/{dataset.name}")
    return str(PurePosixPath(host.path(dataset.path)).parent / POINTS_FOLDER / dataset.name)
