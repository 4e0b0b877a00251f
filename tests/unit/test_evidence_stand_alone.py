"""The verifier by itself: nothing of the orchestrating rooms, no network, no state store; one file for an auditor."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from orchestrator.evidence.export import collect, export_bundle
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.stand_alone import main, modules_of_the_verifier, stand_alone_verifier
from tests.fakes.staged_run import StagedRun, make_keys, trust_policy

ROOT = Path(__file__).parents[2]
VENDORS = {"cryptography", "rfc3161_client"}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """(folder) with ledger, bundle, policy.json and the zipapp."""
    folder = tmp_path_factory.mktemp("alone")
    keys = make_keys(tmp_path_factory.mktemp("keys"))
    staged = StagedRun(folder / "ledger", keys).go()
    policy = trust_policy(folder / "ledger", keys)
    entries = collect(folder / "ledger", staged.run, policy=policy)["log/events.ndjson"].split(b"\n")[:-1]
    staged.review(run_digest(entries))
    (folder / "policy.json").write_bytes(policy)
    export_bundle(folder / "ledger", staged.run, folder / "bundle", policy=policy)
    (folder / "skerry-verify.pyz").write_bytes(stand_alone_verifier())
    return folder


def test_the_verifier_imports_foundation_and_evidence_alone():
    rooms = {name.split(".")[1] for name in modules_of_the_verifier() if "." in name}
    assert rooms == {"foundation", "evidence"}
    imported = set()
    for path in modules_of_the_verifier().values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) == VENDORS | {"orchestrator"}


def test_the_extra_verify_is_what_the_verifier_imports():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {re.split(r"[<>=]", word)[0].replace("-", "_") for word in extras["verify"]} == VENDORS


def test_verifying_loads_nothing_of_the_orchestrator(told):
    """What is really loaded, lazy imports included, while a bundle is judged where all vendors are there."""
    command = [sys.executable, "-P", "-X", "importtime", str(told / "skerry-verify.pyz"), str(told / "bundle")]
    done = subprocess.run(
        [*command, "--policy", str(told / "policy.json")], cwd="/", capture_output=True, text=True, check=True
    )
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "cryptography" in loaded
    assert not loaded & {"pydantic", "sqlalchemy", "dbos", "boto3", "click", "rich", "ansible_runner", "psycopg"}


def test_the_verifier_is_small_and_the_same_each_time():
    content = stand_alone_verifier()
    assert content == stand_alone_verifier()
    assert len(content) < 125_000


def run(folder, *words):
    """The zipapp in another folder, where no skerry can be imported from, without network."""
    away = (
        ["unshare", "--net"]
        if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0
        else []
    )
    command = [*away, sys.executable, "-P", str(folder / "skerry-verify.pyz"), *words]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


def test_one_file_verifies_a_bundle_and_a_log(told):
    done = run(told, str(told / "bundle"), "--policy", str(told / "policy.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "VERIFIED: " in done.stdout
    assert "Not shown by this bundle: events never logged" in done.stdout
    done = run(told, str(told / "ledger"), "--json")
    assert json.loads(done.stdout)["verified"] is True
    assert json.loads(done.stdout)["keys_from"] == "folder"


def test_what_does_not_verify_has_the_exit_codes_of_the_tree(told, tmp_path):
    done = run(told, str(told / "bundle"))
    assert (done.returncode, "policy of your own" in done.stderr) == (2, True)
    done = run(told, str(tmp_path))
    assert (done.returncode, "no ledger here" in done.stderr) == (52, True)
    done = run(told, str(tmp_path / "mistyped"), "--policy", str(told / "policy.json"))
    assert (done.returncode, "neither a bundle nor a ledger here" in done.stderr) == (52, True)
    done = run(told, str(told / "bundle"), "--policy", str(told / "missing.json"))
    assert (done.returncode, "can not be read" in done.stderr) == (53, True)
    (told / "bundle" / "report.html").write_text("doctored")
    done = run(told, str(told / "bundle"), "--policy", str(told / "policy.json"))
    assert done.returncode == 53
    assert "NOT VERIFIED: 2 of" in done.stdout


def test_the_command_says_that_keys_came_from_the_folder(told, capsys):
    assert main([str(told / "ledger")]) == 0
    assert "not from an auditor's policy" in capsys.readouterr().out
    assert main([str(told / "ledger"), "--policy", str(told / "policy.json")]) == 0
    assert "(yours: " in capsys.readouterr().out
