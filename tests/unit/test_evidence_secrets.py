"""Canaries: secrets planted in every place that reaches the evidence are found in none of its files."""

import base64
import json
import subprocess
from urllib.parse import quote

import pytest

from orchestrator.evidence.approvals import sign_with_ssh_key
from orchestrator.evidence.export import export_bundle
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.scrubber import REMOVED, Scrubber
from orchestrator.evidence.statements import REVIEW, Statement
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.places import shipped_folder
from orchestrator.inventory.load import load_inventory
from orchestrator.model.event import RunEvent
from orchestrator.wiring.workshop import Workshop
from tests.fakes.staged_run import ORIGIN, make_keys, trust_policy

SECRET = 'c4nary/"quoted" $HOME\\päss+word=='


def forms(secret):
    raw = secret.encode()
    return {
        "plain": raw,
        "url": quote(secret, safe="").encode(),
        "json": json.dumps(secret).encode()[1:-1],
        "json utf-8": json.dumps(secret, ensure_ascii=False).encode()[1:-1],
        "base64": base64.b64encode(raw)[:-4],
        "base64 within": base64.b64encode(b"user:" + raw)[8:-4],
        "hex": raw.hex().encode(),
    }


def test_planted_secrets_are_nowhere_in_ledger_artifacts_and_bundle(tmp_path):
    (tmp_path / "keys").mkdir()
    keys = make_keys(tmp_path / "keys")
    ledger = tmp_path / "ledger"
    recorder = open_recorder(ledger, origin=ORIGIN, source="urn:test", clock=SystemClock(), ballast_bytes=4096)
    recorder.register_secret(SECRET)

    def tell(kind, data, **where):
        recorder.record(RunEvent(type=kind, run="r", at="2026-11-21T22:18:00.000Z", data=data, **where))

    plan = recorder.keep(json.dumps({"systems": [], "closure": {}, "author": "ben"}).encode(), "application/json")
    tell("run.created", {"plan": plan["digest"], "planArtifact": plan, "kind": "migrate", "operator": "dana"})
    tell("run.started", {"plan": plan["digest"], "operator": "dana", "environment": {"PGPASSWORD": SECRET}})
    step = {"system": "filing", "step": "drain", "attempt": 1}
    tell("step.started", {"mode": "do", "action": {"url": f"https://u:{quote(SECRET, safe='')}@host/"}}, **step)
    outputs = [f"login with {SECRET} failed", json.dumps({"password": SECRET})]
    outputs += [f"Authorization: Basic {base64.b64encode(b'user:' + SECRET.encode()).decode()}", SECRET.encode().hex()]
    for counter, output in enumerate(outputs, start=1):
        tell("ansible.event", {"playbook": "drain", "counter": counter, "stdout": output, SECRET: 1}, **step)
    large = recorder.keep(b"\n".join(output.encode() for output in outputs) * 500, "text/plain")
    tell("step.finished", {"mode": "do", "status": "failed", "message": SECRET, "output": large}, **step)
    tell("check.result", {"page": SECRET * 4000}, **step)  # too large for an entry
    tell("run.finished", {"result": "failed", "systems": {}})
    recorder.close()
    export_bundle(ledger, "r", tmp_path / "bundle", policy=trust_policy(ledger, keys))

    searched = [path for folder in (ledger, tmp_path / "bundle") for path in folder.rglob("*") if path.is_file()]
    assert len(searched) > 20
    for name, form in forms(SECRET).items():
        found = [str(path) for path in searched if form in path.read_bytes()]
        assert not found, f"{name}: {found}"
    assert any(REMOVED.encode() in path.read_bytes() for path in searched)


@pytest.mark.parametrize("secret", ["", "abc", " \n"])
def test_what_is_too_short_to_be_a_secret_blots_out_nothing(secret):
    scrubber = Scrubber()
    scrubber.register(secret)
    assert scrubber.clean({"a": "abc and more"}) == {"a": "abc and more"}


def test_a_signer_never_sees_a_private_key_in_its_arguments_or_files(tmp_path):
    """ssh-keygen is given the name of the key; the statement goes in by standard input."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    before = set(tmp_path.iterdir())
    sign_with_ssh_key(Statement({"run:r": "00" * 32}, REVIEW, {"conclusion": "fine"}), str(tmp_path / "key"))
    assert set(tmp_path.iterdir()) == before


def test_a_resolved_secret_is_kept_out_of_the_open_ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path))
    monkeypatch.setenv("CANARY", SECRET)
    inventory = load_inventory(shipped_folder("inventories") / "lab", home=tmp_path)
    workshop = Workshop(inventory)
    with workshop.recorder() as recorder:
        assert workshop.resolve_secret("env:CANARY") == SECRET
        recorder.record(RunEvent(type="check.result", run="r", at="t", data={"output": SECRET}))
    workshop.close()
    assert workshop.resolve_secret("env:CANARY") == SECRET
    found = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert not found
