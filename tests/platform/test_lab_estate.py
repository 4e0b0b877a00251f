"""The lab's estate on real hosts: what was acknowledged is there, whatever happens to the hosts."""

import json
import time
from collections.abc import Iterator

import pytest

from orchestrator.lab.demo import town_plan
from orchestrator.lab.town import Town, open_town

pytestmark = [pytest.mark.platform("hosts"), pytest.mark.platform("postgresql")]


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = open_town(tmp_path_factory.mktemp("estate") / "lab")
    try:
        town_plan.build(town, filings=50, documents=30)
        town_plan.traffic_start(town)
        yield town
    finally:
        town.down()


def health(town: Town, name: str) -> dict[str, object]:
    ask = f"import urllib.request; print(urllib.request.urlopen('http://{town_plan.ADDRESSES[name]}:8080/healthz').read().decode())"
    told: dict[str, object] = json.loads(town.run_inside(name, ["python3", "-c", ask]).stdout)
    return told


def await_acknowledged(town: Town, system: str, count: int, *, after: float) -> dict[str, object]:
    until = time.monotonic() + 60
    while (told := town_plan.traffic_report(town, from_time=after)[system])["acknowledged"] < count:
        assert time.monotonic() < until, told
        time.sleep(0.3)
    return told


def test_both_systems_serve_what_was_always_there(estate: Town) -> None:
    filing, archive = health(estate, "onprem-filing1"), health(estate, "onprem-archive1")
    assert filing["site"] == archive["site"] == "onprem"
    assert filing["read_only"] is False
    assert filing["attachments"] == archive["index"] == "ready"
    assert int(str(filing["count"])) >= 50
    assert int(str(archive["count"])) >= 30


def test_building_again_changes_nothing(estate: Town) -> None:
    before = estate.hosts()
    estate.run_inside("onprem-archive1", ["systemctl", "stop", "archive-share"])
    try:
        town_plan.build(estate, filings=50, documents=30)
        active = estate.run_inside("onprem-archive1", ["systemctl", "is-active", "archive-share"], check=False)
        assert active.text == "inactive"  # what a move stopped stays stopped
        assert estate.hosts() == before
    finally:
        estate.run_inside("onprem-archive1", ["systemctl", "start", "archive-share"])


def test_clients_are_served_and_their_account_is_clean(estate: Town) -> None:
    started = time.time()
    for system in town_plan.SYSTEMS:
        told = await_acknowledged(estate, system, 20, after=started)
        assert (told["lost"], told["duplicates_differing"]) == (0, 0)
        assert set(told["by_site"]) == {"onprem"}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("host", "program", "system"),
    [
        ("onprem-filing1", "/opt/filing/bin/filingctl", "filing"),
        ("onprem-archive1", "/opt/archive/bin/archivectl", "archive"),
    ],
)
def test_a_quiesced_system_takes_no_write_until_it_is_let_go(
    estate: Town, host: str, program: str, system: str
) -> None:
    await_acknowledged(estate, system, 1, after=time.time())
    estate.run_inside(host, [program, "quiesce", "20"])
    counted = health(estate, host)["count"]
    time.sleep(0.7)
    assert health(estate, host)["count"] == counted
    let_go = time.time()
    estate.run_inside(host, [program, "resume"])
    assert await_acknowledged(estate, system, 10, after=let_go)["lost"] == 0


def test_a_quiesced_system_lets_go_by_itself(estate: Town) -> None:
    estate.run_inside("onprem-filing1", ["/opt/filing/bin/filingctl", "quiesce", "0.5"])
    assert await_acknowledged(estate, "filing", 5, after=time.time())["lost"] == 0
    late = estate.run_inside("onprem-filing1", ["/opt/filing/bin/filingctl", "resume"])
    assert json.loads(late.stdout) == {"was_held": False}


def test_nothing_acknowledged_is_lost_when_the_power_goes(estate: Town) -> None:
    await_acknowledged(estate, "filing", 5, after=time.time())
    estate.power_off("onprem-filing1")
    time.sleep(0.5)
    estate.power_on("onprem-filing1")
    back = time.time()
    await_acknowledged(estate, "filing", 5, after=back)
    assert town_plan.traffic_report(estate)["filing"]["lost"] == 0
    assert health(estate, "onprem-filing1")["attachments"] == "ready"


def test_a_service_that_is_stopped_finishes_what_it_took(estate: Town) -> None:
    for service, host in (("archive-share", "onprem-archive1"), ("filing-app", "onprem-filing1")):
        estate.run_inside(host, ["systemctl", "stop", service])
        estate.run_inside(host, ["systemctl", "start", service])
    started = time.time()
    for system in town_plan.SYSTEMS:
        await_acknowledged(estate, system, 10, after=started)
        assert town_plan.traffic_report(estate)[system]["lost"] == 0


def test_the_cloud_comes_back_where_it_was_and_names_are_answered_meanwhile(estate: Town) -> None:
    endpoint = (estate.folder / "cloud" / "endpoint").read_text()
    estate.stop_spawned(int((estate.folder / "cloud" / "server.pid").read_text()))
    assert not town_plan.status(estate)["cloud"]["answers"]
    assert await_acknowledged(estate, "archive", 5, after=time.time())["lost"] == 0
    town_plan.build(estate, filings=50, documents=30)
    assert town_plan.status(estate)["cloud"]["answers"]
    assert (estate.folder / "cloud" / "endpoint").read_text() == endpoint
