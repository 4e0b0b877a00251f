"""Prices, sizes and orphans: pure decisions over what was measured and what there is."""

import pytest

from orchestrator.contracts.cloud_things import CloudThing
from orchestrator.foundation.errors import InventoryError, PlanningError
from orchestrator.foundation.places import shipped_folder
from orchestrator.inventory.load import load_inventory
from orchestrator.model.price import MeasuredLoad
from orchestrator.operations.cloud import priced
from orchestrator.planning.orphans import find_orphans
from orchestrator.planning.prices import cost_of, month_of, propose, read_prices

PRICES = b"""
currency: EUR
region: eu-central-1
source: list prices, 2026-11-01
instances:
  t3.small: {vcpus: 2, memory_gib: 2, disk_mib_per_second: 87, per_hour: 0.024}
  m6i.large: {vcpus: 2, memory_gib: 8, disk_mib_per_second: 81, per_hour: 0.115}
  m6i.xlarge: {vcpus: 4, memory_gib: 16, disk_mib_per_second: 156, per_hour: 0.23}
  m6g.large: {vcpus: 2, memory_gib: 8, disk_mib_per_second: 78, per_hour: 0.092, architecture: arm64}
storage: {volume_gib_month: 0.095, snapshot_gib_month: 0.054}
"""
LOAD = MeasuredLoad(vcpus_busy=1.2, memory_gib=5.0, disk_mib_per_second=40, disk_gib=100)


def choice(tier="hot", **load):
    prices, digest = read_prices(PRICES, "prices.yml")
    measured = LOAD.model_copy(update=load)
    return propose("filing", "cloud-a", measured, tier, prices, drill_hours=4, digest=digest)


def test_the_cheapest_type_that_carries_the_load_with_a_reserve():
    found = choice()
    assert found.instance_type == "m6i.large"
    assert found.per_month == round(0.115 * 730 + 100 * 0.095, 2)
    assert found.per_drill == round(0.115 * 4 + 100 * 0.095 * 4 / 730, 2)
    assert (found.currency, found.prices_from) == ("EUR", "list prices, 2026-11-01")
    assert choice(vcpus_busy=1.9).instance_type == "m6i.xlarge"  # 1.9 and the reserve are more than two
    assert choice(architecture="arm64").instance_type == "m6g.large"


def test_tiers_cost_what_they_run():
    assert choice("warm").per_month == round(100 * 0.095, 2)
    small = choice("dr_small", memory_gib=1.9, vcpus_busy=6)
    assert (small.instance_type, small.per_month) == ("t3.small", round(0.024 * 730 + 9.5, 2))


def test_a_load_that_nothing_carries_is_said():
    with pytest.raises(PlanningError, match="no priced instance type has 52") as caught:
        choice(vcpus_busy=40)
    assert "The largest that is priced has 4 vCPU, 16 GiB" in caught.value.hint


def test_the_shipped_prices_serve_the_shipped_estate(tmp_path):
    """Each machine of it has a price; and whatever a machine like this one uses at most is carried, in every tier."""
    estate = shipped_folder("inventories") / "lab"
    inventory = load_inventory(estate, home=tmp_path)
    known = priced(None, estate)
    assert known.prices.region == inventory.cloud.region
    for spec in inventory.machines.values():
        cost_of(spec.instance_type, 20, "hot", known.prices, drill_hours=4)
    for vcpus in (0.1, 2.01, 8, 48):
        for architecture in ("x86_64", "arm64"):
            load = LOAD.model_copy(update={"vcpus_busy": vcpus, "architecture": architecture})
            for tier in ("hot", "warm", "dr_small"):
                chosen = propose(
                    "filing", "cloud-filing1", load, tier, known.prices, drill_hours=4, digest=known.digest
                )
                needed = vcpus * (0.25 if tier == "dr_small" else 1.3)
                assert known.prices.instances[chosen.instance_type].vcpus >= needed


def test_an_estate_without_prices_says_where_they_would_stand(tmp_path):
    with pytest.raises(InventoryError, match=r"prices\.yml") as caught:
        priced(None, tmp_path)
    assert "--prices FILE" in caught.value.hint


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("currency: EUR", "currency: EURO", "prices.yml:2"),
        ("per_hour: 0.024", "per_hour: -1", "prices.yml:6"),
        ("storage: {", "store: {", "storage"),
    ],
)
def test_a_wrong_price_file_names_its_line(old, new, said):
    with pytest.raises(InventoryError, match=said):
        read_prices(PRICES.replace(old.encode(), new.encode()), "prices.yml")


def thing(kind, identifier, **values):
    tags = {"skerry:run": "r", "skerry:system": "filing", "skerry:dataset": "disk", **values.pop("tags", {})}
    usual = {"machine": "running", "volume": "in-use", "snapshot": "completed", "image": "available"}
    state = usual.get(kind, "begun")
    return CloudThing(**{"kind": kind, "id": identifier, "state": state, "tags": tags, **values})


PROVED = {"skerry:digest": "sha256:x"}
THINGS = [
    thing("machine", "i-used", tags={"skerry:host": "cloud-a"}, instance_type="t3.small"),
    thing("machine", "i-drill", tags={"skerry:host": "cloud-a-drill"}, instance_type="t3.small"),
    thing("machine", "i-gone", tags={"skerry:host": "cloud-old"}, instance_type="x9.huge"),
    thing("volume", "vol-used", part_of="i-used", gib=10),
    thing("volume", "vol-left", state="available", gib=10),
    thing("volume", "vol-drill", part_of="i-drill", gib=10),
    thing("image", "ami-used"),
    thing("image", "ami-old"),
    thing("snapshot", "snap-used", part_of="ami-used", tags=PROVED, made_at="2026-01-02", gib=20),
    thing("snapshot", "snap-old", part_of="ami-old", tags=PROVED, made_at="2026-01-01", gib=20),
    thing("snapshot", "snap-newest", tags=PROVED, made_at="2026-01-03", gib=20),
    thing("snapshot", "snap-pending", state="pending", gib=20),
    thing("snapshot", "snap-unproved", gib=20),
    thing("upload", "s3://skerry-data/x 1", part_of="skerry-data", gib=2),
    thing("record", "filing.test skerry-10.1.1.1", part_of="filing.test"),
    thing("record", "gone.test skerry-10.1.1.1", part_of="gone.test"),
]


def test_what_serves_nothing_is_found_and_what_serves_is_not():
    names = frozenset({"filing.test"})
    found = find_orphans(THINGS, hosts=frozenset({"cloud-a"}), images=frozenset({"ami-used"}), names=names)
    assert {each.thing.id: each.why for each in found} == {
        "i-drill": "a test machine that was left: cloud-a-drill",
        "i-gone": "the estate has no cloud-old",
        "vol-left": "attached to nothing",
        "vol-drill": "of i-drill, which is one itself",
        "ami-old": "no machine starts from it now",
        "snap-old": "under ami-old, which is one itself",
        "snap-pending": "never completed: pending",
        "snap-unproved": "completed and never proved",
        "s3://skerry-data/x 1": "begun and not completed: the same store goes on with it",
        "gone.test skerry-10.1.1.1": "no system of the estate is called gone.test",
    }


def test_what_an_orphan_costs_is_known_or_said_to_be_unknown():
    prices, _ = read_prices(PRICES, "prices.yml")
    costs = {each.id: month_of(each, prices) for each in THINGS}
    assert costs["i-drill"] == round(0.024 * 730, 2)
    assert costs["i-gone"] is None
    assert (costs["vol-left"], costs["snap-old"], costs["ami-old"]) == (0.95, 1.08, 0.0)
    assert costs["s3://skerry-data/x 1"] is None
    told = prices.model_copy(update={"storage": prices.storage.model_copy(update={"object_gib_month": 0.025})})
    assert month_of(next(each for each in THINGS if each.kind == "upload"), told) == 0.05
    stopped = THINGS[1].model_copy(update={"state": "stopped"})
    assert month_of(stopped, prices) == 0.0
