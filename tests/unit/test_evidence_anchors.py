"""Anchors: what witnesses, timestamps and locked copies catch that the log alone cannot."""

import re
import shutil
import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.evidence.anchoring import (
    Anchored,
    EnrolledAuthority,
    EnrolledBucket,
    EnrolledWitness,
    Enrolment,
    anchor,
    post,
    read_enrolment,
    write_enrolment,
)
from orchestrator.evidence.export import collect, write_files
from orchestrator.evidence.note import NoteSigner, VerifierKey
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.reading.derive import derive
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey
from orchestrator.evidence.signing.timestamps import timestamp_query, timestamp_time
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from orchestrator.evidence.witness import Witness
from orchestrator.evidence.witness_server import make_server
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import EvidenceError, EvidenceRejected
from orchestrator.model.event import RunEvent
from tests.fakes.laboratory_authority import LaboratoryAuthority
from tests.fakes.object_lock import FakeObjectLock
from tests.fakes.staged_run import ORIGIN, StagedClock, StagedRun, make_keys, trust_policy

TSA_URL = "http://tsa.example/"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return LaboratoryAuthority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


def grow(ledger, count, *, word="e"):
    recorder = open_recorder(ledger, origin=ORIGIN, source="urn:test", clock=SystemClock(), ballast_bytes=4096)
    for number in range(count):
        recorder.record(RunEvent(type="check.result", run="r", at="2026-01-01T00:00:00Z", data={word: number}))
    recorder.close()


def logs_of(ledger):
    return [VerifierKey.parse((ledger / name).read_text()) for name in ("vkey", "vkey.ml-dsa-44")]


@pytest.fixture
def witness_server(tmp_path):
    """A witness on loopback that knows the log in tmp_path/ledger."""
    grow(tmp_path / "ledger", 3)
    signer = NoteSigner("witness.audit.example", SigningKey.generate(Algorithm.COSIGNATURE_ED25519))
    witness = Witness(tmp_path / "witness", signer, logs_of(tmp_path / "ledger"), SystemClock())
    server = make_server(witness, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    yield EnrolledWitness("audit", url, str(signer.verifier_key))
    server.shutdown()
    thread.join()
    server.server_close()


def shown(ledger, witness) -> Anchored:
    return anchor(ledger, Enrolment(witnesses=(witness,)), SystemClock())


def test_a_witness_cosigns_growth_and_the_same_head_again(tmp_path, witness_server):
    ledger = tmp_path / "ledger"
    for _ in range(3):
        done = shown(ledger, witness_server)
        assert not done.failed
        assert shown(ledger, witness_server).kept == done.kept
        grow(ledger, 300)
    assert len(list((ledger / "anchors").glob("*.note"))) == 3


def test_a_witness_refuses_a_rewritten_history(tmp_path, witness_server):
    ledger = tmp_path / "ledger"
    grow(ledger, 50)
    shown(ledger, witness_server)
    rewritten = tmp_path / "rewritten"
    rewritten.mkdir()
    shutil.copytree(ledger / "private", rewritten / "private")
    for name in ("vkey", "vkey.ml-dsa-44"):
        shutil.copy(ledger / name, rewritten / name)
    grow(rewritten, 80, word="other")
    assert "does not extend" in shown(rewritten, witness_server).failed[0]


def test_a_machine_restored_from_an_old_image_is_noticed(tmp_path, witness_server):
    ledger = tmp_path / "ledger"
    shutil.copytree(ledger, tmp_path / "image")
    grow(ledger, 40)
    shown(ledger, witness_server)
    assert "has seen" in shown(tmp_path / "image", witness_server).failed[0]
    grow(tmp_path / "image", 90, word="other")
    assert "does not extend" in shown(tmp_path / "image", witness_server).failed[0]


def test_a_witness_refuses_logs_it_does_not_know_and_malformed_requests(tmp_path, witness_server):
    grow(tmp_path / "stranger", 2)
    assert "answers 403" in shown(tmp_path / "stranger", witness_server).failed[0]
    for body, status in (
        (b"", 400),
        (b"old 0\n\nnonsense", 400),
        (b"\xff", 400),
        (b"old 0\n" + b"x\n" * 99 + b"\n", 400),
    ):
        assert post(witness_server.url + "/add-checkpoint", body, "text/plain")[0] == status
    assert post(witness_server.url + "/other", b"", "text/plain")[0] == 404
    assert post(witness_server.url + "/add-checkpoint", b"x" * 70_000, "text/plain")[0] == 413


def test_a_witness_that_does_not_answer_does_not_stop_the_others(tmp_path, witness_server):
    dead = EnrolledWitness("dead", "http://127.0.0.1:9", witness_server.vkey)
    done = anchor(tmp_path / "ledger", Enrolment(witnesses=(dead, witness_server)), SystemClock())
    assert len(done.kept) == 1
    assert done.failed[0].startswith("witness dead: ")


def test_locked_copies_show_two_roots_at_one_size(tmp_path):
    lock = FakeObjectLock()
    enrolment = Enrolment(buckets=(EnrolledBucket("worm", "eu-central-1"),))
    for word in ("one", "two"):
        ledger = tmp_path / word
        grow(ledger, 5, word=word)
        assert not anchor(ledger, enrolment, SystemClock(), locks={"worm": lock}).failed
    heads = [copy.key.rsplit("/", 1)[1].split("-")[0] for copy in lock.list(ORIGIN)]
    assert heads == ["000000000006"] * 2
    assert len({copy.key for copy in lock.list(ORIGIN)}) == 2


def test_an_enrolment_is_kept(tmp_path):
    enrolment = Enrolment((EnrolledWitness("a", "http://a", "k"),), (EnrolledAuthority("http://t", "pem"),))
    write_enrolment(tmp_path, enrolment)
    assert read_enrolment(tmp_path) == enrolment
    (tmp_path / "anchors" / "enrolled.json").write_text("{}")
    with pytest.raises(EvidenceError, match="not an enrolment"):
        read_enrolment(tmp_path)


@pytest.mark.platform("openssl")
def test_a_timestamp_is_for_its_content_and_its_authority_alone(authority, tmp_path):
    token = authority.answer(timestamp_query(b"a head"))
    assert abs(timestamp_time(token, b"a head", authority.roots) - datetime.now(UTC)) < timedelta(minutes=1)
    with pytest.raises(EvidenceRejected):
        timestamp_time(token, b"another head", authority.roots)
    with pytest.raises(EvidenceRejected):
        timestamp_time(token, b"a head", LaboratoryAuthority(tmp_path / "other").roots)
    for at in range(0, len(token), 7):
        changed = bytearray(token)
        changed[at] ^= 1
        try:
            time = timestamp_time(bytes(changed), b"a head", authority.roots)
        except EvidenceRejected:
            continue
        assert time == timestamp_time(token, b"a head", authority.roots), f"byte {at} changed the time"


def told_with_timestamps(folder, keys, authority, *, began=None, tweak=None):
    """The failures of a reviewed run, each head of which was timestamped when it was published."""
    ledger = folder / "ledger"
    enrolment = Enrolment(authorities=(EnrolledAuthority(TSA_URL, authority.roots),))

    def stamp():
        done = anchor(ledger, enrolment, SystemClock(), send=lambda url, body, kind: (200, authority.answer(body)))
        assert not done.failed

    staged = StagedRun(ledger, keys, on_publish=stamp, clock=StagedClock(began), tweak=tweak).go()
    policy = trust_policy(ledger, keys, tsaRoots=authority.roots, requireTsa=True, maxAnchorDelaySeconds=600)
    entries = collect(ledger, staged.run, policy=policy)["log/events.ndjson"].split(b"\n")[:-1]
    staged.review(run_digest(entries))
    core = collect(ledger, staged.run, policy=policy)
    report = BundleReport("told")
    judge_bundle(core, parse_trust_policy(policy, "policy"), report)
    return report, core, [f.text for f in report.findings.failed if f.group not in ("FILES", "READING COPIES")]


@pytest.mark.platform("openssl")
def test_a_timestamped_run_passes_and_its_anchors_are_exported(tmp_path, keys, authority):
    report, core, failed = told_with_timestamps(tmp_path, keys, authority)
    assert failed == []
    assert sum(path.endswith(".tsr") for path in core) >= 20
    assert any("every event's time lies between" in finding.text for finding in report.findings.found)


@pytest.mark.platform("openssl")
def test_openssl_accepts_a_timestamp_as_the_readme_tells(tmp_path, keys, authority):
    _, core, _ = told_with_timestamps(tmp_path, keys, authority)
    write_files(tmp_path / "bundle", {**core, **derive(core)})
    (told,) = re.findall(r"openssl ts -verify .*", (tmp_path / "bundle" / "README.txt").read_text())
    done = subprocess.run(told.split(), cwd=tmp_path / "bundle", capture_output=True, text=True, check=False)
    assert "Verification: OK" in done.stdout + done.stderr


@pytest.mark.platform("openssl")
def test_a_history_written_ten_days_late_fails(tmp_path, keys, authority):
    began = datetime.now(UTC) - timedelta(days=10)
    _, _, failed = told_with_timestamps(tmp_path, keys, authority, began=began)
    assert any("backdated" in text for text in failed)


@pytest.mark.platform("openssl")
def test_a_backdated_event_fails(tmp_path, keys, authority):
    def earlier(kind, where, data):
        return data | {"_at": "2026-01-01T00:00:00.000Z"} if kind == "front.switched" else data

    _, _, failed = told_with_timestamps(tmp_path, keys, authority, tweak=earlier)
    assert any("backdated" in text for text in failed)


@pytest.mark.platform("openssl")
def test_anchors_that_are_not_beginnings_of_the_head_fail(tmp_path, keys, authority):
    _, core, _ = told_with_timestamps(tmp_path, keys, authority)
    policy = parse_trust_policy(core["policy/trust-policy.json"], "policy")
    proofs = sorted(path for path in core if path.startswith("log/consistency/"))
    report = BundleReport("attacked")
    judge_bundle(core | {proofs[3]: core[proofs[4]]}, policy, report)
    assert any("history was rewritten" in finding.text for finding in report.findings.failed)
