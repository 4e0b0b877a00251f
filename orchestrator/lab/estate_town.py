"""The lab as one estate: the town, its demo systems, its people and its clients, opened and closed together."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from orchestrator.contracts.authority import AuthorityStore
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import LabError
from orchestrator.foundation.places import lab_folder, shipped_folder, skerry_home
from orchestrator.lab.demo import town_plan
from orchestrator.lab.tour_result import ClientView
from orchestrator.lab.town import Town, open_town
from orchestrator.model.inventory import Inventory
from orchestrator.model.site import Side

PEOPLE = ("ana", "ben", "carla")


def open_lab(*, kind: str = "auto") -> Town:
    """A hand on the lab in this home, up or not."""
    return open_town(lab_folder(), kind=cast("Literal['auto', 'namespaces', 'loopback']", kind))


def up(town: Town, *, filings: int, documents: int, filings_per_second: float = 20.0) -> None:
    """Hosts, cloud, both systems with data, and people with keys. What is there stays as it is.

    `filings_per_second` is what the clients of each system send once they are at work.
    """
    skerry_home().mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_people(town)
    town_plan.replicator_password(town)
    town_plan.build(
        town, filings=filings, documents=documents, traffic_rate_per_second=filings_per_second
    )
    write_hosts_file(town)


def write_hosts_file(town: Town) -> None:
    """Where hosts are not at the addresses of inventories/lab, a hosts.yml that says where they are."""
    path = hosts_file()
    if town.kind == "namespaces":
        path.unlink(missing_ok=True)
        return
    shipped = yaml.safe_load((lab_inventory() / "hosts.yml").read_text())
    for group in shipped.values():
        for name, variables in group.get("hosts", {}).items():
            variables["ansible_host"] = town.address(variables["ansible_host"])
            variables["ansible_port"] = 2222
            variables.pop("skerry_sees_fronts", None)  # its resolver is this machine's
            variables["skerry_path_prefix"] = str(town.path_on_machine(name, "/")).rstrip("/")
            # Services have users of their own wherever the lab's maker may become them.
            variables["skerry_become"] = os.geteuid() == 0
    replace_file(path, yaml.safe_dump(shipped, sort_keys=False).encode())


def hosts_file() -> Path:
    return lab_folder() / "hosts.yml"


def lab_inventory() -> Path:
    return shipped_folder("inventories") / "lab"


def _write_people(town: Town) -> None:
    folder = town.folder / "people"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for person in PEOPLE:
        if not (folder / f"{person}.pub").exists():
            key = folder / person
            key.unlink(missing_ok=True)
            made = subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", str(key)],
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                raise LabError(f"no key for {person}: {made.stderr.strip()}")


def person_key(person: str) -> Path:
    """The private key file of a person of the lab."""
    return lab_folder() / "people" / person


def claim_source(inventory: Inventory, authority: AuthorityStore) -> None:
    """A lab that was built anew serves at its source; the fencing numbers of earlier labs are not used again."""
    for system in inventory.systems:
        present = authority.read(system)
        if present.side is not Side.SOURCE:
            key = f"lab-built:{system}:{present.number}"
            authority.move(system, expected_number=present.number, to=Side.SOURCE, key=key)


def traffic_start(town: Town) -> None:
    town_plan.traffic_start(town)


def traffic_stop(town: Town) -> None:
    town_plan.traffic_stop(town)


def traffic_report(town: Town, *, gaps_from: float | None = None) -> dict[str, ClientView]:
    """Every acknowledged record of every client, looked for at the side that serves now.

    Only a gap after `gaps_from` (Unix seconds) counts: before it the lab itself may have been down.
    """
    gaps = town_plan.traffic_report(town, from_time=gaps_from)
    return {
        name: ClientView(
            acknowledged=report["acknowledged"],
            lost=report["lost"],
            differing=report["duplicates_differing"],
            longest_gap_seconds=round(gaps[name]["longest_gap_seconds"], 3),
            gap_from=str(gaps[name]["gap_from"]),
            gap_to=str(gaps[name]["gap_to"]),
        )
        for name, report in (gaps if gaps_from is None else town_plan.traffic_report(town)).items()
    }


def status(town: Town) -> dict[str, Any]:
    return town_plan.status(town)


def purge(town: Town) -> None:
    """Take the lab down and remove its folder, hosts' files and all."""
    town.down()
    if not town.folder.exists():
        return
    try:
        shutil.rmtree(town.folder)
    except OSError as error:
        raise LabError(
            f"{error.filename}: {error.strerror}",
            hint=f"Files of other users within the lab; remove the folder yourself: {town.folder}",
        ) from error
