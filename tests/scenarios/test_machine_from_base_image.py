"""Filing moves to a machine that is started from a base image: by files and database, through the product alone.

The machine trusts nobody until its user data has run. One move goes back, and its machine is ended; the next stays.
All that is asked of AWS is asked in the roles of the shipped policies.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.lab.blueprint import Unit
from orchestrator.lab.cloud import launch
from orchestrator.lab.cloud.images import write_image
from orchestrator.lab.demo import units
from tests.fakes.aws_cloud import AwsCloud
from tests.scenarios.office import ROOT, Office, open_office

pytestmark = [
    pytest.mark.platform("hosts"),
    pytest.mark.platform("namespaces"),
    pytest.mark.platform("rsync"),
    pytest.mark.platform("postgresql"),
    pytest.mark.timeout(900),
]

SOURCE, DR, CLOUD = "onprem-filing1", "dr-filing1", "cloud-filing1"
CA = "/etc/ssh/skerry_user_ca.pub"


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with open_office(filings=60, documents=10) as here:
        yield here


def psql(office: Office, host: str, query: str) -> str:
    words = [f"{units.DATABASE_SOCKETS}", "-p", str(units.DATABASE_PORT), "-d", "postgres", "-XAtqc", query]
    line = ["sudo", "-n", "-u", "postgres", "--", "/usr/lib/postgresql/15/bin/psql", "-h", *words]
    return office.town.run_inside(host, line).text


def step(status: dict[str, Any], name: str, mode: str = "do") -> dict[str, Any]:
    steps = status["systems"][0]["steps"]
    found: dict[str, Any] = next(each["observed"] for each in steps if (each["step"], each["mode"]) == (name, mode))
    return found


@pytest.fixture(scope="module")
def estate(office: Office) -> Path:
    """The lab's estate, with a role for each part of the work, and each role with its shipped policy."""
    made = office.home / "estate"
    shutil.copytree(ROOT / "inventories" / "lab", made)
    arns = {part: cloud_of(office).role_arn(part) for part in ("replicator", "drill", "cutover", "auditor")}
    policy = made / "group_vars" / "skerry" / "policy.yml"
    before, own, after = policy.read_text().partition("    credentials_file: ${SKERRY_HOME}/lab/cloud/credentials\n")
    policy.write_text(f"{before}{own}    accounts: ['123456789012']\n    roles: {json.dumps(arns)}\n{after}")
    return made


def cloud_of(office: Office) -> AwsCloud:
    folder = office.town.folder / "cloud"
    return AwsCloud(folder, (folder / "endpoint").read_text().strip())


def asked_by(office: Office) -> dict[str, set[str]]:
    """Service → in which roles it was asked; "" for the account's own key."""
    cloud = cloud_of(office)
    issued = json.loads((cloud.folder / "issued_keys.json").read_text())
    found: dict[str, set[str]] = {}
    for call in cloud.calls():
        found.setdefault(call["service"], set()).add(issued.get(call["access_key"], {"role": ""})["role"])
    return found


def an_estate_whose_image_is_astray(office: Office, estate: Path) -> Path:
    """Its application looks for attachments elsewhere, so that the business check fails once clients are there."""
    images = office.town.folder / "cloud" / "images"
    astray = [
        Unit(each.name, each.text.replace(units.ATTACHMENTS, "/srv/elsewhere"), each.files, each.enabled)
        if each.name == "filing-app"
        else each
        for each in units.filing_units()
    ]
    write_image(images, "filing-astray", astray)
    launch.control((office.town.folder / "cloud" / "endpoint").read_text().strip(), "/_lab/images")
    astray_estate = office.home / "astray"
    shutil.copytree(estate, astray_estate)
    hosts = astray_estate / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("{image: filing,", "{image: filing-astray,"))
    return astray_estate


def approved(office: Office, *words: str, before: tuple[str, ...]) -> str:
    office.skerry(*before, "survey")
    made = office.skerry(*before, "plan", "make", "filing", "--as", "ben", "--set", "watch=2s", *words)
    office.skerry(*before, "approve", made["digest"], *office.key("ana"))
    return str(made["digest"])


def test_a_move_that_goes_back_ends_the_machine_it_made_and_leaves_nothing(office: Office, estate: Path) -> None:
    astray = ("--inventory", str(an_estate_whose_image_is_astray(office, estate)))
    digest = approved(office, "--wave", "astray", "--set", "machines=end", before=astray)
    cloud_of(office).forget_calls()
    process = office.begin(*astray, "run", digest, "--as", "ben", "--json")
    out, err = process.communicate(timeout=600)
    assert out, err[-3000:]
    status = json.loads(out.splitlines()[-1])
    assert office.state(status) == "rolled_back", (out[-3000:], err[-3000:])
    made = step(status, "provision_target")["machines"][CLOUD]
    assert step(status, "provision_target", "undo") == {"ended": {CLOUD: made["machine"]}, "kept": {}}
    assert CLOUD not in office.town.hosts()
    slots = [psql(office, host, "select slot_name from pg_replication_slots") for host in (SOURCE, DR)]
    assert slots == ["skerry_dr_filing1", ""]
    assert office.skerry(*astray, "cloud", "orphans")["orphans"] == []
    office.await_filings(site="onprem")
    office.nothing_is_lost()


def test_the_next_move_stays_and_its_data_came_from_dr(office: Office, estate: Path) -> None:
    in_roles = ("--inventory", str(estate))
    digest = approved(office, "--wave", "stays", before=in_roles)
    office.skerry(*in_roles, "seed", digest, "--as", "ben")
    town = office.town

    # Its image trusts nobody; the CA came with user data, the host's key was known before the first connection.
    assert town.run_inside(CLOUD, ["test", "-e", "/etc/ssh/user_ca.pub"], check=False).exit_code == 1
    assert town.run_inside(CLOUD, ["cat", CA]).text == town.user_ca.with_suffix(".pub").read_text().strip()
    assert f"trustedusercakeys {CA}" in town.run_inside(CLOUD, ["sshd", "-T"]).text.splitlines()
    assert town.run_inside(CLOUD, ["cat", "/var/lib/cloud/exit-code"]).text == "0"

    # PostgreSQL cascades: the cloud receives from DR, and the source sends to DR alone.
    addresses = {host: each.address for host, each in town.hosts().items()}
    assert psql(office, CLOUD, "select sender_host from pg_stat_wal_receiver") == addresses[DR]
    assert psql(office, SOURCE, "select client_addr from pg_stat_replication") == addresses[DR]

    status = office.skerry(*in_roles, "run", digest, "--as", "ben")
    assert office.state(status) == "committed"
    machine = step(status, "provision_target")["machines"][CLOUD]
    assert machine["tools"]["rsync"]
    assert [key.split()[0] for key in machine["host_keys"]]
    [seen_at_source] = step(status, "seed_cloud")["source_read"].values()
    assert seen_at_source["ssh_sessions_from_dr_and_cloud"] == 0
    digests = step(status, "verify_digests")["digests"]
    assert set(digests) == {"source", "dr", "cloud"}
    assert len(set(digests.values())) == 1
    assert office.skerry(*in_roles, "cloud", "orphans")["orphans"] == []
    asked = asked_by(office)
    assert asked["ec2"] == {"cutover", "auditor"}
    assert "" not in asked["route53"]
    office.await_filings(site="cloud")
    office.nothing_is_lost()
