"""The table of docs/evidence_format.md, section 7: each attack is caught by what its row says, and by nothing else.

The attacker holds the log's own keys and may write every file of the ledger; what others keep is out of reach: locked
copies, a witness's memory, timestamps in the auditor's hands, and the words that persons signed.
"""

import shutil
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.evidence.anchoring import (
    EnrolledAuthority,
    EnrolledBucket,
    EnrolledWitness,
    Enrolment,
    anchor,
    write_enrolment,
)
from orchestrator.evidence.elsewhere import compare_with_places
from orchestrator.evidence.export import collect
from orchestrator.evidence.note import NoteSigner
from orchestrator.evidence.population import drill_gaps, population
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.show import bundle_as_text
from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from orchestrator.evidence.verify_log import own_keys, read_held, verify_log
from orchestrator.evidence.witness import Witness
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import BrokenLog
from tests.fakes.dishonest_log import resign, rows_of
from tests.fakes.laboratory_authority import LaboratoryAuthority
from tests.fakes.object_lock import FakeObjectLock
from tests.fakes.staged_run import ORIGIN, StagedClock, StagedRun, trust_policy

pytestmark = pytest.mark.platform("openssl")

BUCKET = EnrolledBucket("worm", "eu-central-1")
SIGNER = NoteSigner("witness.example/audit", SigningKey.generate(Algorithm.COSIGNATURE_ED25519))
WITNESS = EnrolledWitness("audit", "http://audit.example", str(SIGNER.verifier_key))
TSA_URL = "http://tsa.example/"
LATE = timedelta(days=10)

LOG, LOCKED, TIMESTAMPS, PLACE, PEOPLE = "log", "locked copies", "timestamps", "witness", "people"


class Estate:
    """A ledger of two runs. Its heads, one after each run, were locked, witnessed and timestamped."""

    def __init__(self, folder, keys):
        self.ledger, self.keys = folder / "ledger", keys
        self.lock, self.seen = FakeObjectLock(), folder / "witness"
        self.authority = LaboratoryAuthority(folder / "tsa")
        self.runs = []
        for _ in range(2):
            self.runs.append(StagedRun(self.ledger, keys).go())
            assert not self.show(self.ledger).failed
        self.policy = trust_policy(self.ledger, keys, tsaRoots=self.authority.roots, rules={})

    def send(self, url, body, kind):
        if url == TSA_URL:
            return 200, self.authority.answer(body)
        answer = Witness(self.seen, SIGNER, own_keys(self.ledger), SystemClock()).add_checkpoint(body)
        return answer.status, answer.body.encode()

    def show(self, ledger, **only):
        places = {"witnesses": (WITNESS,), "authorities": self.authorities, "buckets": (BUCKET,)}
        enrolment = Enrolment(**(only or places))
        return anchor(ledger, enrolment, SystemClock(), locks={"worm": self.lock}, send=self.send)

    @property
    def authorities(self):
        return (EnrolledAuthority(TSA_URL, self.authority.roots),)

    @property
    def listing(self):
        """What an auditor pulls of the bucket."""
        return "\n".join(copy.key for copy in self.lock.list(ORIGIN))

    @property
    def tokens(self):
        """Heads with their timestamps, as an auditor was given them when they were made."""
        kept = [path for path in (self.ledger / "anchors").iterdir() if path.suffix in (".note", ".tsr")]
        return {f"anchors/{path.name}": path.read_bytes() for path in kept}

    def copy(self, place):
        """The attacker's ledger: what lies there of anchors is not shown, the keys are the true ones."""
        shutil.copytree(self.ledger, place)
        shutil.rmtree(place / "anchors")
        return place


@pytest.fixture(scope="module")
def estate(tmp_path_factory, people_keys):
    return Estate(tmp_path_factory.mktemp("estate"), people_keys)


def caught_by(estate, ledger, run=None):
    """Which means catch what lies in `ledger`, each asked alone. Nothing that is asked here is changed by it."""
    found = set()
    alone = verify_log(ledger, vkeys=own_keys(estate.ledger))
    groups = {each.group for each in alone.findings.failed}
    if PEOPLE.upper() in groups:
        found.add(PEOPLE)
    if groups - {PEOPLE.upper()}:
        found.add(LOG)
    held = verify_log(ledger, vkeys=own_keys(estate.ledger), held=read_held(estate.listing))
    if "ANCHORS" in {each.group for each in held.findings.failed} - groups:
        found.add(LOCKED)
    memory = estate.seen.with_name("memory")
    shutil.copytree(estate.seen, memory, dirs_exist_ok=True)
    try:
        if estate.show(ledger, witnesses=(WITNESS,)).failed:
            found.add(PLACE)
    finally:
        shutil.rmtree(estate.seen)
        memory.rename(estate.seen)
    core = collect(ledger, run or estate.runs[0].run, policy=estate.policy)
    report = BundleReport("attacked")
    judge_bundle({**core, **estate.tokens}, parse_trust_policy(estate.policy, "auditor's"), report)
    if "ANCHORS" in {each.group for each in report.findings.failed}:
        found.add(TIMESTAMPS)
    return found


def test_nothing_catches_an_honest_log(estate):
    """Proofs of what the auditor holds are in an honest bundle: they are made where the anchors lie."""
    assert caught_by(estate, estate.ledger) == set()


def first_run_changed(rows):
    return [row.replace(b'"message":"done"', b'"message":"fine"') if at < 40 else row for at, row in enumerate(rows)]


def cut_to_first_run(estate, ledger):
    first = estate.runs[0].run.encode()
    resign(ledger, [row for at, row in enumerate(rows_of(ledger)) if at == 0 or first in row])


def rewritten(estate, ledger):
    rows = rows_of(ledger)
    changed = first_run_changed(rows)
    assert changed != rows
    resign(ledger, changed)


def cut_and_told_on(estate, ledger):
    """The first run is dropped, and the second put in its place: its signers saw more than is left before it."""
    rows = rows_of(ledger)
    second = [row for row in rows if estate.runs[1].run.encode() in row]
    resign(ledger, [rows[0], *second])


ATTACKS = {
    "the tail cut back to an older head": (cut_to_first_run, {LOCKED, TIMESTAMPS, PLACE}),
    "history rewritten with the log's own keys": (rewritten, {LOCKED, TIMESTAMPS, PLACE, PEOPLE}),
    "the tail cut where a later signer saw it": (cut_and_told_on, {LOCKED, TIMESTAMPS, PLACE, PEOPLE}),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_the_log_alone_cannot_show_is_shown_by_others(estate, tmp_path, name):
    attack, means = ATTACKS[name]
    ledger = estate.copy(tmp_path / "attacked")
    attack(estate, ledger)
    run = estate.runs[1].run if attack is cut_and_told_on else None
    assert caught_by(estate, ledger, run) == means


# -- two histories of one log


@pytest.fixture
def futures(estate, tmp_path):
    """Two ledgers with the same keys and beginning; each goes on with a run of its own."""
    ledgers = []
    for name in ("one", "other"):
        ledger = estate.copy(tmp_path / name)
        ledgers.append((ledger, StagedRun(ledger, estate.keys).go().run))
    return ledgers


def test_a_split_view_is_shown_by_locked_copies_and_refused_by_the_witness_and_by_nothing_else(estate, futures):
    for ledger, _ in futures:
        assert verify_log(ledger, vkeys=own_keys(estate.ledger)).verified, "the log alone can not"
    assert len({(ledger / "log" / "checkpoint").read_text().splitlines()[2] for ledger, _ in futures}) == 2

    bucket, witness = FakeObjectLock(), estate.seen.with_name("split")
    shutil.copytree(estate.seen, witness)

    def send(url, body, kind):
        answer = Witness(witness, SIGNER, own_keys(estate.ledger), SystemClock()).add_checkpoint(body)
        return answer.status, answer.body.encode()

    cosigned = []
    for ledger, _ in futures:
        done = anchor(
            ledger,
            Enrolment(witnesses=(WITNESS,), buckets=(BUCKET,)),
            SystemClock(),
            locks={"worm": bucket},
            send=send,
        )
        cosigned.append(not [each for each in done.failed if each.startswith("witness")])
    assert cosigned == [True, False], "a witness signs one of them only"

    held = read_held("\n".join(copy.key for copy in bucket.list(ORIGIN)))
    assert len(held) == 2, "both lie in the bucket, for everybody to see"
    for ledger, _ in futures:
        compared = verify_log(ledger, vkeys=own_keys(estate.ledger), held=held)
        assert {each.group for each in compared.findings.failed} == {"ANCHORS"}

    for ledger, run in futures:
        assert not estate.show(ledger, authorities=estate.authorities).failed
        core = collect(ledger, run, policy=estate.policy)
        report = BundleReport("split")
        judge_bundle(core, parse_trust_policy(estate.policy, "auditor's"), report)
        anchors = [each for each in report.findings.found if each.group == "ANCHORS"]
        assert any("; 1 timestamped" in each.text for each in anchors), "each future has its good timestamp"
        assert not [each for each in anchors if each.status == "FAIL"]


@pytest.mark.parametrize(
    ("only", "words"),
    [({"witnesses": (WITNESS,)}, "witness audit has seen"), ({"buckets": (BUCKET,)}, "bucket worm holds a head over")],
    ids=["witness", "locked copies"],
)
def test_a_machine_restored_from_an_old_image_is_stopped_before_it_writes(estate, tmp_path, only, words):
    machine, restored = tmp_path / "machine", tmp_path / "restored"
    StagedRun(machine, estate.keys).go()
    shutil.copytree(machine, restored)
    lock, memory = FakeObjectLock(), tmp_path / "witness"

    def send(url, body, kind):
        answer = Witness(memory, SIGNER, own_keys(machine), SystemClock()).add_checkpoint(body)
        return answer.status, answer.body.encode()

    StagedRun(machine, estate.keys).go()
    assert not anchor(machine, Enrolment(**only), SystemClock(), locks={"worm": lock}, send=send).failed
    assert verify_log(restored, vkeys=own_keys(machine)).verified, "the log alone can not"
    write_enrolment(restored, Enrolment(**only))
    before = {path: path.read_bytes() for path in (restored / "log").rglob("*") if path.is_file()}
    with pytest.raises(BrokenLog, match=words):
        open_recorder(
            restored,
            origin=ORIGIN,
            source="urn:test",
            clock=SystemClock(),
            ballast_bytes=4096,
            compare=lambda ledger: compare_with_places(ledger, open_lock=lambda bucket: lock, send=send),
        )
    assert {path: path.read_bytes() for path in (restored / "log").rglob("*") if path.is_file()} == before


def test_rows_edited_after_they_were_published_are_never_signed(tmp_path, people_keys):
    ledger = StagedRun(tmp_path / "ledger", people_keys).go().ledger
    signed = (ledger / "log" / "checkpoint").read_bytes()
    connection = sqlite3.connect(ledger / "ledger.db")
    connection.executescript("DROP TRIGGER entries_stay; UPDATE entries SET data = x'7B7D' WHERE idx = 40")
    connection.close()
    with pytest.raises(BrokenLog, match="refusing"):
        StagedRun(ledger, people_keys).go()
    assert (ledger / "log" / "checkpoint").read_bytes() == signed
    report = verify_log(ledger, vkeys=own_keys(ledger))
    assert any(each.text.startswith("99 entries hash to the tiles") for each in report.findings.found)
    failed = [each.text for each in report.findings.failed]
    assert failed, "what was not signed still lies there, and shows that rows were edited"
    assert all("contradicts the tile that the log ends with" in text for text in failed), failed


# -- time


def told(folder, keys, authority, *, began, stamped):
    """Failed groups of a run whose events claim that it `began` then; its heads are timestamped now, or by nobody."""
    ledger = folder / "ledger"
    enrolment = Enrolment(authorities=(EnrolledAuthority(TSA_URL, authority.roots),))

    def stamp():
        anchor(ledger, enrolment, SystemClock(), send=lambda url, body, kind: (200, authority.answer(body)))

    staged = StagedRun(ledger, keys, clock=StagedClock(began), on_publish=stamp if stamped else None).go()
    policy = trust_policy(ledger, keys, tsaRoots=authority.roots, maxAnchorDelaySeconds=600, rules={})
    report = BundleReport("told")
    judge_bundle(collect(ledger, staged.run, policy=policy), parse_trust_policy(policy, "p"), report)
    return {each.group for each in report.findings.failed} - {"FILES", "READING COPIES"}


def test_a_history_told_ten_days_late_is_shown_by_timestamps_alone(estate, tmp_path, people_keys):
    began = datetime.now(UTC) - LATE
    assert told(tmp_path / "a", people_keys, estate.authority, began=began, stamped=False) == set()
    assert told(tmp_path / "b", people_keys, estate.authority, began=began, stamped=True) == {"ANCHORS"}
    assert told(tmp_path / "c", people_keys, estate.authority, began=None, stamped=True) == set()


# -- what is not caught, and is said


def test_a_tail_after_the_last_anchor_can_be_dropped_and_the_verdict_says_how_long_it_is(estate, tmp_path):
    anchored = max(int(path.stem) for path in (estate.ledger / "anchors").glob("*.note"))
    ledger = tmp_path / "longer"
    shutil.copytree(estate.ledger, ledger)
    StagedRun(ledger, estate.keys).go()
    report = verify_log(ledger, vkeys=own_keys(ledger))
    (said,) = [each.text for each in report.findings.found if "after the last anchor" in each.text]
    assert said == f"the last {report.size - anchored} entries came after the last anchor"
    resign(ledger, rows_of(ledger)[:anchored])
    assert caught_by(estate, ledger) == set()


@pytest.mark.parametrize("name", ["a tool lies about what it saw", "an event is never logged", "approvers collude"])
def test_a_lie_that_everybody_signs_is_not_caught_and_the_verdict_says_so(tmp_path, people_keys, name):
    def tweak(kind, subject, data):
        if name == "an event is never logged":
            return None if kind == "transfer.finished" else data
        return data | {"observed": {"n": 10**6}} if kind == "step.finished" else data

    approvers = ("ana", "eve") if name == "approvers collude" else ("ana",)
    staged = StagedRun(tmp_path / "ledger", people_keys, tweak=tweak, approvers=approvers).go()
    policy = parse_trust_policy(trust_policy(staged.ledger, people_keys, rules={}), "p")
    report = BundleReport("lie")
    judge_bundle(collect(staged.ledger, staged.run, policy=policy.content), policy, report)
    report.findings.found = [each for each in report.findings.found if each.group not in ("FILES", "READING COPIES")]
    assert report.verified, report.findings.failed
    said = " ".join(bundle_as_text(report, policy, 0.1).split())
    assert "Not shown by this bundle: events never logged; whether what was logged is true" in said


def test_a_run_that_was_left_out_shows_as_a_gap_in_the_schedule_of_drills_and_to_later_signers(tmp_path, people_keys):
    def as_drill(kind, subject, data):
        return data | {"kind": "drill"} if kind == "run.created" else data

    now = datetime.now(UTC)
    runs = []
    for days in (80, 50, 20):
        clock = StagedClock(now - timedelta(days=days))
        runs.append(StagedRun(tmp_path / "ledger", people_keys, tweak=as_drill, succeeds=True, clock=clock).go())
    ledger, left_out = runs[0].ledger, runs[1].run.encode()
    every, rows = timedelta(days=40), rows_of(ledger)
    assert drill_gaps(population(enumerate(rows)).runs, "filing", every, now) == []
    kept = [row for row in rows if left_out not in row]
    resign(ledger, kept)
    report = verify_log(ledger, vkeys=own_keys(ledger))
    assert {each.group for each in report.findings.failed} == {"PEOPLE"}, "whoever signed later had seen more"
    (gap,) = drill_gaps(population(enumerate(kept)).runs, "filing", every, now)
    assert "60 days without a passed drill" in gap


def test_a_number_used_twice_with_one_of_them_hidden_is_shown_by_the_whole_log_alone(estate, tmp_path):
    ledger = estate.copy(tmp_path / "ledger")
    rows, run = rows_of(ledger), estate.runs[1].run
    at = next(index for index, row in enumerate(rows) if run.encode() in row and b'"type":"skerry.transfer' in row)
    resign(ledger, [*rows[: at + 1], rows[at].replace(b"18000000", b"99000000"), *rows[at + 1 :]])
    failed = verify_log(ledger, vkeys=own_keys(ledger)).findings.failed
    assert any("goes on with number" in each.text for each in failed), failed

    core = collect(ledger, run, policy=estate.policy)
    entries, indices = core["log/events.ndjson"].split(b"\n")[:-1], core["log/events.idx"].split()
    place = next(number for number, entry in enumerate(entries) if b"99000000" in entry)
    del entries[place], indices[place]
    core["log/events.ndjson"] = b"".join(entry + b"\n" for entry in entries)
    core["log/events.idx"] = b"".join(index + b"\n" for index in indices)
    report = BundleReport("one branch hidden")
    judge_bundle(core, parse_trust_policy(estate.policy, "p"), report)
    assert {each.group for each in report.findings.failed} <= {"FILES", "READING COPIES"}
