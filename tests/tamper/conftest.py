"""One honest run and its bundle, staged once for all attacks of this folder."""

import pytest

from orchestrator.evidence.export import collect, export_bundle
from orchestrator.evidence.people import run_digest
from tests.fakes.staged_run import StagedRun, make_keys, trust_policy


@pytest.fixture(scope="session")
def people_keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="session")
def honest_run(tmp_path_factory, people_keys):
    """(ledger, run, policy, bundle) of an honest, reviewed run."""
    folder = tmp_path_factory.mktemp("honest-run")
    staged = StagedRun(folder / "ledger", people_keys).go()
    policy = trust_policy(folder / "ledger", people_keys)
    entries = collect(folder / "ledger", staged.run, policy=policy)["log/events.ndjson"].split(b"\n")[:-1]
    staged.review(run_digest(entries))
    export_bundle(folder / "ledger", staged.run, folder / "bundle", policy=policy)
    return folder / "ledger", staged.run, policy, folder / "bundle"
