"""What is wrong is refused before anything is touched, with its place and a remedy: each kind by name, as commands."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.cli.app import main
from orchestrator.foundation.clock import Clock
from orchestrator.operations import approve as approving
from orchestrator.operations.desk import open_desk
from orchestrator.operations.plan import find_plan
from tests.fakes.clock import SetClock
from tests.fakes.surveys import dataset_changed, healthy

ROOT = Path(__file__).parents[2]
GOOD = ROOT / "tests" / "good_inventories" / "small"
WRITTEN = Path("group_vars/skerry")
LEDGERS_RULE = 21  # the line of the system whose approval is asked for: its rule is the one of all
DAY = datetime.now(UTC) + timedelta(days=30)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ada", "bo", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    return folder


class Desk:
    """An estate whose hosts were surveyed and answer nobody now; commands against it, in this process."""

    def __init__(self, folder, keys, capsys):
        self.estate, self.keys, self.capsys = folder / "estate", keys, capsys
        shutil.copytree(GOOD, self.estate)
        self.write(
            "people.yml",
            f"people:\n  ada: {{name: Ada, roles: [system-owner], keys: ['file:{keys}/ada.pub']}}\n"
            f"  bo: {{name: Bo, roles: [migration-engineer, system-owner], keys: ['file:{keys}/bo.pub']}}\n",
        )
        self.survey()

    def write(self, name: str, text: str) -> Path:
        file: Path = self.estate / WRITTEN / name
        file.write_text(text)
        return file

    def survey(self, changed_bytes_per_second: str = "") -> None:
        with open_desk(self.estate) as desk:
            facts = healthy(desk.inventory)
            if changed_bytes_per_second:
                detail = {"changed_bytes_per_second": changed_bytes_per_second}
                facts = dataset_changed(facts, "home-web1", "books", detail=detail)
            desk.catalogue.put("facts", desk.inventory.digest, facts.model_dump(mode="json"))

    def run(self, *words: str) -> tuple[int, str, str]:
        code = main(list(words))
        printed = self.capsys.readouterr()
        return code, printed.out, printed.err

    def plan(self, wave: str = "w-1") -> str:
        code, out, err = self.run("plan", "make", "ledger", "--wave", wave, "--as", "bo", "--json")
        assert code == 0, err
        return str(json.loads(out)["digest"])

    def with_runbook(self, name: str) -> tuple[int, str, str]:
        """A plan by one of the bad runbooks of tests/bad_runbooks."""
        file = ROOT / "tests" / "bad_runbooks" / f"{name}.yml"
        return self.run("plan", "make", "ledger", "--wave", "w-1", "--as", "bo", "--runbook", str(file))

    def with_waves(self, *lines: str) -> tuple[int, str, str]:
        """A plan of the wave `pilot` of these lines."""
        text = "\n".join(["waves:", *(f"  {line}" for line in lines)]) + "\n"
        self.write("waves.yml", text)
        return self.run("plan", "wave", "pilot", "--as", "bo")

    def word(self, digest: str, clock: Clock | None = None) -> dict[str, object]:
        """Ada's approval of the plan, given at the clock's time."""
        with open_desk(self.estate) as desk:
            signed = approving.approve(
                find_plan(desk.catalogue, digest),
                person="ada",
                role="system-owner",
                key_file=str(self.keys / "ada"),
                people=desk.inventory.people,
                signer=desk.signer,
                judge=desk.judge,
                catalogue=desk.catalogue,
                clock=clock or desk.clock,
            )
            return signed.model_dump(mode="json")

    def put_word(self, digest: str, word: dict[str, object]) -> None:
        with open_desk(self.estate) as desk:
            desk.catalogue.put("approval", f"{digest}/ada/system-owner/again", word)

    def approve(self, person: str, key: str) -> tuple[int, str, str]:
        words = ("--as", person, "--role", "system-owner", "--key", str(self.keys / key))
        return self.run("approve", self.plan(), *words)


@pytest.fixture
def desk(tmp_path, keys, monkeypatch, capsys):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SKERRY_INVENTORY", str(tmp_path / "estate"))
    monkeypatch.delenv("SKERRY_HOSTS", raising=False)
    return Desk(tmp_path, keys, capsys)


def expired(desk):
    digest = desk.plan()
    desk.word(digest, SetClock(datetime.now(UTC) - timedelta(days=8)))
    return desk.run("run", digest, "--as", "bo")


def replayed(desk):
    """An approval of one plan, put where those of another are kept."""
    old, new = desk.plan("w-1"), desk.plan("w-2")
    desk.put_word(new, desk.word(old))
    return desk.run("run", new, "--as", "bo")


def replayed_after_a_no(desk):
    digest = desk.plan()
    word = desk.word(digest)
    no = ("--as", "ada", "--key", str(desk.keys / "ada"), "--reject", "--comment", "not this week")
    assert desk.run("approve", digest, *no)[0] == 0
    desk.put_word(digest, word)
    return desk.run("run", digest, "--as", "bo")


def slow_link(desk):
    text = (GOOD / WRITTEN / "systems.yml").read_text()
    desk.write("systems.yml", text.replace("{rto: 4h, rpo: 1h, mtpd: 2d}", "{rto: 4h, rpo: 1m, mtpd: 2d}"))
    desk.survey(changed_bytes_per_second="6600000")
    return desk.run("plan", "make", "ledger", "--wave", "w-1", "--as", "bo")


def shared_volume(desk):
    text = (GOOD / WRITTEN / "systems.yml").read_text()
    disk = "    datasets:\n      - {kind: block_volume, name: disk, path: /dev/vg0/data}\n"
    desk.write("systems.yml", text.replace("    datasets:\n", disk))
    return desk.with_waves("order:", "  - {wave: pilot, systems: [billing]}", "  - {wave: rest, systems: [ledger]}")


def times(start: datetime, hours: float) -> str:
    return f"start: {start:%Y-%m-%dT%H:%M}, end: {start + timedelta(hours=hours):%Y-%m-%dT%H:%M}, time_zone: UTC"


def wave_in(start: datetime) -> str:
    return f"  - {{wave: pilot, systems: [billing, ledger], rollback: 30m, window: {{{times(start, 5)}}}}}"


# what is wrong → how it comes to a command, its exit code, where it is told to be, and words of the remedy
Wrong = Callable[[Desk], tuple[int, str, str]]
REFUSED: dict[str, tuple[Wrong, int, str, str]] = {
    "runbook with a cycle": (
        lambda desk: desk.with_runbook("circle"),
        11,
        "circle.yml:11: ",
        "steps need each other in a circle: look → pause → stop → look",
    ),
    "step without inverse and without reason": (
        lambda desk: desk.with_runbook("no_inverse_and_no_reason"),
        11,
        "no_inverse_and_no_reason.yml:10: ",
        "key 'inverse' is missing: say what undoes the step, inverse: {action: …}, or why nothing does",
    ),
    "step with an empty inverse": (
        lambda desk: desk.with_runbook("inverse_is_empty"),
        11,
        "inverse_is_empty.yml:14: ",
        "give either an inverse action or the reason why there is none (none_because)",
    ),
    "unknown verb": (
        lambda desk: desk.with_runbook("unknown_verb"),
        11,
        "unknown_verb.yml:13: ",
        "must be one of preflight, ",
    ),
    "gate with no criteria": (
        lambda desk: desk.with_runbook("gate_without_criteria"),
        11,
        "gate_without_criteria.yml:25: ",
        "has no criteria, so it could never open",
    ),
    "gate of a wave with no criteria": (
        lambda desk: desk.with_waves(
            "gates:", "  G4: {criteria: []}", "order:", "  - {wave: pilot, systems: [billing, ledger], entry: [G4]}"
        ),
        10,
        "waves.yml:3: ",
        "gate G4 has no criteria, so it could never open",
    ),
    "expired approval": (expired, 42, f"systems.yml:{LEDGERS_RULE}: no approval of plan", "ada expired at"),
    "approval of one's own plan": (
        lambda desk: desk.approve("bo", "bo"),
        42,
        "people.yml:3: bo made this plan",
        "Four eyes: ask somebody else who holds the role.",
    ),
    "approval with a foreign key": (
        lambda desk: desk.approve("ada", "stranger"),
        42,
        "people.yml:2: the approval by ada: ",
        "it was made with another key",
    ),
    "replayed approval": (replayed, 42, f"systems.yml:{LEDGERS_RULE}: no approval of plan", "for another plan"),
    "approval replayed after a no": (
        replayed_after_a_no,
        40,
        f"systems.yml:{LEDGERS_RULE}: ada (system-owner) rejected",
        "takes it back",
    ),
    "window in the past": (
        lambda desk: desk.with_waves("order:", wave_in(datetime.now(UTC) - timedelta(days=2))),
        12,
        "waves.yml:3: ",
        "give it another",
    ),
    "overlapping freeze": (
        lambda desk: desk.with_waves(
            "freezes:", f"  - {{name: closing, because: books, {times(DAY, 24)}}}", "order:", wave_in(DAY)
        ),
        10,
        "waves.yml:5: ",
        "overlaps the freeze closing",
    ),
    "two waves that share a hard-bound volume": (shared_volume, 10, ".yml:", "/dev/vg0/data"),
    "objective that the measured link cannot meet": (
        slow_link,
        12,
        "systems.yml:",
        "give the links more and measure them again, or have the owner agree to a longer rpo",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_place_and_a_remedy_and_nothing_is_touched(desk, name):
    wrong, exit_code, place, remedy = REFUSED[name]
    code, out, err = wrong(desk)
    assert (code, out) == (exit_code, ""), err
    said = " ".join(err.split())
    assert re.match(r"error: \S+\.yml:\d+: ", said), said
    assert " hint: " in said
    assert place in said
    assert remedy in said
    code, out, err = desk.run("runs", "list", "--json")
    assert (code, json.loads(out)["runs"]) == (0, []), err
