"""Personal values: what policy.yml names is salted before it is hashed, and shown to whom the operator chooses."""

import base64
import json
import shutil
from typing import Any

import pytest

from orchestrator.engine.event_stream import OBSERVED_MEDIA_TYPE as TOLD_MEDIA_TYPE
from orchestrator.evidence.bundle import MANIFEST, manifest_of, read_bundle
from orchestrator.evidence.disclosure import conceal, disclosure_digest, open_disclosure
from orchestrator.evidence.export import export_bundle, verified_events
from orchestrator.evidence.keeping import erase_values, lift_hold, place_hold
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle, verify_bundle
from orchestrator.evidence.withheld import OBSERVED_MEDIA_TYPE, Withheld
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import BrokenLog, EvidenceError, UsageError
from orchestrator.foundation.places import shipped_folder
from orchestrator.inventory.load import load_inventory
from orchestrator.model.event import RunEvent
from orchestrator.wiring.workshop import Workshop
from tests.fakes.staged_run import ORIGIN, StagedRun, make_keys, trust_policy

NAMES = ("last_receipt", "taxpayer")
PERSONAL = "Kiri Tamihana"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """(ledger, run, policy): a run whose checks saw personal values, in events and in an artifact."""
    folder = tmp_path_factory.mktemp("personal")
    keys = make_keys(tmp_path_factory.mktemp("keys"))
    staged = StagedRun(folder / "ledger", keys).go()
    recorder = open_recorder(
        folder / "ledger", origin=ORIGIN, source="urn:t", clock=SystemClock(), ballast_bytes=4096, conceal=NAMES
    )
    staged.recorder = recorder
    data = {"check": "receipts", "hosts": {"h1": [{"taxpayer": PERSONAL, "last_receipt": 482110077345, "count": 7}]}}
    staged.tell("check.result", data, "filing/check_front/1")
    kept = recorder.keep(json.dumps({"pages": [{"taxpayer": PERSONAL}]}).encode(), OBSERVED_MEDIA_TYPE)
    staged.tell("check.result", {"check": "large", "page": kept}, "filing/check_front/1")
    recorder.close()
    return folder / "ledger", staged.run, trust_policy(folder / "ledger", keys, rules={})


def judged(bundle, policy):
    report = verify_bundle(bundle, parse_trust_policy(policy, "p"))
    return report, next(found for found in report.findings.found if "protected values" in found.text)


@pytest.mark.parametrize(("disclose", "words"), [((), "0 disclosed"), (NAMES[:1], "1 disclosed"), (NAMES, "3 discl")])
def test_a_bundle_shows_the_chosen_values_and_withholds_the_others(told, tmp_path, disclose, words):
    ledger, run, policy = told
    files = export_bundle(ledger, run, tmp_path / "bundle", policy=policy, disclose=disclose)
    report, found = judged(tmp_path / "bundle", policy)
    assert report.verified, report.findings.failed
    assert found.text.startswith("3 protected values: ")
    assert words in found.text
    shown = [open_disclosure(each) for each in json.loads(files["disclosures.json"])]
    assert {name for name, _ in shown} == set(disclose)
    assert (("last_receipt", 482110077345) in shown) is ("last_receipt" in disclose)


def test_the_values_are_nowhere_in_log_artifacts_and_bundle(told, tmp_path):
    ledger, run, policy = told
    export_bundle(ledger, run, tmp_path / "bundle", policy=policy)
    places = [ledger / "log", ledger / "artifacts", ledger / "ledger.db", ledger / "ledger.db-wal", tmp_path / "bundle"]
    files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file()]
    secret = PERSONAL.encode()
    forms = [secret, base64.b64encode(secret)[:-4], base64.urlsafe_b64encode(secret)[:-4], b"482110077345"]
    assert len(files) > 40
    assert [path for path in files if any(form in path.read_bytes() for form in forms)] == []
    for path in (ledger / "disclosures").iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_a_false_disclosure_is_refused(told, tmp_path):
    ledger, run, policy = told
    export_bundle(ledger, run, tmp_path / "bundle", policy=policy, disclose=NAMES)
    files = read_bundle(tmp_path / "bundle")
    real = json.loads(files["disclosures.json"])
    salt, name, _ = json.loads(base64.urlsafe_b64decode(real[0] + "=" * (-len(real[0]) % 4)))
    lie = base64.urlsafe_b64encode(json.dumps([salt, name, "another"]).encode()).decode().rstrip("=")
    files["disclosures.json"] = json.dumps([lie, *real[1:]]).encode()
    files[MANIFEST] = manifest_of({path: each for path, each in files.items() if path != MANIFEST})
    report = BundleReport("false")
    judge_bundle(files, parse_trust_policy(policy, "p"), report)
    assert any("does not hold the digest of" in found.text for found in report.findings.failed)


def test_a_name_that_nothing_has_and_an_erased_value_are_said(told, tmp_path):
    ledger, run, policy = told
    with pytest.raises(UsageError, match="no protected value called .salary"):
        export_bundle(ledger, run, tmp_path / "none", policy=policy, disclose=["salary"])
    erased = tmp_path / "erased"
    shutil.copytree(ledger, erased)
    shutil.rmtree(erased / "disclosures")
    with pytest.raises(UsageError, match="erased"):
        export_bundle(erased, run, tmp_path / "none", policy=policy, disclose=["taxpayer"])
    export_bundle(erased, run, tmp_path / "bundle", policy=policy)
    assert judged(tmp_path / "bundle", policy)[0].verified, "what is erased breaks no proof"


def test_values_are_erased_on_record_for_one_run_alone_and_never_while_it_is_held(told, tmp_path):
    honest, run, policy = told
    ledger = tmp_path / "ledger"
    shutil.copytree(honest, ledger)
    Withheld(ledger).keep("another-run", ["kept"])
    how: dict[str, Any] = {
        "by": "ana",
        "because": "asked for by the person",
        "clock": SystemClock(),
        "open_lock": lambda bucket: None,
    }
    held = place_hold(ledger, run, **how)
    with pytest.raises(UsageError, match=f"run {run} is held by ana"):
        erase_values(ledger, run, **how)
    lift_hold(ledger, held.hold, **how)
    done = erase_values(ledger, run, **how)
    assert done.copies > 0
    left = b"".join(path.read_bytes() for path in (ledger / "disclosures").iterdir())
    assert left == b"kept\n"
    export_bundle(ledger, run, tmp_path / "bundle", policy=policy)
    assert judged(tmp_path / "bundle", policy)[0].verified, "what is erased breaks no proof"
    event = verified_events(ledger)[0][-1]
    assert (event.type, event.run, event.data["values"]) == ("redaction.applied", run, done.copies)
    with pytest.raises(UsageError, match="or they were erased"):
        erase_values(ledger, run, **how)


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path):
    withheld = Withheld(tmp_path)
    withheld.keep("r", ["one", "two"])
    with (tmp_path / "disclosures" / "r.ndjson").open("a") as stream:
        stream.write("thr")
    assert withheld.read("r") == ["one", "two"]
    assert withheld.read("other") == []


def test_equal_values_have_different_digests():
    shown, disclosures = conceal([{"a": 1}, {"a": 1}], ["a"])
    assert len({each["_sd"][0] for each in shown}) == 2
    assert [each["_sd"] for each in shown] == [[disclosure_digest(each)] for each in disclosures]
    assert conceal({"a": {"b": 1}}, []) == ({"a": {"b": 1}}, [])


@pytest.mark.parametrize(
    "text", ["", "%%%", base64.b64encode(b"[1]").decode(), base64.b64encode(b'["s",1,2]').decode()]
)
def test_a_malformed_disclosure_is_refused(text):
    with pytest.raises(BrokenLog):
        open_disclosure(text)


def test_what_verifiers_judge_by_cannot_be_concealed(tmp_path):
    with pytest.raises(EvidenceError, match="'digest' can not be concealed"):
        open_recorder(tmp_path, origin=ORIGIN, source="urn:t", clock=SystemClock(), conceal=["digest"])


def test_policy_yml_names_what_is_concealed(tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    estate = tmp_path / "estate"
    shutil.copytree(shipped_folder("inventories") / "lab", estate)
    path = estate / "group_vars" / "skerry" / "policy.yml"
    path.write_text(path.read_text().replace("policy:\n", "policy:\n  concealed: [taxpayer]\n", 1))
    workshop = Workshop(load_inventory(estate, home=tmp_path / "home"))
    with workshop.recorder() as recorder:
        recorder.record(RunEvent(type="check.result", run="r", at="t", data={"hosts": {"taxpayer": PERSONAL}}))
    workshop.close()
    assert [open_disclosure(each) for each in Withheld(tmp_path / "home/ledger").read("r")] == [("taxpayer", PERSONAL)]
    assert TOLD_MEDIA_TYPE == OBSERVED_MEDIA_TYPE
