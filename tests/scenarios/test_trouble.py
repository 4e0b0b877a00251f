"""Trouble as operators meet it: each with the words of what, where and what next, an exit code, and nothing half-done.

Then the story in stages, a command each. Everything is the real command, in processes of its own.
"""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.store import open_store
from orchestrator.lab.town import Town, open_town
from tests.crash import real_estate
from tests.crash.matrix_cells import Case
from tests.crash.real_estate import ROOT
from tests.crash.real_lab import try_real_case
from tests.scenarios.commands import Told, await_step, begin, fingerprint, refused, skerry

ESTATE = ROOT / "inventories" / "lab"

on_hosts = [
    pytest.mark.platform("hosts"),
    pytest.mark.platform("rsync"),
    pytest.mark.platform("postgresql"),
    pytest.mark.timeout(600),
]


# -- the wish is wrong: no host is asked


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sk") as folder:
        yield Path(folder)


def estate(folder: Path, change: tuple[str, str], *, file: str = "group_vars/skerry/systems.yml") -> Path:
    """A copy of the lab's estate with one piece of text changed."""
    copy = folder / "estate"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ESTATE, copy)
    text = (copy / file).read_text()
    assert change[0] in text
    (copy / file).write_text(text.replace(change[0], change[1], 1))
    return copy


def line_of(folder: Path, words: str) -> int:
    lines = (folder / "group_vars/skerry/systems.yml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if words in line)


PATH = "path: /srv/filing/attachments"
WISHES = {
    "unknown key": (("    owner: ana\n", "    owner: ana\n    onwer: ana\n"), "onwer", ("onwer", "owner")),
    "missing host": (("dr: {host: dr-filing1}", "dr: {host: dr-filing9}"), "dr-filing9", ("dr-filing9", "dr-filing1")),
    "objective RTO > MTPD": (("rto: 15m", "rto: 5h"), "rto: 5h", ("rto (18000s) is longer than mtpd (14400s)",)),
    "path not absolute": ((PATH, "path: srv/filing/attachments"), "path: srv", ("must be an absolute path",)),
}


@pytest.mark.parametrize("name", WISHES)
@pytest.mark.parametrize("command", ["estate check", "plan make --wave w --as ben"])
def test_a_wrong_wish_is_told_with_file_and_line(home, name, command):
    change, where, said = WISHES[name]
    folder = estate(home, change)
    told = skerry(home, "--inventory", str(folder), *command.split(), "--json")
    error = refused(told, 10, "InventoryError", *said)
    assert f"systems.yml:{line_of(folder, where)}: " in error["message"]
    assert error["problems"][0]["line"] == line_of(folder, where)
    assert "skerry estate check" in error["hint"]
    assert not (home / "state.db").exists()


def test_a_circle_of_dependencies_is_told_with_its_members(home):
    folder = estate(home, ("    strategy: rehost\n", "    strategy: rehost\n    depends_on: [{system: archive}]\n"))
    systems = folder / "group_vars/skerry/systems.yml"
    head, archive = systems.read_text().split("  archive:\n")
    archive = archive.replace("    strategy: rehost\n", "    strategy: rehost\n    depends_on: [{system: filing}]\n")
    systems.write_text(f"{head}  archive:\n{archive}")
    error = refused(skerry(home, "--inventory", str(folder), "estate", "check", "--json"), 10, "InventoryError")
    assert "systems.yml:" in error["message"]
    assert "filing" in error["message"]
    assert "archive" in error["message"]


# -- hosts and data, on one lab


@dataclass
class Ground:
    """One lab, and what operators do there. Waves have names of their own; `ready` is an approved plan of filing."""

    home: Path
    town: Town
    waves: int = 0
    ready: str = ""

    def skerry(self, *words: str, folder: Path = ROOT) -> Told:
        return skerry(self.home, *words, "--json", folder=folder)

    def good(self, *words: str) -> dict[str, Any]:
        told = self.skerry(*words)
        assert told.exit_code == 0, told.stdout + told.stderr
        return told.answer

    def survey(self) -> dict[str, Any]:
        return self.good("survey")

    def plan(self, system: str, *words: str) -> str:
        self.waves += 1
        made = self.good("plan", "make", system, "--wave", f"w-{self.waves}", "--as", "ben", *words)
        return str(made["digest"])

    def approve(self, digest: str) -> None:
        self.good("approve", digest, "--key", str(self.home / "lab" / "people" / "ana"), "--as", "ana")

    def approved(self, system: str) -> str:
        digest = self.plan(system)
        self.approve(digest)
        return digest

    @property
    def own_hosts(self) -> Path:
        """The hosts.yml of a lab whose hosts are not at the addresses of inventories/lab; others have none."""
        return self.home / "lab" / "hosts.yml"

    def run(self, digest: str, *, folder: Path = ROOT) -> Told:
        return self.skerry("run", digest, "--as", "ben", folder=folder)

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.good("runs", "list")["runs"]
        return found

    def acted_on_replicas(self) -> bool:
        """Whether DR holds anything of a database yet: the first thing that a move would bring there."""
        place = self.town.path_on_machine("dr-filing1", "/var/lib/postgresql/filing")
        return place.exists() and any(place.iterdir())

    @contextmanager
    def covered(self, host: str, program: str, by: str) -> Iterator[None]:
        """While inside, `program` is another file on `host`, and on no other."""
        self.town.run_inside(host, ["mount", "--bind", by, program])
        try:
            yield
        finally:
            self.town.run_inside(host, ["umount", program])


@contextmanager
def a_lab() -> Iterator[Ground]:
    """A small lab of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sk", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        try:
            up = skerry(home, "lab", "up", "--filings", "60", "--documents", "40", "--json")
            assert up.exit_code == 0, up.stderr
            yield Ground(home, open_town(home / "lab"))
        finally:
            down = skerry(home, "lab", "down", "--purge")
        assert down.exit_code == 0, down.stderr


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with a_lab() as here:
        here.survey()
        here.ready = here.approved("filing")
        yield here


@pytest.fixture
def in_namespaces(ground: Ground) -> Ground:
    if ground.town.kind != "namespaces":
        pytest.skip("hosts that share this machine's files cannot have this trouble")
    return ground


class TestHosts:
    pytestmark = on_hosts

    def test_a_dataset_that_is_not_there(self, ground):
        folder = estate(ground.home, (PATH, "path: /srv/filing/nowhere"))
        if ground.own_hosts.exists():
            shutil.copy(ground.own_hosts, folder / "hosts.yml")
        assert ground.skerry("--inventory", str(folder), "survey").exit_code == 0
        words = ("--inventory", str(folder), "plan", "make", "filing", "--wave", "nowhere", "--as", "ben")
        said = "dataset attachments of filing: /srv/filing/nowhere does not exist on onprem-filing1"
        error = refused(ground.skerry(*words), 12, "PlanningError", said)
        assert "Nothing was touched" in error["hint"]
        assert not [plan for plan in ground.good("plan", "list")["plans"] if plan["wave"] == "nowhere"]

    def test_an_approval_of_another_digest(self, ground):
        words = ("plan", "make", "filing", "--wave", "twice", "--as", "ben")
        one = ground.good(*words)["digest"]
        ground.approve(one)
        other = ground.good(*words, "--set", "watch=11s")["digest"]
        assert other != one
        error = refused(ground.run(other), 41, "ApprovalMissing", other, f"was approved as {one}")
        assert "skerry approve" in error["hint"]
        # The same signed word, filed under the other plan, is not its approval either.
        store = open_store(f"sqlite:///{ground.home}/state.db")
        try:
            key, document = store.catalogue.list("approval", prefix=f"{one}/")[0]
            store.catalogue.put("approval", key.replace(one, other), document)
        finally:
            store.close()
        refused(ground.run(other), 42, "ApprovalInvalid", other, "ana")
        assert other not in {run["plan"] for run in ground.runs()}

    @pytest.mark.parametrize("edited", ["runbooks/migrate.yml", "playbooks/drain.yml", "inventories/lab/hosts.yml"])
    def test_what_was_edited_after_the_approval_does_not_run(self, ground, checkout, edited):
        of_lab = edited.endswith("hosts.yml") and ground.own_hosts.exists()
        path = ground.own_hosts if of_lab else checkout / edited
        honest = path.read_bytes()
        path.write_bytes(honest + b"# an afterthought\n")
        try:
            told = ground.run(ground.ready, folder=checkout)
        finally:
            path.write_bytes(honest)
        error = refused(told, 12, "PlanningError", ground.ready, "changed since")
        named = "the inventory" if edited.startswith("inventories") else edited
        assert named in error["message"]
        assert "Plan again" in error["hint"]
        assert ground.ready not in {run["plan"] for run in ground.runs()}

    def test_a_host_with_another_key_is_refused_and_the_expected_fingerprint_told(self, ground):
        known = ground.home / "lab" / "known_hosts"
        honest = known.read_text()
        lines = dict(line.split(" ", 1) for line in honest.splitlines())
        name, other = (next(key for key in lines if key.startswith(host)) for host in ("dr-filing1", "clients-c1"))
        expected, shown = (fingerprint(lines[key]) for key in (other, name))
        known.write_text("".join(f"{key} {lines[other] if key == name else line}\n" for key, line in lines.items()))
        try:
            found = ground.survey()["hosts"]["dr-filing1"]
            told = ground.skerry("plan", "make", "filing", "--wave", "key", "--as", "ben")
            ran = ground.run(ground.ready)
        finally:
            known.write_text(honest)
            ground.survey()
        assert not found["reachable"]
        for words in (expected, shown):
            assert words in found["why_not"]
        refused(told, 12, "PlanningError", "host dr-filing1 cannot be reached", expected)
        refused(ran, 61, "RunFailed", "dr-filing1", f"expected host key {expected}", shown)
        assert not ground.acted_on_replicas()

    def test_a_host_that_is_down(self, ground):
        ground.good("lab", "break", "power-off", "dr-filing1")
        try:
            error = refused(ground.run(ground.ready), 61, "RunFailed", "preflight", "dr-filing1", "cannot be reached")
            steps = ground.good("runs", "show", ground.runs()[0]["run"])["systems"][0]["steps"]
        finally:
            ground.good("lab", "heal", "power-off", "dr-filing1")
        assert "skerry runs show" in error["hint"]
        assert [(step["step"], step["attempts"]) for step in steps] == [("preflight", 3)]

    def test_a_full_disk_at_dr_is_found_before_the_first_byte(self, in_namespaces):
        ground = in_namespaces
        place = ground.town.path_on_machine("dr-filing1", "/var/lib/postgresql")
        owner = place.stat().st_uid
        ground.good("lab", "break", "disk-full", "dr-filing1", "/var/lib/postgresql", "1")
        try:
            ran = ground.run(ground.ready)
            ground.survey()
            told = ground.skerry("plan", "make", "filing", "--wave", "full", "--as", "ben")
        finally:
            ground.good("lab", "heal")
            ground.survey()
        assert place.stat().st_uid == owner
        refused(ran, 61, "RunFailed", "dr-filing1: /var/lib/postgresql/filing has", "bytes free", "are needed")
        refused(told, 12, "PlanningError", "host dr-filing1 has", "bytes free", "filing/register")
        assert not ground.acted_on_replicas()

    def test_a_host_without_rsync(self, in_namespaces):
        ground = in_namespaces
        with ground.covered("dr-filing1", "/usr/bin/rsync", "/dev/null"):
            ran = ground.run(ground.ready)
            ground.survey()
            told = ground.skerry("plan", "make", "filing", "--wave", "tool", "--as", "ben")
        ground.survey()
        refused(ran, 61, "RunFailed", "dr-filing1 lacks rsync")
        refused(told, 12, "PlanningError", "host dr-filing1 lacks rsync", "install it there")
        assert not ground.acted_on_replicas()

    def test_another_version_of_postgresql_at_dr(self, in_namespaces):
        ground = in_namespaces
        old = ground.town.path_on_machine("dr-filing1", "/root/postgres")
        old.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9 (Debian 14.9-1)'\n")
        old.chmod(0o755)
        with ground.covered("dr-filing1", "/usr/lib/postgresql/15/bin/postgres", "/root/postgres"):
            ground.survey()
            told = ground.skerry("plan", "make", "filing", "--wave", "old", "--as", "ben")
        ground.survey()
        said = "dataset register of filing: PostgreSQL 15 on onprem-filing1, 14 on dr-filing1"
        refused(told, 12, "PlanningError", said, "same major version")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another checkout of skerry, whose files may be edited."""
    copy = tmp_path / "checkout"
    for name in ("orchestrator", "playbooks", "runbooks", "inventories"):
        shutil.copytree(ROOT / name, copy / name)
    return copy


class TestMoves:
    """Clients are at work in all of these."""

    pytestmark = on_hosts

    def test_a_second_run_is_refused_and_an_interrupted_one_goes_on(self, ground):
        ground.survey()
        digest, other = ground.approved("archive"), ground.ready
        ground.good("lab", "traffic", "start")
        first = begin(ground.home, "run", digest, "--as", "ben", "--json")
        try:
            await_step(ground.home, "archive", "recovery_point")
            second = refused(ground.run(other), 44, "RunInProgress", f"process {first.process.pid} carries the runs")
            assert f"kill {first.process.pid}" in second["hint"]
            again = refused(ground.run(digest), 44, "RunInProgress", f"process {first.process.pid}")
            assert again["hint"]
            await_step(ground.home, "archive", "drain")
        finally:
            first.process.send_signal(signal.SIGINT)
            stopped = first.end()
        error = refused(stopped, 130, "Interrupted")
        assert "same command again" in error["hint"]
        # archive's check fails at the cloud, on purpose: its way ends at home.
        refused(ground.run(digest), 62, "RolledBack", "archive")
        runs = [run for run in ground.runs() if run["plan"] == digest]
        assert [run["state"] for run in runs] == ["finished"]
        assert [run["state"] for run in ground.runs()].count("running") == 0
        report = ground.good("lab", "traffic", "report")
        assert report["archive"]["acknowledged"] > 0
        assert report["archive"]["lost"] == 0

    def test_the_story_in_stages_a_command_each(self, ground):
        ground.survey()
        ground.good("lab", "traffic", "start")
        digest = ground.plan("filing", "--set", "watch=2s")
        refused(ground.skerry("replicate", digest, "--as", "ben"), 41, "ApprovalMissing", digest)
        ground.approve(digest)

        states = {}
        for stage in ("replicate", "seed", "cutover", "commit"):
            told = ground.skerry(stage, digest, "--as", "ben")
            assert told.exit_code == 0, told.stderr
            [system] = told.answer["systems"]
            states[stage] = system["state"], {step["step"] for step in system["steps"] if step["result"] == "passed"}
        assert [states[stage][0] for stage in states] == ["paused", "paused", "paused", "committed"]
        assert "recovery_point" in states["replicate"][1]
        assert "seed_cloud" not in states["replicate"][1]
        assert "seed_cloud" in states["seed"][1]
        assert "drain" not in states["seed"][1]
        assert "watch" in states["cutover"][1]
        assert "commit" not in states["cutover"][1]

        run = next(run for run in ground.runs() if run["plan"] == digest)
        shown = ground.good("runs", "show", run["run"])
        steps = {step["step"]: step for step in shown["systems"][0]["steps"]}
        assert all(step["result"] == "passed" for step in steps.values())
        assert len(set(steps["verify_digests"]["observed"]["digests"].values())) == 1
        seen = steps["seed_cloud"]["observed"]["source_read"]["onprem-filing1"]
        assert (seen["ssh_sessions_from_dr_and_cloud"], seen["database_connections_from_cloud"]) == (0, 0)
        report = ground.good("lab", "traffic", "report")["filing"]
        assert report["acknowledged"] > 0
        assert report["lost"] == 0
        ground.good("lab", "traffic", "stop")
        verified = ground.good("evidence", "verify")
        assert verified["verified"] is True
        # It is at the cloud now: the same plan has nothing left to move, and takes nothing away.
        refused(ground.run(digest), 61, "RunFailed", "filing lives at cloud; this plan takes it from source")

    @pytest.mark.parametrize(
        "cell",
        [
            Case("failback", "promote", "do", "kill before the journal", "roll back"),
            Case("rollback", "move_authority", "do", "kill after the deed", "go on"),
        ],
        ids=str,
    )
    def test_cells_of_the_crash_matrix_on_hosts(self, in_namespaces, cell):
        """A sample; `make crash-matrix` tries all of them."""
        ground = in_namespaces
        with real_estate.environment(SKERRY_HOME=str(ground.home)):
            with real_estate.ground_of(ground.town, ground.home, ESTATE) as here:
                here.is_prepared = True
                assert try_real_case(cell, here) == ""
            ground.good("lab", "traffic", "stop")
