"""The ransomware drill: the held points are looked through for the first bad one, and the last clean one is drilled."""

from dataclasses import dataclass

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.point_looks import PointLook, PointLooks
from orchestrator.contracts.progress import ProgressSink
from orchestrator.foundation.errors import DataError, UsageError
from orchestrator.model.dataset import FileTree
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import HostName, Name
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.operations.desk import open_desk
from orchestrator.operations.estate import inventory_folder
from orchestrator.operations.points import POINTS_MAX
from orchestrator.operations.replication import Record, find_system, recording
from orchestrator.operations.standing import when_free
from orchestrator.planning.clean_points import last_clean, why_not_clean


class PointVerdict(Frozen):
    """A point with every sign of ransomware that its trees show."""

    point: str
    at: str
    looks: dict[str, PointLook]
    signs: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return not self.signs


class CleanSearch(Frozen):
    """Points at DR, oldest first. `not_looked_at`: datasets that are no file trees."""

    system: str
    points: tuple[PointVerdict, ...]
    first_bad: str
    last_clean: str
    not_looked_at: tuple[Name, ...] = ()


def search_points(named: str, *, by: Name, wait_seconds: float, show: ProgressSink) -> CleanSearch:
    """Between runs, on record; a run that is under way is waited for."""
    with open_desk(inventory_folder()) as desk, when_free(desk, wait_seconds, show) as recorder:
        search = CleanPoints(desk.inventory.hosts, desk.drivers, desk.point_looks, recording(desk, recorder))
        return search.search(find_system(desk.inventory, named), by=by)


@dataclass(frozen=True)
class CleanPoints:
    """Looks through the points that DR holds."""

    hosts: dict[HostName, Host]
    drivers: Drivers
    looks: PointLooks
    record: Record

    def search(self, system: System, *, by: Name) -> CleanSearch:
        """What came of it is on record. DataError where no point is clean."""
        trees = [each for each in system.datasets if isinstance(each, FileTree)]
        if not trees:
            raise UsageError(f"{system.name} has no file tree, and points of nothing else are looked through")
        points = self._points(system)
        looked = {tree.name: self._look(system, tree, points) for tree in trees}
        verdicts = tuple(self._verdict(point, looked) for point in points)
        found = CleanSearch(
            system=system.name,
            points=verdicts,
            first_bad=next((each.point for each in verdicts if not each.clean), ""),
            last_clean=last_clean([(each.point, each.clean) for each in verdicts]),
            not_looked_at=tuple(each.name for each in system.datasets if not isinstance(each, FileTree)),
        )
        self.record(system.name, "points.looked_through", {"by": by, **found.model_dump(mode="json")})
        if not found.last_clean:
            raise DataError(
                f"{system.name}: no point that DR holds is clean: {_told(verdicts)}",
                hint="Look for an older one in the vault: skerry vault list",
            )
        return found

    def _points(self, system: System) -> list[RecoveryPoint]:
        """Oldest first."""
        found = self.drivers.catalogue.list("recovery_point", prefix=f"{system.name}/", limit=POINTS_MAX)
        points = [RecoveryPoint.model_validate(document) for _, document in found]
        return sorted((each for each in points if Side.DR in each.sides), key=lambda each: (each.at, each.id))

    def _look(self, system: System, tree: FileTree, points: list[RecoveryPoint]) -> dict[str, PointLook]:
        host = self.hosts[system.host_of(Side.DR, tree.name)]
        held = {each.id: each for each in self.drivers.trees.points(tree, host).list()}
        missing = [each.id for each in points if each.id not in held]
        if missing:
            raise DataError(f"{tree.name}: {host.name} does not hold {', '.join(missing)}")
        return {each.point: each for each in self.looks(tree, host, [held[point.id] for point in points])}

    def _verdict(self, point: RecoveryPoint, looked: dict[str, dict[str, PointLook]]) -> PointVerdict:
        looks = {tree: of_tree[point.id] for tree, of_tree in looked.items()}
        signs = tuple(f"{tree}: {sign}" for tree, look in looks.items() for sign in why_not_clean(look))
        return PointVerdict(point=point.id, at=point.at, looks=looks, signs=signs)


def _told(verdicts: tuple[PointVerdict, ...]) -> str:
    return "; ".join(f"{each.point}: {', '.join(each.signs)}" for each in verdicts if not each.clean) or "there is none"

