"""Reading copies: the same bytes every time, and other people's programs accept what README.txt tells to do."""

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope as ReferenceEnvelope

from orchestrator.evidence.bundle import is_core, read_bundle
from orchestrator.evidence.export import collect, export_bundle
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.reading.controls import NIST_BY_VERB, NIST_OF_EVIDENCE, TO_BE_CONFIRMED, determinations
from orchestrator.evidence.reading.derive import derive
from orchestrator.evidence.reading.material import open_material
from orchestrator.evidence.reading.nist_catalogue import TITLES
from orchestrator.evidence.reading.tables import table
from orchestrator.evidence.reading.words import duration, size
from orchestrator.foundation.errors import UsageError
from orchestrator.model.action import Action
from tests.fakes.staged_run import StagedRun, make_keys, trust_policy

NIST_IDS = Path(__file__).parents[1] / "golden" / "nist" / "sp800_53_rev5_ids.txt"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reading")
    keys = make_keys(tmp_path_factory.mktemp("keys"))
    staged = StagedRun(folder / "ledger", keys).go()
    policy = trust_policy(folder / "ledger", keys)
    entries = collect(folder / "ledger", staged.run, policy=policy)["log/events.ndjson"].split(b"\n")[:-1]
    staged.review(run_digest(entries))
    export_bundle(folder / "ledger", staged.run, folder / "bundle", policy=policy)
    return folder / "bundle"


@pytest.fixture(scope="module")
def files(bundle):
    return read_bundle(bundle)


@pytest.fixture(scope="module")
def core(files):
    return {path: content for path, content in files.items() if is_core(path)}


def test_deriving_again_gives_the_same_bytes_in_any_zone_locale_and_hash_seed(bundle):
    program = (
        "import hashlib, sys; from pathlib import Path\n"
        "from orchestrator.evidence.bundle import is_core, manifest_of, read_bundle\n"
        "from orchestrator.evidence.reading.derive import derive\n"
        "files = read_bundle(Path(sys.argv[1]))\n"
        "copies = derive({path: content for path, content in files.items() if is_core(path)})\n"
        "print(hashlib.sha256(manifest_of(copies)).hexdigest())\n"
    )
    found = set()
    for zone, locale, seed in (
        ("UTC", "C", "1"),
        ("Asia/Kathmandu", "C.UTF-8", "2"),
        ("America/St_Johns", "POSIX", "3"),
    ):
        environment = {**os.environ, "TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", program, str(bundle)], env=environment, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_sha256sum_accepts_the_manifest(bundle):
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "manifest.sha256"], cwd=bundle, check=True)


def test_ssh_keygen_accepts_every_signature_as_the_readme_tells(bundle):
    text = (bundle / "README.txt").read_text()
    (told,) = re.findall(r"ssh-keygen -Y verify .*?\.pae", text, re.DOTALL)
    words = " ".join(told.replace("\\\n", " ").split())
    done = subprocess.run(["sh", "-c", words], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    assert 'Good "evidence@skerry" signature for ana@tax.example' in done.stdout
    signatures = list((bundle / "statements").glob("*.sshsig"))
    assert {path.name.split(".")[0] for path in signatures} == {"approval", "review"}


def test_the_reference_implementation_of_dsse_reads_our_envelopes_and_signs_over_the_same_bytes(bundle):
    for path in (bundle / "statements").glob("*.dsse.json"):
        envelope = ReferenceEnvelope.from_dict(json.loads(path.read_text()))
        assert envelope.pae() == path.with_name(path.name.replace(".dsse.json", ".pae")).read_bytes()
        assert json.loads(envelope.payload)["_type"] == "https://in-toto.io/Statement/v1"


def test_tables_hold_every_event_and_attempt_and_no_formula(files, core):
    events = list(csv.DictReader(io.StringIO(files["csv/events.csv"].decode("utf-8-sig"))))
    assert len(events) == core["log/events.ndjson"].count(b"\n")
    entry = core["log/events.ndjson"].split(b"\n")[0]
    assert events[0]["leaf_sha256"] == hashlib.sha256(b"\x00" + entry).hexdigest()
    steps = list(csv.DictReader(io.StringIO(files["csv/steps.csv"].decode("utf-8-sig"))))
    assert [row["status"] for row in steps].count("failed") == 2
    assert sum(row["mode"] == "undo" for row in steps) == 4
    assert b"'=cmd" in table(["a"], [["=cmd|' /C calc'!A0"]])


def test_the_report_tells_of_both_systems_and_runs_nothing(files):
    page = files["report.html"].decode()
    for words in ("committed", "rolled back", "5.0 s", "Build the index before the switch", "Corrective action"):
        assert words in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=", page)


def test_the_report_shows_the_machines_that_were_started_with_their_screens(tmp_path):
    keys = make_keys(tmp_path)
    png = b"\x89PNG\r\n\x1a\n of a screen"

    def machines(staged):
        console = staged.recorder.keep(b"Linux\nfiling login:\n", "text/plain")
        picture = staged.recorder.keep(png, "image/png")
        shown = {"dataset": "disk", "firmware": "bios", "accelerator": "tcg", "up": True, "seconds": 21.4, "wrong": []}
        shown |= {"last_lines": ["filing login:"], "console": console, "picture": picture}
        staged.tell("machine.seen", shown, "filing/drill/1")
        failed = {"up": False, "wrong": ["it has ended: <b>"], "last_lines": [], "picture": ""}
        staged.tell("machine.seen", shown | failed, "filing/drill/1")

    staged = StagedRun(tmp_path / "ledger", keys, between=machines).go()
    policy = trust_policy(tmp_path / "ledger", keys)
    export_bundle(tmp_path / "ledger", staged.run, tmp_path / "bundle", policy=policy)
    page = (tmp_path / "bundle/report.html").read_text()
    assert "Machines started from images" in page
    assert re.findall(r'src="([^"]*)"', page) == ["data:image/png;base64," + base64.b64encode(png).decode()]
    kept = {path.read_bytes() for path in (tmp_path / "bundle/artifacts").rglob("*") if path.is_file()}
    assert {png, b"Linux\nfiling login:\n"} <= kept
    assert "it has ended: &lt;b&gt;" in page


def test_a_drawing_carries_its_own_style_for_what_prints_it_looks_at_no_other(files):
    drawings = re.findall(r"<svg.*?</svg>", files["report.html"].decode(), re.DOTALL)
    assert len(drawings) == 2
    for drawing in drawings:
        (style,) = re.findall(r"<style>(.*?)</style>", drawing, re.DOTALL)
        assert "var(" not in style
        for name in set(re.findall(r'class="([a-z]+)', drawing)) - {"timeline"}:
            assert f".timeline .{name}{{" in style


def test_the_after_action_report_has_its_parts(files):
    page = files["report.html"].decode()
    section = page[page.index("After-action report") : page.index("Controls this run gives evidence for")]
    parts = ("Overview", "Analysis by system", "Strengths", "Review and improvement plan")
    assert [part for part in parts if f"<h3>{part}</h3>" not in section] == []
    assert "recovery time 2 min 00 s, recovery point 5.0 s" in section
    for name in ("Observation", "Root cause", "Corrective action", "Owner", "Due", "State"):
        assert f">{name}</th>" in section


def test_a_review_weeks_later_does_not_make_the_run_longer(tmp_path, tmp_path_factory):
    staged = StagedRun(tmp_path / "ledger", make_keys(tmp_path_factory.mktemp("keys"))).go()
    policy = trust_policy(staged.ledger, staged.keys)
    core = collect(staged.ledger, staged.run, policy=policy)
    before = json.loads(derive(core)["summary.json"])
    staged.clock.sleep(30 * 24 * 3600)
    staged.review(run_digest(core["log/events.ndjson"].split(b"\n")[:-1]))
    after = derive(collect(staged.ledger, staged.run, policy=policy))
    assert json.loads(after["summary.json"])["ended"] == before["ended"]
    assert before["ended"][:19].replace("T", " ").encode() in after["report.html"]


def test_what_stands_in_the_log_can_not_become_markup(tmp_path, tmp_path_factory):
    def nasty(kind, where, data):
        return data | {"message": "<img src=x onerror=alert(1)>"} if kind == "step.finished" else data

    keys = make_keys(tmp_path_factory.mktemp("keys"))
    staged = StagedRun(tmp_path / "ledger", keys, tweak=nasty).go()
    copies = derive(collect(tmp_path / "ledger", staged.run, policy=trust_policy(tmp_path / "ledger", keys)))
    assert b"<img" not in copies["report.html"]
    assert b"&lt;img src=x" in copies["report.html"]


def test_the_assessment_refers_only_to_what_it_defines(files):
    document = json.loads(files["oscal/assessment-results.json"])
    defined, referred = set(), set()

    def walk(value, key=""):
        if isinstance(value, dict):
            for name, member in value.items():
                if name == "uuid":
                    defined.add(member)
                elif name.endswith("-uuid"):
                    referred.add(member)
                elif name.endswith("-uuids"):
                    referred.update(member)
                walk(member, name)
        elif isinstance(value, list):
            for member in value:
                walk(member, key)

    walk(document)
    assert referred <= defined
    results = document["assessment-results"]
    assert results["import-ap"]["href"][1:] in defined
    assert [len(results["results"][0][name]) for name in ("risks", "findings")] == [1, 6]
    for resource in results["back-matter"]["resources"]:
        (link,) = resource["rlinks"]
        assert link["hashes"][0]["value"] == hashlib.sha256(files[link["href"]]).hexdigest()


def test_nist_ids_are_in_the_catalogue(core):
    known = set(NIST_IDS.read_text().split())
    used = {control for controls in NIST_BY_VERB.values() for control in controls} | set(NIST_OF_EVIDENCE)
    for found in determinations(open_material(core).story, approved=True, reviewed=True):
        used |= {found.control, found.objective}
    assert used <= known


def test_every_verb_of_a_runbook_is_mapped_to_controls():
    union = Action.__origin__  # type: ignore[attr-defined]
    verbs = {kind.model_fields["verb"].default for kind in union.__args__}
    assert verbs == set(NIST_BY_VERB) == set(TO_BE_CONFIRMED)
    silent = {verb for verb in verbs if not (NIST_BY_VERB[verb] and TO_BE_CONFIRMED[verb])}
    assert silent == {"wait"}, "letting time pass shows nothing"


def test_every_control_has_its_title_and_no_other_has_one():
    used = {control for controls in NIST_BY_VERB.values() for control in controls} | {*NIST_OF_EVIDENCE, "cp-4"}
    assert used == set(TITLES)


def test_an_export_does_not_mix_with_what_is_there(bundle, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        export_bundle(bundle.parent / "ledger", "any", tmp_path / "out", policy=b"")
    with pytest.raises(UsageError, match="no run"):
        export_bundle(bundle.parent / "ledger", "0193ffff", tmp_path / "new", policy=b"")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, "not shown"), (0.84, "0.8 s"), (61, "1 min 01 s"), (7384, "2 h 03 min")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("count", "words"), [(12, "12 B"), (12_300, "12.3 kB"), (4_100_000_000, "4.1 GB")])
def test_sizes_in_words(count, words):
    assert size(count) == words


@pytest.mark.platform("chromium")
def test_a_browser_shows_and_prints_the_report(bundle, tmp_path):
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    pdf = tmp_path / "report.pdf"
    subprocess.run(
        [*words, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", (bundle / "report.html").as_uri()],
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert pdf.read_bytes().startswith(b"%PDF")
    assert pdf.stat().st_size > 20_000
