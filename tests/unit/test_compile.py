"""Planning: the same input gives the same plan, and what could not work is refused before anything is touched."""

from pathlib import Path

import pytest

from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.errors import PlanningError
from orchestrator.inventory.load import load_inventory
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import Runbook
from orchestrator.model.site import Side
from orchestrator.operations.plan import read_runbook
from orchestrator.planning.compile import compile_plan
from orchestrator.planning.runbook import parse_runbook
from tests.fakes.surveys import GIB, changed, dataset_changed, healthy

ROOT = Path(__file__).parents[2]
RUNBOOK: Runbook = parse_runbook((ROOT / "runbooks" / "migrate.yml").read_bytes(), "migrate.yml")
CLOSURE = {"runbooks/migrate.yml": RUNBOOK.digest}


@pytest.fixture
def estate(tmp_path):
    return load_inventory(ROOT / "tests" / "good_inventories" / "small", home=tmp_path)


@pytest.fixture
def facts(estate):
    return healthy(estate)


def planned(estate, facts, *systems, author="bo", runbook=RUNBOOK) -> Plan:
    chosen = systems or ("billing", "ledger")
    return compile_plan(runbook, estate, facts, systems=chosen, wave="w-1", author=author, closure=CLOSURE)


def with_system(estate, name, **values):
    system = estate.systems[name].model_copy(update=values)
    return estate.model_copy(update={"systems": {**estate.systems, name: system}})


def refused(*arguments, **named) -> list[str]:
    with pytest.raises(PlanningError) as caught:
        planned(*arguments, **named)
    assert caught.value.exit_code == 12
    return str(caught.value).splitlines()


def test_the_same_input_gives_the_same_digest(estate, facts):
    assert planned(estate, facts).digest == planned(estate, facts).digest


def test_a_plan_read_back_has_its_digest(estate, facts):
    plan = planned(estate, facts)
    assert Plan.model_validate_json(plan.model_dump_json()).digest == plan.digest


def test_the_digest_is_over_the_canonical_form_of_the_whole_plan(estate, facts):
    plan = planned(estate, facts)
    assert plan.systems[0].steps[0] is plan.systems[1].steps[0]
    assert plan.digest == digest_of(plan.model_dump(mode="json"))


@pytest.mark.parametrize(
    "change",
    [
        {"wave": "w-2"},
        {"author": "ada"},
        {"runbook_digest": "sha256:" + "0" * 64},
        {"facts_digest": "sha256:" + "1" * 64},
        {"closure": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_change_gives_another_digest(estate, facts, change):
    plan = planned(estate, facts)
    assert Plan.model_validate({**plan.model_dump(mode="json"), **change}).digest != plan.digest


def test_a_plan_holds_the_hosts_it_uses_and_no_others(estate, facts):
    plan = planned(estate, facts, "ledger")
    assert set(plan.hosts) == {"home-web1", "spare-1", "sky-1"}
    assert set(plan.machines) == {"sky-1"}


def test_what_is_needed_comes_first(estate, facts):
    assert [item.system.name for item in planned(estate, facts, "billing", "ledger").systems] == ["ledger", "billing"]


def test_bytes_expected_are_what_the_replicas_lack(estate, facts):
    half = dataset_changed(facts, "spare-1", "books", exists=True, bytes_used=GIB // 2)
    plan = planned(estate, half, "ledger")
    # Half of it to DR, all of it to a cloud that has nothing yet.
    assert plan.systems[0].bytes_expected == GIB // 2 + GIB
    # 100 and 200 Mbit/s, of which four fifths carry data.
    expected = GIB / 2 * 8 / 80e6 + GIB * 8 / 160e6
    assert plan.systems[0].copy_seconds_expected == pytest.approx(expected, abs=0.1)


def test_all_reasons_are_told_at_once(estate, facts):
    broken = changed(facts, "spare-1", tools={"rsync": "", "postgres": "15.14"})
    broken = dataset_changed(broken, "home-web1", "books", exists=False)
    assert refused(estate, broken, "ledger") == [
        "host spare-1 lacks rsync; install it there, then: skerry survey",
        "dataset books of ledger: /srv/ledger/books does not exist on home-web1",
    ]


def test_an_unreachable_host_is_refused_with_its_reason(estate, facts):
    down = changed(facts, "spare-1", reachable=False, why_not="connection timed out")
    assert refused(estate, down, "ledger") == ["host spare-1 cannot be reached: connection timed out"]


def test_a_machine_that_the_plan_makes_need_not_answer_yet(estate, facts):
    assert facts.hosts["sky-1"].reachable is False
    assert planned(estate, facts).systems


def test_a_host_that_was_not_asked_is_refused(estate, facts):
    unasked = facts.model_copy(update={"hosts": {key: value for key, value in facts.hosts.items() if key != "spare-1"}})
    assert refused(estate, unasked, "ledger") == ["host spare-1 was not surveyed; ask it first: skerry survey"]


def test_too_little_space_at_the_replica_is_refused(estate, facts):
    full = dataset_changed(facts, "spare-1", "books", bytes_free=GIB)
    assert refused(estate, full, "ledger") == [
        f"host spare-1 has {GIB} bytes free, {int(GIB * 1.1)} are needed for ledger/books"
    ]


def test_what_a_replica_holds_already_need_not_fit_twice(estate, facts):
    held = dataset_changed(facts, "spare-1", "books", exists=True, bytes_used=GIB, bytes_free=GIB // 5)
    assert planned(estate, held, "ledger").systems


def test_datasets_that_share_a_file_system_must_fit_together(estate, facts):
    tight = facts
    for dataset in ("accounts", "scans"):
        tight = dataset_changed(tight, "spare-1", dataset, bytes_free=int(1.5 * GIB))
    datasets = "billing/accounts, billing/scans"
    assert refused(estate, tight, "billing") == [
        f"host spare-1 has {int(1.5 * GIB)} bytes free, {2 * int(GIB * 1.1)} are needed for {datasets}"
    ]


def test_another_major_version_is_refused(estate, facts):
    newer = dataset_changed(facts, "spare-1", "accounts", version="160004")
    assert refused(estate, newer, "billing") == [
        (
            "dataset accounts of billing: PostgreSQL 15 on home-db1, 16 on spare-1; "
            "a physical replica needs the same major version"
        )
    ]


def test_another_minor_version_is_not_refused(estate, facts):
    assert planned(estate, dataset_changed(facts, "spare-1", "accounts", version="150008"), "billing").systems


def test_another_architecture_is_refused_for_databases_only(estate, facts):
    arm = changed(facts, "spare-1", architecture="aarch64")
    assert len(refused(estate, arm, "billing")) == 1
    assert planned(estate, arm, "ledger").systems


def test_a_hard_dependency_moves_along_or_nothing_moves(estate, facts):
    hard = with_system(
        estate,
        "billing",
        depends_on=tuple(item.model_copy(update={"kind": "hard"}) for item in estate.systems["billing"].depends_on),
    )
    assert refused(hard, facts, "billing") == [
        "system billing depends hard on ledger: both move in one plan, or neither"
    ]
    assert planned(hard, facts, "billing", "ledger").systems


@pytest.mark.parametrize("strategy", ["retire", "retain", "repurchase"])
def test_a_system_that_stays_is_refused(estate, facts, strategy):
    staying = with_system(estate, "ledger", strategy=strategy)
    assert refused(staying, facts, "ledger") == [
        f"system ledger: its strategy is {strategy}, so there is nothing to move"
    ]


BOOKS = BlockVolume(name="books", path="/dev/books")


def with_device(estate, facts, *sizes):
    """The ledger on a device: as large as `sizes` says at source, DR and cloud, 0 where there is none."""
    system = estate.systems["ledger"]
    for side, size in zip(Side, sizes, strict=True):
        host = system.host_of(side, "books")
        if facts.hosts[host].reachable:
            facts = dataset_changed(facts, host, "books", exists=size > 0, bytes_used=size, bytes_free=0)
    return with_system(estate, "ledger", datasets=(BOOKS,)), facts


def test_a_device_is_planned_where_there_is_one_as_large(estate, facts):
    assert planned(*with_device(estate, facts, GIB, GIB, GIB), "ledger").systems[0].system.datasets == (BOOKS,)
    assert planned(*with_device(estate, facts, GIB, 2 * GIB, GIB), "ledger").systems


def test_a_device_that_is_missing_or_too_small_is_refused(estate, facts):
    dr = estate.systems["ledger"].host_of(Side.DR, "books")
    assert refused(*with_device(estate, facts, GIB, 0, GIB), "ledger") == [
        f"dataset books of ledger: {dr} has no device /dev/books"
    ]
    assert refused(*with_device(estate, facts, GIB, GIB - 4096, GIB), "ledger") == [
        f"dataset books of ledger: /dev/books has {GIB - 4096} bytes on {dr}, {GIB} are needed"
    ]


def test_an_image_needs_room_like_any_file(estate, facts):
    image = with_system(estate, "ledger", datasets=(BOOKS.model_copy(update={"path": "/srv/books.img"}),))
    dr = estate.systems["ledger"].host_of(Side.DR, "books")
    assert planned(image, facts, "ledger").systems
    full = dataset_changed(facts, dr, "books", bytes_free=1000)
    (told,) = refused(image, full, "ledger")
    assert told.startswith(f"host {dr} has 1000 bytes free")


def test_what_lies_on_several_hosts_at_dr_is_not_drilled_in_a_bubble(estate, facts):
    places = dict(estate.systems["billing"].placements)
    places[Side.DR] = places[Side.DR].model_copy(update={"datasets": {"scans": "home-db1"}})
    estate = with_system(estate, "billing", placements=places)
    drill = read_runbook(ROOT / "runbooks" / "drill.yml")
    [told] = [line for line in refused(estate, facts, runbook=drill) if "bubble" in line]
    assert told.startswith("system billing lies on home-db1, spare-1 at DR, and a bubble is on one host: let its")
    assert planned(estate, facts, runbook=RUNBOOK).systems  # it may move


def test_a_check_that_nobody_wrote_is_refused(estate, facts):
    unchecked = with_system(estate, "ledger", checks=())
    told = refused(unchecked, facts, "ledger")
    assert told[0] == "step check_source asks for technical or business checks, but system ledger has none"


def test_a_change_rate_that_the_links_cannot_carry_is_refused(estate, facts):
    busy = dataset_changed(facts, "home-web1", "books", detail={"changed_bytes_per_second": "50000000"})
    assert refused(estate, busy, "ledger") == [
        (
            "system ledger changes 50000000 bytes/s, more than its links carry: no pass would ever catch up; "
            "write less, or give the links more and measure them again"
        )
    ]


def test_a_recovery_point_objective_that_the_links_cannot_meet_is_refused(estate, facts):
    # 8 of 10 MB/s on the first hop, so that each pass takes almost as long as what it carries.
    busy = dataset_changed(facts, "home-web1", "books", detail={"changed_bytes_per_second": "6600000"})
    strict = with_system(
        estate, "ledger", objectives=estate.systems["ledger"].objectives.model_copy(update={"rpo": 60.0})
    )
    assert refused(strict, busy, "ledger") == [
        (
            "system ledger: its replica stays 99s behind, more than its rpo of 60s; "
            "give the links more and measure them again, or have the owner agree to a longer rpo"
        )
    ]


def test_unknown_names_are_refused(estate, facts):
    assert refused(estate, facts, "ledgr", author="nobody") == [
        "nobody in people.yml is called nobody, so nobody would answer for this plan",
        "no system is called ledgr; did you mean 'ledger'? (there are: billing, ledger)",
    ]


def test_a_wave_needs_a_name_that_can_be_a_name_everywhere(estate, facts):
    with pytest.raises(PlanningError, match="the wave cannot be called 'W_1'"):
        compile_plan(RUNBOOK, estate, facts, systems=["ledger"], wave="W_1", author="bo", closure=CLOSURE)


def test_the_lab_estate_plans(tmp_path):
    lab = load_inventory(ROOT / "inventories" / "lab", home=tmp_path)
    plan = compile_plan(
        RUNBOOK, lab, healthy(lab), systems=list(lab.systems), wave="lab-1", author="ben", closure=CLOSURE
    )
    assert [item.system.name for item in plan.systems] == ["filing", "archive"]
    assert str(tmp_path) not in plan.model_dump_json(), "a plan names no path of the machine that made it"
