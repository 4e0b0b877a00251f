"""Malformed bundles whose hashes, signatures and manifest are all in order: the parser itself must refuse them.

The writer holds the log's keys. Each is a folder on disk, refused within seconds; what lies beside it stays as it is.
"""

import io
import json
import os
import shutil
import time
import zipfile

import pytest

from orchestrator.evidence.bundle import MANIFEST, is_core, manifest_of, read_bundle
from orchestrator.evidence.export import collect, write_files
from orchestrator.evidence.reading.derive import derive
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import verify_bundle
from orchestrator.foundation.limits import BUNDLE_BYTES_MAX, BUNDLE_FILE_BYTES_MAX
from tests.fakes.dishonest_log import resign, rows_of
from tests.fakes.staged_run import StagedRun, trust_policy

SECONDS_MAX = 20
AT = 30  # an entry in the middle of the run
DEPTH = 20_000
DIGITS = 50_000  # an entry has at most 64 KiB


@pytest.fixture
def place(tmp_path):
    """A folder for bundles, with something beside it that nobody may touch."""
    (tmp_path / "beside.txt").write_text("mine")
    (tmp_path / "bundles").mkdir()
    return tmp_path


def state_of(folder, *, but):
    """Names, sizes and times of everything below a folder, links not followed."""
    found = {}
    for path in folder.rglob("*"):
        if but in path.parents or path == but:
            continue
        status = path.lstat()
        found[path] = (status.st_mode, status.st_size, status.st_mtime_ns if path.is_file() else 0)
    return found


def judged(place, bundle, policy):
    """What fails; nothing beside the bundle changes, nor in it."""
    before, began = state_of(place, but=place / "nothing"), time.monotonic()
    report = verify_bundle(bundle, parse_trust_policy(policy, "auditor's"))
    assert time.monotonic() - began < SECONDS_MAX
    assert state_of(place, but=place / "nothing") == before
    assert not report.verified
    return [finding.text for finding in report.findings.failed]


def sealed(place, honest_run, change):
    """The honest bundle with one entry changed, everything above it hashed and signed again, the manifest too."""
    ledger, run, policy, bundle = honest_run
    files = read_bundle(bundle)
    rows = rows_of(ledger)
    at = [index for index, row in enumerate(rows) if run.encode() in row][AT]
    changed = change(rows[at])
    assert changed != rows[at]
    entries = files["log/events.ndjson"].split(b"\n")
    entries[entries.index(rows[at])] = changed
    files["log/events.ndjson"] = b"\n".join(entries)
    rows[at] = changed
    again = place / "ledger"
    shutil.copytree(ledger, again)
    resign(again, rows)
    files = {path: content for path, content in files.items() if not path.startswith(("log/tile/", "log/checkpoint"))}
    for path in (again / "log").rglob("*"):
        name = f"log/{path.relative_to(again / 'log').as_posix()}"
        if path.is_file() and not name.startswith("log/tile/entries/"):
            files[name] = path.read_bytes()
    files.pop(MANIFEST)
    files[MANIFEST] = manifest_of(files)
    write_files(place / "bundles" / "sealed", files)
    return place / "bundles" / "sealed", policy


def deep(entry):
    return entry.replace(b'{"data":{', b'{"data":{"a":' + b"[" * DEPTH + b"]" * DEPTH + b",", 1)


SEALED = {
    "a key that stands twice": (lambda entry: entry.replace(b'{"data":{', b'{"data":{"a":1,"a":2,', 1), "stands twice"),
    "a key that stands twice in the envelope": (
        lambda entry: entry[:-1] + b',"run":"other"}',
        "stands twice",
    ),
    "a value nested deeply": (deep, "nested too deeply"),
    "a number of fifty thousand digits": (
        lambda entry: entry.replace(b'{"data":{', b'{"data":{"a":' + b"9" * DIGITS + b",", 1),
        "digits",
    ),
    "a number beyond all numbers": (
        lambda entry: entry.replace(b'{"data":{', b'{"data":{"a":1e999,', 1),
        "is no number",
    ),
    "half a character": (lambda entry: entry.replace(b'{"data":{', b'{"data":{"a":"\\ud800",', 1), "surrogates"),
}


@pytest.mark.parametrize("name", SEALED)
def test_what_is_sealed_properly_is_refused_by_the_parser(place, honest_run, name):
    change, words = SEALED[name]
    failed = judged(place, *sealed(place, honest_run, change))
    assert any(words in text for text in failed), failed
    assert not any(MANIFEST in text or "signature" in text for text in failed), failed


def test_sealing_again_alone_fails_the_reading_copies_and_no_parser(place, honest_run):
    """The attacks above are refused for their own sake."""
    bundle, policy = sealed(place, honest_run, lambda entry: entry.replace(b'{"data":{', b'{"data":{"a":1,', 1))
    report = verify_bundle(bundle, parse_trust_policy(policy, "auditor's"))
    assert {finding.group for finding in report.findings.failed} & {"FILES", "LOG"} == set()


LOOSE = {
    "disclosures with a key twice": ("disclosures.json", b'{"a":[],"a":[]}'),
    "disclosures nested deeply": ("disclosures.json", b"[" * DEPTH + b"]" * DEPTH),
    "a summary nested deeply": ("summary.json", b"[" * DEPTH + b"]" * DEPTH),
    "an index of fifty thousand digits": ("log/events.idx", b"9" * DIGITS + b"\n"),
    "a head of fifty thousand digits": (
        "log/checkpoint",
        b"evidence.example/prod\n" + b"9" * DIGITS + b"\nAAAA\n\n",
    ),
    "a policy with a key twice": ("policy/trust-policy.json", b'{"version":1,"version":1}'),
    "claims of locked copies nested deeply": ("anchors/worm.json", b"[" * DEPTH + b"]" * DEPTH),
}


@pytest.mark.parametrize("name", LOOSE)
def test_a_file_that_no_hash_binds_is_refused_by_its_parser(place, honest_run, name):
    path, content = LOOSE[name]
    files = read_bundle(honest_run[3]) | {path: content}
    files.pop(MANIFEST)
    write_files(place / "bundles" / "loose", {**files, MANIFEST: manifest_of(files)})
    failed = judged(place, place / "bundles" / "loose", honest_run[2])
    assert not any(MANIFEST in text for text in failed), failed


def test_a_link_out_of_the_bundle_is_not_followed(place, honest_run):
    bundle = place / "bundles" / "linked"
    shutil.copytree(honest_run[3], bundle)
    (bundle / "report.html").unlink()
    (bundle / "report.html").symlink_to(place / "beside.txt")
    assert any("'report.html' is not a plain file" in text for text in judged(place, bundle, honest_run[2]))


def test_files_larger_than_they_can_rightly_be_are_not_read(place, honest_run):
    bundle = place / "bundles" / "large"
    shutil.copytree(honest_run[3], bundle)
    os.truncate(bundle / "report.html", BUNDLE_FILE_BYTES_MAX + 1)  # a hole: it takes no room here
    (failed,) = judged(place, bundle, honest_run[2])
    assert failed == "the bundle is larger than a verifier takes in"


def test_an_archive_is_not_unpacked(place, honest_run):
    """A few kilobytes that would unpack to more than a verifier takes in; inside of a bundle, or in place of one."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("../../escaped.txt", "w", force_zip64=True) as member:
            for _ in range(64):
                member.write(bytes(1 << 20))
        archive.writestr(MANIFEST, b"")
    bomb = stream.getvalue()
    assert len(bomb) < (64 << 20) // 500 < BUNDLE_BYTES_MAX
    bundle = place / "bundles" / "archived"
    shutil.copytree(honest_run[3], bundle)
    files = read_bundle(bundle) | {"artifacts/sha256/aa/bomb.zip": bomb}
    files.pop(MANIFEST)
    shutil.rmtree(bundle)
    write_files(bundle, {**files, MANIFEST: manifest_of(files)})
    assert any("no log entry names it" in text for text in judged(place, bundle, honest_run[2]))
    (place / "bundles" / "bundle.zip").write_bytes(bomb)
    assert judged(place, place / "bundles" / "bundle.zip", honest_run[2])


def test_a_manifest_that_climbs_out_reads_nothing_there(place, honest_run):
    bundle = place / "bundles" / "climbing"
    shutil.copytree(honest_run[3], bundle)
    with (bundle / MANIFEST).open("a") as manifest:
        manifest.write(f"{'0' * 64}  ../../beside.txt\n")
    failed = judged(place, bundle, honest_run[2])
    assert failed == ["../../beside.txt is missing"]


def test_names_out_of_the_log_do_not_lead_out_of_the_folder_of_copies(place, people_keys):
    """Names of runbook files and of persons become names of files when copies are made anew from a bundle."""

    def climbing(kind, subject, data):
        if kind == "runbook.registered":
            kept = next(iter(data["files"].values()))
            names = ("../../escaped.yml", "/tmp/skerry-escaped.yml", "a/../../../escaped.yml", "", ".", "a//b", "a\nb")
            return data | {"files": data["files"] | dict.fromkeys(names, kept)}
        return data | {"by": "../../../escaped"} if kind == "approval.granted" else data

    staged = StagedRun(place / "ledger", people_keys, tweak=climbing).go()
    core = collect(staged.ledger, staged.run, policy=trust_policy(staged.ledger, people_keys))
    files = {path: content for path, content in core.items() if is_core(path)}
    out = place / "bundles" / "copies"
    before = state_of(place, but=out)
    write_files(out, derive(files))
    assert state_of(place, but=out) == before
    assert not os.path.lexists("/tmp/skerry-escaped.yml")
    written = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    assert any(name.startswith("runbook/playbooks/") for name in written)
    assert [name for name in written if "escaped" in name and not name.startswith("statements/approval.")] == []
    assert json.loads((out / "summary.json").read_text())["run"] == staged.run
