"""Two systems as one service: the one that depends on the other is drilled with it, in order, in one bubble."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.lab.blueprint import PlacedFile
from tests.scenarios.commands import skerry
from tests.scenarios.test_trouble import ESTATE, Ground, a_lab, on_hosts

pytestmark = [*on_hosts, pytest.mark.platform("namespaces")]
HOSTS = ("onprem-filing1", "dr-filing1")
PAGES = "/srv/desk/pages"
# It shows what filing took: it does not start where filing does not answer.
UNIT = f"""[Unit]
Description=Desk, which shows filings
[Service]
Type=simple
EnvironmentFile=/etc/skerry/host.env
ExecStartPre=/usr/bin/python3 -c "import os, socket; socket.create_connection((os.environ['SKERRY_ADDRESS'], 8080))"
ExecStart=/usr/bin/python3 -m http.server 8090 --directory {PAGES}
[Install]
WantedBy=multi-user.target
"""
DESK = f"""
  desk:
    title: What clerks see of filings
    owner: ana
    criticality: moderate
    data_classes: [tax-records]
    objectives: {{rto: 1h, rpo: 1h, wrt: 30m, mtpd: 1d}}
    strategy: rehost
    depends_on: [{{system: filing}}]
    placements:
      source: {{host: onprem-filing1}}
      dr: {{host: dr-filing1}}
      cloud: {{host: cloud-filing1}}
    datasets:
      - {{name: pages, kind: file_tree, path: {PAGES}, changes: replaced}}
    services:
      - {{name: desk, port: 8090}}
    checks:
      - {{name: shows, level: technical, port: 8090, path: /page.json, expected_status: 200, expected: {{page: ready}}}}
    front: {{kind: route53, name: desk.skerry.test, zone: skerry.test, ttl_seconds: 0}}
    approval: {{persons_min: 1, roles: [system-owner]}}
"""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with a_lab() as made:
        estate = made.home / "estate"
        shutil.copytree(ESTATE, estate)
        if made.own_hosts.exists():
            shutil.copyfile(made.own_hosts, estate / "hosts.yml")
        systems = estate / "group_vars" / "skerry" / "systems.yml"
        systems.write_text(systems.read_text() + DESK)
        for host in HOSTS:
            made.town.place(host, {"/etc/systemd/system/desk.service": PlacedFile(UNIT.encode())})
            made.town.run_inside(host, ["sh", "-c", f"mkdir -p {PAGES}; systemctl daemon-reload"])
        made.town.run_inside(HOSTS[0], ["sh", "-c", f"echo '{{\"page\": \"ready\"}}' >{PAGES}/page.json"])
        made.town.run_inside(HOSTS[0], ["systemctl", "start", "desk"])
        yield made


def good(ground: Ground, *words: str) -> dict[str, Any]:
    estate: Path = ground.home / "estate"
    told = skerry(ground.home, "--inventory", str(estate), *words, "--json")
    assert told.exit_code == 0, told.stdout + told.stderr
    return told.answer


def test_systems_that_are_one_service_come_to_life_in_the_order_of_their_dependencies(ground: Ground) -> None:
    good(ground, "survey")
    for system in ("filing", "desk"):
        good(ground, "replicate", "run", system, "--as", "ben")
    found = good(ground, "drill", "bubble", "desk", "--as", "ben")
    assert [each["unit"] for each in found["started"]] == ["filing-db", "filing-app", "desk"]
    (needed,) = found["with_systems"]
    assert needed["system"] == "filing"
    assert [each["name"] for each in needed["checks"] if each["passed"]] == ["answers", "attachments-ready", "receipts"]
    assert [(each["name"], each["passed"]) for each in found["checks"]] == [("shows", True)]
    assert needed["operational_at"] < found["operational_at"]  # the service is there when the last of it is
    assert {each["objective"] for each in found["verdicts"]} == {each["objective"] for each in needed["verdicts"]}
    assert (found["isolated"], found["production_changed"], found["why_not"]) == (True, [], [])
    assert found["left"] == {"processes": [], "mounts": [], "files": [], "machines": []}
