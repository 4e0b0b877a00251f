"""What is asked about the cloud: orphans with their price, a machine's size on record, a point's tree in a bucket."""

from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.contracts.buckets import BucketComparison, StoredFolder
from orchestrator.contracts.cloud_things import CloudThing
from orchestrator.foundation.errors import (
    DigestMismatch,
    InventoryError,
    PlanningError,
    SnapshotError,
    TargetForbidden,
    UsageError,
)
from orchestrator.model.inventory import BucketPlace, CloudSettings, ResidencyRule
from orchestrator.model.price import MeasuredLoad, SizeChoice
from orchestrator.model.system import MachineSpec
from orchestrator.operations.cloud import (
    Priced,
    choose_size,
    measure,
    measured,
    orphans_of,
    price_machines,
    store_point,
)
from orchestrator.planning.prices import propose, read_prices
from tests.fakes.authority import MemoryAuthority
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.clock import SetClock
from tests.fakes.drivers import ATTACHMENTS, CLOUD, DR, HOSTS, SOURCE, SYSTEM
from tests.unit.test_prices import LOAD, PRICES, THINGS

POINT = {
    "id": "rp-1",
    "system": "filing",
    "at": "2026-11-22T00:00:00.000Z",
    "consistency": "group_app",
    "datasets": [{"dataset": "attachments", "digest": "sha256:" + "0" * 64, "mark": "/points/attachments/rp-1"}],
    "sides": ["source", "dr"],
}


ELSEWHERE = BucketPlace(
    bucket="theirs", endpoint="http://s3.test", region="us-east-1", access_key="env:A", secret_key="env:B"
)


@dataclass
class Bucket:
    """An object store that takes everything, and then holds `different` as something else."""

    different: tuple[str, ...] = ()
    stored: list[tuple[str, str]] = field(default_factory=list)

    def store(self, host: Any, path: str, *, progress: Any = None) -> StoredFolder:
        self.stored.append((host.name, path))
        return StoredFolder(
            files=2, present=0, bytes_total=9, bytes_sent=9, storage_classes={}, seconds=0.1, memory_bytes=1
        )

    def compare(self, host: Any, path: str, *, progress: Any = None) -> BucketComparison:
        counts = {"missing": 0, "extra": 0, "different": len(self.different)}
        lists = {"missing": (), "extra": (), "different": self.different}
        return BucketComparison(files=2, objects=2, bytes_read=9, counts=counts, inventory="i", **lists)


class Desk:
    """What the operations ask of an estate that is open."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.catalogue = MemoryCatalogue()
        self.clock = SetClock()
        self.authority = MemoryAuthority()
        self.looks: list[float] = []
        self.things: list[CloudThing] = THINGS
        self.held = {"rp-1": SimpleNamespace(path="/points/attachments/rp-1")}
        self.bucket = Bucket()
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.inventory = SimpleNamespace(
            machines={"cloud-a": MachineSpec(instance_type="t3.small", image="a", subnet="b", security_group="c")},
            systems={"filing": SYSTEM},
            hosts=HOSTS,
            cloud=CloudSettings(region="eu-central-1"),
            buckets={"elsewhere": ELSEWHERE},
            residency=(ResidencyRule(data_class="internal", regions=("eu-central-1",)),),
        )
        self.catalogue.put("cloud_image", "filing/disk", {"image": "ami-used"})
        self.catalogue.put("recovery_point", "filing/rp-1", POINT)

    @property
    def cloud_things(self) -> Any:
        return SimpleNamespace(all=lambda: self.things)

    def points(self, tree: Any, host: Any) -> Any:
        assert (tree, host) == (ATTACHMENTS, DR)
        return SimpleNamespace(find=self.held.get)

    def object_store(self, bucket: str, prefix: str, tags: dict[str, str]) -> Bucket:
        self.asked.append((bucket, prefix, tags))
        return self.bucket

    def measure_use(self, host: Any, seconds: float, paths: Any) -> MeasuredLoad:
        assert paths == ["/", "/var/lib/postgresql/filing", "/srv/filing/attachments"]
        busy = self.looks.pop()
        return LOAD.model_copy(update={"vcpus_busy": busy, "measured_on": host.name, "seconds": seconds})

    @contextmanager
    def recorder(self) -> Any:
        yield SimpleNamespace(record=lambda event: self.events.append((event.type, event.data)))


@pytest.fixture
def desk() -> Any:
    return Desk()


def test_orphans_are_priced_and_the_dearest_comes_first(desk: Any) -> None:
    prices, _ = read_prices(PRICES, "prices.yml")
    found = orphans_of(desk, prices)
    assert [each.thing.id for each in found][:3] == ["i-drill", "snap-old", "snap-pending"]
    assert found[0].per_month == pytest.approx(17.52)
    assert {each.thing.id for each in found} >= {"vol-left", "ami-old"}
    assert all(each.per_month is None for each in orphans_of(desk, None))
    with pytest.raises(InventoryError, match="us-east-1"):
        orphans_of(desk, prices.model_copy(update={"region": "us-east-1"}))


def test_a_choice_of_size_is_on_record_with_what_it_rests_on(desk: Any) -> None:
    priced = Priced(*read_prices(PRICES, "prices.yml"))
    choice = choose_size(desk, "filing", LOAD, "hot", priced, drill_hours=4, by="ana")
    [(kind, data)] = desk.events
    assert (kind, data["by"], data["instance_type"]) == ("size.chosen", "ana", choice.instance_type)
    assert data["prices_digest"] == priced.digest
    assert MeasuredLoad.model_validate(data["load"]) == LOAD
    with pytest.raises(UsageError, match="no system payroll"):
        choose_size(desk, "payroll", LOAD, "hot", priced, drill_hours=4, by="ana")


def test_what_was_measured_is_the_busiest_of_all_looks_and_goes_into_plans(desk: Any) -> None:
    with pytest.raises(UsageError, match="nobody has looked what filing uses"):
        measured(desk, "filing")
    desk.looks = [0.4, 1.9, 0.2]
    for _ in range(3):
        measure(desk, "filing", 60)
    load = measured(desk, "filing")
    assert (load.vcpus_busy, load.seconds, load.measured_on) == (1.9, 180, SOURCE.name)
    choice = choose_size(desk, "filing", load, "hot", Priced(*read_prices(PRICES, "p")), drill_hours=4, by="ana")
    assert choice.instance_type == "m6i.xlarge"  # 1.9 with a reserve
    assert SizeChoice.model_validate(desk.catalogue.get("size", CLOUD.name)) == choice
    assert (choice.by, choice.load.measured_on) == ("ana", SOURCE.name)


def test_machines_are_priced_as_the_estate_has_them(desk: Any) -> None:
    prices, digest = read_prices(PRICES, "prices.yml")
    [unsized] = price_machines(desk, prices, drill_hours=10)
    assert (unsized.chosen, unsized.per_month, unsized.per_drill) == ("", 17.52, 0.24)
    choice = propose("filing", "cloud-a", LOAD, "warm", prices, drill_hours=4, digest=digest)
    desk.catalogue.put("size", "cloud-a", choice.model_dump(mode="json"))
    [sized] = price_machines(desk, prices, drill_hours=10)
    assert (sized.instance_type, sized.chosen, sized.tier) == ("t3.small", "m6i.large", "warm")
    assert (sized.per_month, sized.per_drill) == (9.5, 0.37)  # stopped: its 100 GiB alone; a drill runs
    desk.inventory.machines["cloud-a"] = desk.inventory.machines["cloud-a"].model_copy(
        update={"instance_type": "x9.huge"}
    )
    with pytest.raises(PlanningError, match=r"knows no x9\.huge"):
        price_machines(desk, prices, drill_hours=10)


def test_a_points_tree_goes_into_a_bucket_and_is_compared(desk: Any) -> None:
    found = store_point(desk, "filing", "attachments", "skerry-data", point_id=None, by="ana")
    tags = {"skerry:run": "bucket-rp-1", "skerry:system": "filing", "skerry:dataset": "attachments"}
    assert desk.asked == [("skerry-data", "filing/attachments/rp-1", tags)]
    assert desk.bucket.stored == [(DR.name, "/points/attachments/rp-1")]
    assert (found.point, found.host, found.compared.equal) == ("rp-1", DR.name, True)
    assert [kind for kind, _ in desk.events] == ["bucket.store_started", "bucket.store_finished"]


def test_a_bucket_that_is_something_else_afterwards_is_a_failure_on_record(desk: Any) -> None:
    desk.bucket.different = ("filing/attachments/rp-1/a",)
    with pytest.raises(DigestMismatch, match="rp-1/a"):
        store_point(desk, "filing", "attachments", "skerry-data", point_id="rp-1", by="ana")
    assert [kind for kind, _ in desk.events] == ["bucket.store_started", "bucket.store_failed"]
    assert desk.events[1][1]["error"] == "DigestMismatch"


def test_only_trees_of_held_points_are_stored(desk: Any) -> None:
    with pytest.raises(UsageError, match="no file tree register"):
        store_point(desk, "filing", "register", "skerry-data", point_id=None, by="ana")
    desk.held.clear()
    with pytest.raises(SnapshotError, match="does not hold rp-1"):
        store_point(desk, "filing", "attachments", "skerry-data", point_id=None, by="ana")
    assert desk.events == []


def test_a_bucket_in_a_region_that_the_datas_class_may_not_go_to_is_refused_before_the_first_call(desk: Any) -> None:
    with pytest.raises(TargetForbidden, match="internal of filing may not go to us-east-1, where elsewhere is"):
        store_point(desk, "filing", "attachments", "elsewhere", point_id=None, by="ana")
    assert (desk.asked, desk.events) == ([], [])
