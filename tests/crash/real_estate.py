"""Where cells of the crash matrix are tried on hosts: a lab with clients at work, its estate, and another machine."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.engine.store import Store, open_store
from orchestrator.foundation.places import shipped_folder
from orchestrator.lab import estate_town
from orchestrator.lab.town import Town
from orchestrator.model.site import Side
from orchestrator.model.word import WordKind
from orchestrator.operations.desk import Desk, open_desk
from orchestrator.operations.survey import survey_estate
from orchestrator.operations.switch import give_word
from orchestrator.wiring.state import state_url
from tests.fakes.disk_images import SERVING, WILLING, a_disk
from tests.fakes.postgres_server import running_postgres

# What tests here need.
ON_HOSTS = [pytest.mark.platform(name) for name in ("hosts", "namespaces", "rsync", "postgresql")]
ROOT = Path(__file__).resolve().parents[2]
SKERRY = [sys.executable, "-c", "import sys; from orchestrator.cli.app import main; sys.exit(main())"]
FILING, ARCHIVE, MACHINE = "filing", "archive", "machine"
SOURCE_HOST = "onprem-filing1"
FILINGS_PER_SECOND = 4.0  # what clients file is copied, compared and counted in every cell from then on
DISK = "/srv/machine/disk.img"

# A system that is seeded as images, beside those of the lab: its machine starts from its disk and serves it.
ITS_WISH = f"""
  {MACHINE}:
    title: A machine that is all on its disk
    owner: ana
    data_classes: [tax-records]
    objectives: {{rto: 1h, rpo: 5m, wrt: 30m, mtpd: 1d}}
    placements:
      source: {{host: onprem-archive1}}
      dr: {{host: dr-archive1}}
      cloud: {{host: cloud-machine1}}
    datasets:
      - {{name: disk, kind: block_volume, path: {DISK}}}
    checks:
      - {{name: register, level: business, port: 8099, path: /state.json, expected: {{letters: 1}}}}
    front: {{kind: route53, name: machine.skerry.test, zone: skerry.test, ttl_seconds: 0}}
    approval: {{persons_min: 1, roles: [system-owner]}}
"""
ITS_HOST = """\
    cloud-machine1:
      ansible_host: 10.30.1.13
      skerry_machine:
        {image: "dataset:disk", subnet: cloud-hosts, security_group: cloud-hosts,
         drill_subnet: cloud-drills, drill_security_group: cloud-drills}
"""


@dataclass
class Ground:
    """A lab and a desk, and the store that both are kept in.

    `runbooks`: the shipped ones, tried again after a second. `second`: the home of another machine, where both share a
    database. `is_prepared`: the system is replicated to every side.
    """

    town: Town
    desk: Desk
    store: Store
    home: Path
    estate: Path
    runbooks: Path
    on_postgresql: bool = False
    second: Path | None = None
    is_prepared: bool = False
    source_is_lost: bool = False

    def environment(self, home: Path) -> dict[str, str]:
        return {**os.environ, "SKERRY_HOME": str(home), "SKERRY_INVENTORY": str(self.estate)}

    def skerry(self, *words: str, home: Path | None = None) -> None:
        line, environment = [*SKERRY, *words], self.environment(home or self.home)
        ended = subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"skerry {' '.join(words)}: {ended.stderr.strip()}")

    def lose_source(self) -> None:
        """Its power goes, and a person says so. What reached DR is all there is: clients rest until it did."""
        estate_town.traffic_stop(self.town)
        self.skerry("replicate", "run", FILING, "--as", "ben")
        self.town.power_off(SOURCE_HOST)
        self.source_is_lost = True
        self._ana_says("side_is_down", "its power is off; I pulled the plug")

    def find_source(self) -> None:
        """It is back. Where another side took over, what only it may hold is given up."""
        if self.source_is_lost:
            self.town.power_on(SOURCE_HOST)
            self.source_is_lost = False
            if self.desk.authority.read(FILING).side is Side.SOURCE:
                self.skerry("starts", FILING)  # its starts are guarded: it is told that it may serve
            else:
                self._must_be_silent()
                self._ana_says("loss_accepted", "clients rested when it was lost")
        estate_town.traffic_start(self.town)

    def _must_be_silent(self) -> None:
        """Nobody could fence the source: what was left there before keeps it from serving, also by hand."""
        for unit in ("filing-db", "filing-app"):
            self.town.run_inside(SOURCE_HOST, ["systemctl", "start", unit], check=False)
            if self.town.run_inside(SOURCE_HOST, ["systemctl", "is-active", unit], check=False).text == "active":
                raise RuntimeError(f"{unit} serves at the source, which was lost and is no longer the one to write")

    def _ana_says(self, kind: WordKind, because: str) -> None:
        give_word(
            self.desk,
            kind,
            system=FILING,
            side=Side.SOURCE,
            person="ana",
            role=None,
            key_file=str(estate_town.person_key("ana")),
            because=because,
        )

    def add_machine(self, home: Path) -> None:
        """Another machine with the same keys: what `skerry state` copies, over the same hosts."""
        copy = home / "copy"
        self.skerry("state", "backup", str(copy))
        self.skerry("state", "restore", str(copy), home=home)
        (home / "lab").symlink_to(self.home / "lab")
        self.second = home


@contextmanager
def lab(*, on_postgresql: bool) -> Iterator[Ground]:
    """A lab of its own, surveyed, clients at work. Without a database that is shared its state is a file."""
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="skm", ignore_cleanup_errors=True))
        database = stack.enter_context(running_postgres()).new_database() if on_postgresql else ""
        stack.enter_context(environment(SKERRY_HOME=home, SKERRY_DATABASE=database))
        town = estate_town.open_lab()
        stack.callback(estate_town.purge, town)
        estate_town.up(town, filings=60, documents=1, filings_per_second=FILINGS_PER_SECOND)
        estate = _written_estate(Path(home) / "estate")
        ground = stack.enter_context(ground_of(town, Path(home), estate))
        ground.on_postgresql = on_postgresql
        desk = ground.desk
        estate_town.claim_source(desk.inventory, desk.authority)
        _serve_machine(town, desk)
        estate_town.traffic_start(town)
        survey_estate(desk.inventory, desk.survey, desk.catalogue, on_host=lambda _: None)
        yield ground


def _serve_machine(town: Town, desk: Desk) -> None:
    """Its disk is at the source, and what is on it is served there under the clients' name."""
    source, dr = desk.inventory.hosts["onprem-archive1"], desk.inventory.hosts["dr-archive1"]
    for host in (source, dr):
        town.path_on_machine(host.name, DISK).parent.mkdir(parents=True)
    a_disk(town.path_on_machine(source.name, DISK), {**WILLING, **SERVING})
    for name, text in SERVING.items():
        path = town.path_on_machine(source.name, f"/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    town.run_inside(source.name, ["systemctl", "enable", "--now", "serving"])
    front = desk.inventory.systems[MACHINE].front
    assert front is not None
    desk.drivers.front.switch(front, source.address, key="clients of the machine")


@contextmanager
def ground_of(town: Town, home: Path, estate: Path) -> Iterator[Ground]:
    """A lab that is up, in this process's home."""
    with ExitStack() as stack:
        desk = stack.enter_context(open_desk(estate))
        store = open_store(state_url())
        stack.callback(store.close)
        yield Ground(town, desk, store, home, estate, _impatient_runbooks(home / "runbooks"))


def _impatient_runbooks(folder: Path) -> Path:
    """The shipped runbooks, but what failed is tried again after a second: nobody learns from a longer wait."""
    shutil.copytree(shipped_folder("runbooks"), folder, dirs_exist_ok=True)
    for copied in folder.rglob("*.yml"):
        copied.write_text(re.sub(r"wait_seconds: \d+[smh]", "wait_seconds: 1s", copied.read_text()))
    return folder


def _written_estate(folder: Path) -> Path:
    """The lab's, and one system more."""
    shutil.copytree(estate_town.lab_inventory(), folder)
    hosts, systems = folder / "hosts.yml", folder / "group_vars/skerry/systems.yml"
    written = hosts.read_text()
    before, after = written.split("\n# Where the traffic comes from")
    hosts.write_text(f"{before}{ITS_HOST}\n# Where the traffic comes from{after}")
    # The archive's index is no dataset: a move makes it at the new side, and a drill in a bubble makes nothing.
    kept = [line for line in systems.read_text().splitlines() if "index-ready" not in line]
    systems.write_text("\n".join(kept) + "\n" + ITS_WISH)
    return folder


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables of this process while inside; an empty one is not set."""
    before = {name: os.environ.get(name, "") for name in values}
    try:
        _set(values)
        yield
    finally:
        _set(before)


def _set(values: dict[str, str]) -> None:
    for name, value in values.items():
        if value:
            os.environ[name] = value
        else:
            os.environ.pop(name, None)
