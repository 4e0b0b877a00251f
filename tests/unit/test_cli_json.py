"""What --json prints is what docs/cli_json.md says: every command below is held to its example there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from orchestrator.cli.app import main
from orchestrator.cli.app import skerry as skerry_command
from orchestrator.evidence.recorder import open_recorder
from orchestrator.foundation.clock import SystemClock
from orchestrator.operations.desk import open_desk
from tests.fakes.surveys import healthy
from tests.fakes.written_answers import example, holds

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    """A home, an estate whose persons have keys, and facts of healthy hosts."""
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
def skerry(office, monkeypatch, capsys):
    """Run one command in this process: (exit code, what it printed, what it complained)."""
    monkeypatch.setenv("SKERRY_HOME", str(office / "home"))
    monkeypatch.setenv("SKERRY_INVENTORY", str(office / "estate"))
    monkeypatch.setenv("SKERRY_HOSTS", "")
    monkeypatch.delenv("SKERRY_HOSTS")

    def run(*words: str):
        code = main(list(words))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def digest(office, skerry):
    """The digest of a plan that bo made."""
    with open_desk(office / "estate") as desk:
        desk.catalogue.put("facts", desk.inventory.digest, healthy(desk.inventory).model_dump(mode="json"))
    code, out, err = skerry("plan", "make", "--wave", "w-1", "--as", "bo", "--json")
    assert code == 0, err
    return json.loads(out)["digest"]


def named_commands(command: click.Command, name: str) -> list[str]:
    if not isinstance(command, click.Group):
        return [name]
    context = click.Context(command)
    found = [(each, command.get_command(context, each)) for each in command.list_commands(context)]
    return [leaf for each, sub in found if sub is not None for leaf in named_commands(sub, f"{name} {each}")]


def test_every_command_prints_json_and_the_document_says_what():
    document = (ROOT / "docs" / "cli_json.md").read_text()
    missing = [name for name in named_commands(skerry_command, "skerry") if not re.search(rf"{name}\b", document)]
    assert missing == []


@pytest.mark.parametrize("command", ["estate check", "estate show", "runbook check", "runbook show", "runbook graph"])
def test_reading_commands(skerry, command):
    code, out, err = skerry(*command.split(), "--json")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1
    holds(json.loads(out), example(f"skerry {command}"))


def test_plan_make_prints_what_its_digest_is_over(skerry, digest):
    code, out, _ = skerry("plan", "make", "--wave", "w-1", "--as", "bo", "--json")
    document = json.loads(out)
    holds(document, example("skerry plan make"))
    assert code == 0
    assert document["digest"] == digest, "the same plan made again is the same plan"


def test_plan_list(skerry, digest):
    code, out, _ = skerry("plan", "list", "--json")
    document = json.loads(out)
    holds(document, example("skerry plan list"))
    assert code == 0
    assert document["plans"][0]["digest"] == digest


def test_approve_and_plan_show(skerry, digest, office):
    code, out, err = skerry("approve", digest[7:17], "--as", "ada", "--key", str(office / "ada"), "--json")
    assert code == 0, err
    holds(json.loads(out), example("skerry approve"))
    code, out, _ = skerry("plan", "show", digest, "--json")
    document = json.loads(out)
    holds(document, example("skerry plan show"))
    assert code == 0
    assert document["approval"]["approved"] is True


def test_a_start_order_is_kept_for_one_run_of_its_person(skerry, digest, office):
    words = ["--as", "bo", "--role", "migration-engineer", "--key", str(office / "bo"), "--json"]
    code, out, err = skerry("evidence", "order", digest[7:17], *words)
    assert code == 0, err
    holds(json.loads(out), example("skerry evidence order"))
    with open_desk(office / "estate") as desk:
        assert desk.papers.orders(digest, "run-1", "ada") == []
        (order,) = desk.papers.orders(digest, "run-1", "bo")
        assert (order.person, order.used_by) == ("bo", "run-1")
        assert desk.papers.orders(digest, "run-1", "bo") == [order], "a start that is told twice"
        assert desk.papers.orders(digest, "run-2", "bo") == []
    code, _, err = skerry("evidence", "order", digest, *words[:3], "system-owner", "--key", str(office / "ada"))
    assert (code, "another key" in err) == (42, True)


def test_who_approves_witnesses_the_head_of_the_log(skerry, digest, office):
    clock = SystemClock()
    recorder = open_recorder(office / "home/ledger", origin="o/x", source="urn:t", clock=clock, ballast_bytes=4096)
    recorder.close()
    code, out, err = skerry("approve", digest, "--as", "ada", "--key", str(office / "ada"), "--json")
    assert code == 0, err
    statement = json.loads(out)["approval"]["statement"]
    note = (office / "home/ledger/log/checkpoint").read_text().split("\n")
    assert [statement["log_origin"], str(statement["log_size"]), statement["log_root"]] == note[:3]


def test_an_error_is_one_document_with_its_problems(skerry, office, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(office / "estate", bad)
    (bad / "hosts.yml").write_text("others:\n  host: {}\n")
    code, out, err = skerry("--inventory", str(bad), "estate", "check", "--json")
    document = json.loads(err)
    assert (code, out) == (10, "")
    holds(document, example("Errors") | {"problems": [{"file": "", "line": 0, "message": ""}]})
    first = document["problems"][0]
    assert (Path(first["file"]).name, first["line"]) == ("hosts.yml", 2)
    assert first["message"] == "unknown key 'host' in group others; did you mean 'hosts'?"
