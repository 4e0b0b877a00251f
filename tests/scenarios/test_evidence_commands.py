"""The evidence commands as an operator, an auditor and an audit office use them, on a staged ledger."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.fakes.staged_run import StagedRun, make_keys, trust_policy
from tests.fakes.written_answers import example, holds

SKERRY = [sys.executable, "-m", "orchestrator.cli.app"]


class Office:
    """A home with one run in its ledger, and the command line."""

    def __init__(self, folder):
        self.home = folder / "home"
        self.keys = folder / "keys"
        self.home.mkdir()
        self.keys.mkdir()
        make_keys(self.keys)
        self.ledger = self.home / "ledger"
        self.run = StagedRun(self.ledger, self.keys).go().run
        self.policy = folder / "policy.json"
        self.policy.write_bytes(trust_policy(self.ledger, self.keys))
        self.environment = {**os.environ, "SKERRY_HOME": str(self.home)}

    def __call__(self, *words, code=0):
        done = subprocess.run(
            [*SKERRY, *map(str, words)], env=self.environment, capture_output=True, text=True, check=False
        )
        assert code is None or done.returncode == code, (words, done.stdout, done.stderr)
        return done


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    return Office(tmp_path_factory.mktemp("office"))


def test_an_operator_reviews_exports_and_an_auditor_verifies(office, tmp_path):
    findings = tmp_path / "findings.json"
    findings.write_text(
        json.dumps([{"id": "F1", "text": "slow", "action": "mend", "owner": "ana", "due": "2027-01-31"}])
    )
    words = ["evidence", "review", "last", "--as", "carla", "--role", "auditor", "--key", office.keys / "carla"]
    told = office(*words, "--conclusion", "accepted", "--findings", findings, "--json")
    assert json.loads(told.stdout)["run"] == office.run

    bundle = tmp_path / "bundle"
    told = office("evidence", "export", office.run, "--out", bundle, "--policy", office.policy, "--json")
    assert json.loads(told.stdout)["files"] > 30
    told = office("evidence", "verify", bundle, "--policy", office.policy)
    assert "review signed by carla" in told.stdout
    assert "VERIFIED: " in told.stdout
    told = office("evidence", "verify", bundle, code=2)
    assert "trust policy of your own" in told.stderr
    (bundle / "csv" / "steps.csv").write_text("doctored")
    told = office("evidence", "verify", bundle, "--policy", office.policy, "--json", code=53)
    assert json.loads(told.stdout.splitlines()[0])["verified"] is False


def test_the_default_is_the_ledger_of_this_home(office):
    told = office("evidence", "verify")
    assert "not from an auditor's policy" in told.stdout
    assert json.loads(office("evidence", "verify", "--json").stdout)["size"] > 80
    told = office("evidence", "verify", "--policy", office.policy)
    assert f"(yours: {office.policy})" in told.stdout


def test_the_population_lists_every_run_and_what_to_ask(office):
    told = json.loads(office("evidence", "population", "--drill-every", "90", "--json").stdout)
    assert [run["run"] for run in told["runs"]] == [office.run]
    assert "archive: no passed drill is on record" in told["questions"]


def test_a_run_that_is_not_there_and_a_ledger_that_is_not_there(office, tmp_path):
    office("evidence", "export", "0193-none", "--out", tmp_path / "x", "--policy", office.policy, code=2)
    told = office("evidence", "verify", tmp_path, code=52)
    assert "no ledger here" in told.stderr


def test_an_audit_office_runs_a_witness_and_the_operator_enrols_it(office, tmp_path):
    told = office("evidence", "anchor", code=2)
    assert "no place is enrolled" in told.stderr
    logs = [
        word for name in ("vkey", "vkey.ml-dsa-44") for word in ("--log", (office.ledger / name).read_text().strip())
    ]
    identity = ["--state", str(tmp_path / "witness"), "--name", "witness.audit.example"]
    vkey = office("witness", "key", *identity).stdout.strip()
    serving = subprocess.Popen(
        [*SKERRY, "witness", "serve", *identity, *logs, "--listen", "127.0.0.1:0"],
        env=office.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    with serving:
        try:
            assert serving.stderr is not None
            assert serving.stderr.readline().strip() == vkey
            (port,) = re.findall(r"listening on 127\.0\.0\.1:(\d+)", serving.stderr.readline())
            office("evidence", "enrol", "witness", "audit", f"http://127.0.0.1:{port}", "--vkey", vkey)
            told = office("evidence", "anchor", "--json")
            assert json.loads(told.stdout)["failed"] == []
        finally:
            serving.terminate()
    told = office("evidence", "verify")
    assert "all 1 anchored heads are beginnings of this log" in told.stdout
    told = office("evidence", "anchor", code=50)
    assert "does not answer" in told.stderr


def test_the_verifier_is_written_as_one_file(office, tmp_path):
    told = json.loads(office("evidence", "verifier", "--out", tmp_path / "v.pyz", "--json").stdout)
    done = subprocess.run(
        [sys.executable, tmp_path / "v.pyz", office.ledger], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, told["bytes"] > 10_000) == (0, True)


def test_every_command_answers_as_its_document_says(office, tmp_path):
    """Examples of docs/cli_json.md against what the commands print, on one ledger."""

    def told(command, *words, like=None):
        answer = json.loads(office(*command.split(), *words, "--json").stdout)
        holds(answer, example(f"skerry {like or command}"))
        return answer

    person = ["--as", "dana", "--because", "the tax code"]
    signed = ["--as", "dana", "--role", "migration-engineer", "--key", office.keys / "dana"]
    assert told("evidence result", "last", *signed)["result"] == "FAILED"
    told("evidence population")
    told("evidence actions", "--all")
    told("evidence controls")
    elsewhere = {"like": "evidence enrol witness"}
    roots = ["--roots", office.keys / "dana.pub", "--ledger", tmp_path]
    told("evidence enrol timestamps", "http://tsa.example/", *roots, **elsewhere)
    told("evidence enrol bucket", "worm", "--region", "eu-central-1", "--ledger", tmp_path, **elsewhere)
    told("evidence retention set", "12", *person)
    hold = told("evidence hold place", "last", *person, like="evidence retention set")["hold"]
    shown = told("evidence retention show")
    assert (shown["years"], shown["runs"][0]["why"]) == (12, "held")
    told("evidence hold lift", hold, *person, like="evidence retention set")
    office("evidence", "hold", "lift", hold, *person, code=2)
    bundle = tmp_path / "bundle"
    told("evidence export", "last", "--out", bundle, "--policy", office.policy)
    answer = office("evidence", "verify", bundle, "--policy", office.policy, "--json", code=None)
    holds(json.loads(answer.stdout), example("skerry evidence verify"))
    told("evidence read", bundle, "--out", tmp_path / "copies")
    told("evidence verifier", "--out", tmp_path / "v.pyz")
    told("witness key", "--state", tmp_path / "witness", "--name", "witness.audit.example")
    office("evidence", "export", "last", "--out", tmp_path / "n", "--disclose", "x", "--disclose-none", code=2)
    office(
        "evidence", "export", "last", "--out", tmp_path / "n", "--disclose", "salary", "--policy", office.policy, code=2
    )
    assert "kept for 12 years" in office("evidence", "verify").stdout
