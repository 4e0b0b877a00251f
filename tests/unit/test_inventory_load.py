"""Every good inventory loads; every bad one is refused with exactly the words on top of its file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.foundation.errors import InventoryError
from orchestrator.foundation.limits import INVENTORY_FILE_BYTES_MAX
from orchestrator.inventory.load import load_inventory
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.site import Side

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "good_inventories" / "small"
GOOD = [SMALL, ROOT / "inventories" / "lab"]
BAD = sorted((ROOT / "tests" / "bad_inventories").glob("*.yml"))


def with_file(folder: Path, name: str, text: str) -> Path:
    """A copy of the small good inventory in which one file says `text`; the file."""
    shutil.copytree(SMALL, folder)
    path = folder / name if name == "hosts.yml" else folder / "group_vars" / "skerry" / name
    path.write_text(text)
    return path


def expected_words(path: Path) -> tuple[list[str], str]:
    """The comment lines on top: `file:line: message`, each, and last which file of the estate this is."""
    lines = path.read_text().splitlines()
    count = next((number for number, line in enumerate(lines) if not line.startswith("# ")), len(lines))
    *words, place = [line.removeprefix("# ") for line in lines[:count]]
    return words, place.removeprefix("(this is ").removesuffix(")")


@pytest.mark.parametrize("bad", BAD, ids=lambda path: path.stem)
def test_a_bad_inventory_is_refused_in_the_words_on_top_of_it(bad, tmp_path):
    expected, name = expected_words(bad)
    with_file(tmp_path / "estate", name, bad.read_text())
    with pytest.raises(InventoryError) as caught:
        load_inventory(tmp_path / "estate", home=tmp_path)
    told = str(caught.value).replace(f"{tmp_path}/estate/", "").replace("group_vars/skerry/", "")
    assert told.splitlines() == expected
    assert caught.value.exit_code == 10


@pytest.mark.parametrize("folder", GOOD, ids=lambda path: path.name)
def test_a_good_inventory_loads_the_same_way_twice(folder, tmp_path):
    first, second = (load_inventory(folder, home=tmp_path) for _ in range(2))
    assert first == second
    assert first.systems
    assert first.hosts


@pytest.mark.parametrize("folder", GOOD, ids=lambda path: path.name)
def test_plain_ansible_reads_a_good_inventory_without_a_warning(folder, tmp_path):
    words = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(folder), "--list"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE")}
    answer = subprocess.run(
        words, capture_output=True, text=True, env={**clean, "HOME": str(tmp_path)}, cwd=tmp_path, check=True
    )
    assert answer.stderr == ""
    seen = json.loads(answer.stdout)
    ours = load_inventory(folder, home=tmp_path)
    variables = seen["_meta"]["hostvars"]
    for host in ours.hosts.values():
        assert variables[host.name].get("ansible_host", host.name) == host.address
        assert variables[host.name].get("ansible_port", 22) == host.port
        assert variables[host.name]["skerry_side"] == ours.side_of(host.name).value
    # Nothing of ours shows up as a group or as a variable of hosts.
    assert not {"systems", "people", "policy"} & set(seen)
    assert all("systems" not in of_host for of_host in variables.values())


def test_what_hosts_yml_says_is_what_hosts_are(tmp_path):
    estate = load_inventory(SMALL, home=tmp_path)
    assert estate.hosts["home-db1"].port == 2222
    assert estate.hosts["home-db1"].site == "home"
    assert estate.hosts["spare-1"].path("/srv") == "/hosts/spare-1/srv"
    assert estate.hosts["spare-1"].become is False
    assert estate.machines["sky-1"].image == "ami-0123abcd"
    assert "printer" not in estate.hosts
    assert estate.systems["billing"].host_of(Side.SOURCE, "accounts") == "home-db1"
    assert estate.systems["billing"].objectives.rto == 3600


def test_all_problems_of_all_files_are_told_at_once(tmp_path):
    with_file(tmp_path / "estate", "systems.yml", (SMALL / "group_vars/skerry/systems.yml").read_text())
    for name, before, after in [
        ("systems.yml", "    title: Bills", "    titel: Bills"),
        ("people.yml", "roles: [system-owner]", "roles: system-owner"),
        ("policy.yml", "mbit_per_second: 200", "mbit_per_second: fast"),
    ]:
        path = tmp_path / "estate" / "group_vars" / "skerry" / name
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))
    with pytest.raises(InventoryError) as caught:
        load_inventory(tmp_path / "estate", home=tmp_path)
    files = [line.split(":")[0].rsplit("/", 1)[1] for line in str(caught.value).splitlines()]
    assert files == ["people.yml", "policy.yml", "systems.yml"]


def test_another_hosts_file_moves_the_same_estate_to_other_addresses(tmp_path):
    other = tmp_path / "loopback.yml"
    text = (SMALL / "hosts.yml").read_text().replace("ansible_host: 192.0.2.12", "ansible_host: 127.10.0.12")
    other.write_text(text)
    usual, moved = load_inventory(SMALL, home=tmp_path), load_inventory(SMALL, home=tmp_path, hosts_file=other)
    assert moved.hosts["home-web1"].address == "127.10.0.12"
    assert moved.systems == usual.systems
    assert moved.digest != usual.digest


def test_the_home_variable_is_expanded_where_files_are_named_and_kept_where_plans_are_made(tmp_path):
    estate = load_inventory(ROOT / "inventories" / "lab", home=tmp_path)
    assert estate.ssh_config == f"{tmp_path}/lab/ssh_config"
    assert estate.cloud.endpoint == f"file:{tmp_path}/lab/cloud/endpoint"
    register = estate.systems["filing"].datasets[0]
    # A plan holds the system as it is, and must have one digest on every machine.
    assert isinstance(register, PostgresCluster)
    assert register.replication_password == "file:${SKERRY_HOME}/lab/secrets/replicator"
    assert str(tmp_path) not in estate.systems["filing"].model_dump_json()


def test_a_key_file_that_is_not_there_yet_is_a_warning_and_one_that_is_there_counts(tmp_path):
    folder = ROOT / "inventories" / "lab"
    before = load_inventory(folder, home=tmp_path)
    assert [warning.split(": ")[1] for warning in before.warnings] == [
        f"the key of {person} cannot be read" for person in ("ana", "ben", "carla")
    ]
    people = tmp_path / "lab" / "people"
    people.mkdir(parents=True)
    (people / "ana.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOWz ana@lab\n\n# spare\n")
    after = load_inventory(folder, home=tmp_path)
    assert after.people["ana"].keys == ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOWz ana@lab",)
    assert after.digest != before.digest, "who may approve is part of what was approved"


def test_a_file_that_nobody_reads_is_told(tmp_path):
    with_file(tmp_path / "estate", "system.yml", "systems: {}\n")
    with pytest.raises(InventoryError, match=r"system\.yml:1: is not read; did you mean 'systems\.yml'\?"):
        load_inventory(tmp_path / "estate", home=tmp_path)


def test_a_missing_folder_and_a_missing_file_are_told(tmp_path):
    with pytest.raises(InventoryError, match="is not a folder"):
        load_inventory(tmp_path / "nowhere", home=tmp_path)
    with_file(tmp_path / "estate", "systems.yml", "").unlink()
    with pytest.raises(InventoryError, match=r"systems\.yml:1: cannot be read: No such file or directory"):
        load_inventory(tmp_path / "estate", home=tmp_path)


def test_a_file_that_is_too_large_is_not_parsed(tmp_path):
    path = with_file(tmp_path / "estate", "systems.yml", "")
    path.write_bytes(b"#" * (INVENTORY_FILE_BYTES_MAX + 1))
    with pytest.raises(InventoryError, match=r"systems\.yml:1: is larger than 16 MiB"):
        load_inventory(tmp_path / "estate", home=tmp_path)


def test_a_file_that_is_not_text_is_refused_at_its_line(tmp_path):
    path = with_file(tmp_path / "estate", "systems.yml", "")
    path.write_bytes(b"systems:\n  a\xff: {}\n")
    with pytest.raises(InventoryError, match=r"systems\.yml:2: is not UTF-8 text"):
        load_inventory(tmp_path / "estate", home=tmp_path)


def test_a_written_password_is_not_repeated_in_the_message(tmp_path):
    text = (SMALL / "group_vars/skerry/systems.yml").read_text()
    with_file(
        tmp_path / "estate",
        "systems.yml",
        text.replace("service: accounts-db,", "service: accounts-db, replication_password: hunter2-hunter2,"),
    )
    with pytest.raises(InventoryError) as caught:
        load_inventory(tmp_path / "estate", home=tmp_path)
    assert "hunter2" not in str(caught.value)
