"""contracts.point_looks.PointLooks by a program on the host that holds the points."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.contracts.point_looks import PointLook
from orchestrator.contracts.programs import root_user, run_program
from orchestrator.contracts.transport import Transports
from orchestrator.contracts.trees import Point
from orchestrator.foundation.errors import DataError
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host

PROGRAM = Path(__file__).with_name("host_programs") / "looks.py"
LOOK_SECONDS_MAX = 6 * 3600.0


class HostPointLooks:
    def __init__(self, transports: Transports) -> None:
        self._transports = transports

    def __call__(self, tree: FileTree, host: Host, points: Sequence[Point]) -> Sequence[PointLook]:
        asked = [{"id": point.id, "path": point.path} for point in points]
        result = run_program(
            self._transports(host),
            PROGRAM,
            {"points": asked, "canaries": {each.path: each.digest for each in tree.canaries}},
            user=root_user(host),
            timeout_seconds=LOOK_SECONDS_MAX,
        )
        if "failed" in result:
            raise DataError(f"{host.name}: points of {tree.name}: {result['failed']}")
        return [PointLook.model_validate(each) for each in result["looks"]]
