"""skerry wave and skerry plan wave at the command line: documents as docs/cli_json.md has them, and words that help."""

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.cli.app import main
from orchestrator.cli.wave_show import show_wave
from orchestrator.engine.worker_lock import worker_lock
from orchestrator.operations.desk import open_desk
from orchestrator.operations.wave_status import WaveStatus
from orchestrator.wiring.state import state_url
from tests.fakes.surveys import healthy
from tests.fakes.written_answers import example, holds

ROOT = Path(__file__).parents[2]
WAVES = """\
waves:
  gates:
    G4:
      criteria:
        - {id: checklist, step: said, observed: checklist_done, expected: true}
  order:
    - {wave: pilot, outcome: both live at the cloud, systems: [billing, ledger], soak: 1d, entry: [G4]}
"""


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    """A home, an estate with waves whose persons have keys, and facts of healthy hosts."""
    folder = tmp_path_factory.mktemp("office")
    estate = folder / "estate"
    shutil.copytree(ROOT / "tests" / "good_inventories" / "small", estate)
    for person in ("ada", "bo"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / person)], check=True)
    people = f"""people:
  ada: {{name: Ada, roles: [system-owner], keys: ["file:{folder}/ada.pub"]}}
  bo: {{name: Bo, roles: [migration-engineer, system-owner], keys: ["file:{folder}/bo.pub"]}}
"""
    (estate / "group_vars" / "skerry" / "people.yml").write_text(people)
    return folder


@pytest.fixture
def waves_file(office):
    file = office / "estate" / "group_vars" / "skerry" / "waves.yml"
    file.write_text(WAVES)
    return file


@pytest.fixture
def skerry(office, waves_file, monkeypatch, capsys):
    """Run one command in this process: (exit code, what it printed, what it complained)."""
    monkeypatch.setenv("SKERRY_HOME", str(office / "home"))
    monkeypatch.setenv("SKERRY_INVENTORY", str(office / "estate"))
    monkeypatch.delenv("SKERRY_HOSTS", raising=False)

    def run(*words: str):
        code = main(list(words))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def planned(office, skerry):
    """The digest of the pilot's plan, which bo made."""
    with open_desk(office / "estate") as desk:
        desk.catalogue.put("facts", desk.inventory.digest, healthy(desk.inventory).model_dump(mode="json"))
    code, out, err = skerry("plan", "wave", "pilot", "--as", "bo", "--json")
    assert code == 0, err
    return json.loads(out)["digest"]


def answer(skerry, *words: str):
    code, out, err = skerry(*words, "--json")
    assert (code, err) == (0, ""), err
    return json.loads(out)


def test_waves_are_judged_and_shown(skerry):
    found = answer(skerry, "plan", "wave")
    holds(found, example("skerry plan wave"))
    assert found["waves"][0]["systems"] == ["ledger", "billing"]
    code, out, _ = skerry("plan", "wave")
    assert code == 0
    assert "pilot" in out
    assert "soak 1 d" in out
    assert "gates G4" in out


def test_a_wrong_file_is_told_with_file_and_line(skerry, waves_file):
    waves_file.write_text(WAVES.replace("[billing, ledger]", "[billing]"))
    code, _, err = skerry("plan", "wave", "--json")
    error = json.loads(err)
    assert (code, error["error"]) == (10, "InventoryError")
    (problem,) = error["problems"]
    assert (problem["file"], problem["line"]) == (str(waves_file), 7)
    assert "both are on host home-web1; put both into one wave" in problem["message"]


def test_an_estate_without_waves_says_where_they_go_and_how_to_draft_them(skerry, waves_file):
    waves_file.unlink()
    code, _, err = skerry("plan", "wave")
    assert code == 10
    assert f"{waves_file}:1: cannot be read" in err
    assert "skerry plan wave --propose" in err
    (draft,) = answer(skerry, "plan", "wave", "--propose")["waves"]
    assert draft == {"wave": "wave-1", "systems": ["billing", "ledger"]}
    code, out, _ = skerry("plan", "wave", "--propose")
    waves_file.write_text(out)
    assert answer(skerry, "plan", "wave")["waves"][0]["wave"] == "wave-1"


def test_a_window_in_the_past_is_refused_with_file_and_line(skerry, waves_file, planned):
    day = datetime.now(UTC) - timedelta(days=2)
    window = f"window: {{start: {day:%Y-%m-%dT%H:%M}, end: {day + timedelta(hours=5):%Y-%m-%dT%H:%M}, time_zone: UTC}}"
    waves_file.write_text(WAVES.replace("soak: 1d", f"rollback: 30m, {window}"))
    code, _, err = skerry("plan", "wave", "pilot", "--as", "bo")
    assert code == 12
    assert f"{waves_file}:7: the window of wave pilot was over at" in err


def test_a_wave_that_is_not_there_is_told_with_those_there_are(skerry, planned):
    for words in (("plan", "wave", "pilit", "--as", "bo"), ("wave", "status", "pilit")):
        code, _, err = skerry(*words)
        assert code == 2
        assert "no wave is called pilit; did you mean 'pilot'? (there are: pilot)" in err


def test_a_wave_that_nobody_carries_any_more_says_how_it_goes_on(skerry, planned, capsys):
    status = WaveStatus.model_validate(answer(skerry, "wave", "status", "pilot") | {"state": "running"})
    show_wave(status)
    assert "nobody carries it now: it goes on with skerry wave run pilot --as PERSON" in capsys.readouterr().out
    lock = worker_lock(state_url())
    assert lock is not None
    lock.take()
    try:
        show_wave(status)
    finally:
        lock.release()
    assert "nobody carries it" not in capsys.readouterr().out


def test_members_that_a_run_of_the_wave_left_alone_are_named(skerry, planned, capsys):
    status = WaveStatus.model_validate(answer(skerry, "wave", "status", "pilot"))
    show_wave(status)
    assert "left alone" not in capsys.readouterr().out
    show_wave(status.model_copy(update={"left_alone": ("billing", "ledger")}))
    assert "looked at, found as they were left, and left alone: billing, ledger" in capsys.readouterr().out


def test_status_and_gate_and_skip_answer_as_documented(skerry, office, planned):
    status = answer(skerry, "wave", "status", "pilot")
    holds(status, example("skerry wave status"))
    assert (status["state"], status["plan"]) == ("not_begun", planned)
    assert answer(skerry, "wave", "status")["waves"] == [status]
    words = ("wave", "gate", "pilot", "G4", "--go", "--as", "ada", "--key", str(office / "ada"))
    code, _, err = skerry(*words)
    assert code == 42
    assert "gate G4 asks what you observed of checklist_done" in err
    assert "--observe checklist_done=VALUE" in err
    said = answer(skerry, *words, "--observe", "checklist_done=true")
    holds(said, example("skerry wave gate"))
    assert said["word"]["said"] == {"checklist_done": True}
    (gate,) = answer(skerry, "wave", "status", "pilot")["gates"]
    assert gate["open"] is True
    waiver = answer(
        *(skerry, "wave", "skip", "pilot", "ledger", "--as", "ada", "--key", str(office / "ada")),
        *("--because", "moves next year"),
    )
    holds(waiver, example("skerry wave skip"))
    code, out, _ = skerry("wave", "status", "pilot")
    assert code == 0
    assert "ledger was waived by ada (system-owner): moves next year" in out
    assert "gate G4 is open: ada (system-owner)" in out
    code, out, _ = skerry("wave", "status")
    assert "not begun" in out


def test_a_wave_nobody_approved_does_not_run_and_touches_nothing(skerry, planned):
    code, _, err = skerry("wave", "run", "pilot", "--as", "bo")
    assert code in (40, 41)
    assert "wave pilot" in err or "may not run" in err
    code, _, err = skerry("wave", "pause", "pilot", "--as", "bo", "--because", "lunch")
    assert code == 40
    assert "nothing of wave pilot is under way, so there is nothing to pause" in err
    assert answer(skerry, "runs", "list")["runs"] == []
    assert answer(skerry, "runs")["runs"] == []
