"""Attacks on a bundle; the attacker recomputes the manifest each time.

SKERRY_EVERY_BIT=1 flips every bit of it, one at a time, which takes days; a path (log/checkpoint) does so below it.
"""

import base64
import hashlib
import json
import os
import random
import shutil
import time
from functools import partial

import pytest

from orchestrator.evidence import merkle
from orchestrator.evidence.bundle import MANIFEST, manifest_of, read_bundle
from orchestrator.evidence.show import verify_and_show
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle, verify_bundle
from orchestrator.foundation.errors import BrokenLog, EvidenceRejected

EVERY_BIT = os.environ.get("SKERRY_EVERY_BIT", "")
FLIPS = int(os.environ.get("SKERRY_FLIPS", "2"))


@pytest.fixture(scope="module")
def honest(honest_run):
    _, _, policy, bundle = honest_run
    return read_bundle(bundle), parse_trust_policy(policy, "policy")


@pytest.fixture
def files(honest):
    return dict(honest[0])


def failed(files, policy, *, fix=True):
    files = dict(files)
    if fix:
        files.pop(MANIFEST, None)
        files[MANIFEST] = manifest_of(files)
    report = BundleReport("attacked")
    judge_bundle(files, policy, report)
    assert report.verified == (not report.findings.failed)
    return [(finding.group, finding.text) for finding in report.findings.failed]


def test_the_honest_bundle_verifies(honest_run, honest):
    report = verify_bundle(honest_run[3], honest[1])
    assert report.verified, report.findings.failed
    assert report.findings.checks >= 20


@pytest.mark.timeout(0 if EVERY_BIT else 300)
def test_a_flipped_bit_in_any_file_is_caught(files, honest):
    chance = random.Random(3)
    for path, content in sorted(files.items()):
        if path in {MANIFEST, "policy/trust-policy.json"}:
            continue
        every = bool(EVERY_BIT) and (EVERY_BIT == "1" or path.startswith(EVERY_BIT))
        places = range(len(content)) if every else [chance.randrange(len(content)) for _ in range(FLIPS)]
        for at in places:
            for bit in range(8) if every else [chance.randrange(8)]:
                changed = bytearray(content)
                changed[at] ^= 1 << bit
                assert failed(files | {path: bytes(changed)}, honest[1]), f"{path} byte {at} bit {bit}"


def flipped(content, count, seed):
    chance = random.Random(seed)
    for _ in range(count):
        changed = bytearray(content)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        yield bytes(changed)


def test_a_flipped_bit_in_the_manifest_is_caught(files, honest):
    for changed in flipped(files[MANIFEST], 40, 4):
        found = failed(files | {MANIFEST: changed}, honest[1], fix=False)
        assert {group for group, _ in found} == {"FILES"}, changed


@pytest.mark.parametrize(
    "other_form",
    [
        lambda manifest: manifest.replace(b"\n", b"\x0b", 1),  # ends a line, too, for whoever is not strict
        lambda manifest: manifest.removesuffix(b"\n"),
        lambda manifest: b"".join(reversed(manifest.splitlines(keepends=True))),
    ],
    ids=["another end of a line", "no last end of a line", "another order"],
)
def test_a_manifest_has_one_form(files, honest, other_form):
    found = failed(files | {MANIFEST: other_form(files[MANIFEST])}, honest[1], fix=False)
    assert {group for group, _ in found} == {"FILES"}


def test_a_flipped_bit_in_the_bundles_own_policy_changes_nothing_that_is_accepted(files, honest):
    """It is for reference: the auditor's is used, so copies that quote it fail, or the difference is said."""
    for changed in flipped(files["policy/trust-policy.json"], 40, 5):
        attacked = files | {"policy/trust-policy.json": changed}
        attacked.pop(MANIFEST)
        report = BundleReport("attacked")
        judge_bundle(attacked | {MANIFEST: manifest_of(attacked)}, honest[1], report)
        assert {finding.group for finding in report.findings.failed} <= {"READING COPIES"}
        said = [finding.text for finding in report.findings.found if "yours was used" in finding.text]
        assert said or not report.verified


def test_the_manifest_catches_what_was_not_fixed(files, honest):
    files["report.html"] += b" "
    assert ("FILES", "report.html differs from manifest.sha256") in failed(files, honest[1], fix=False)


def events(files):
    return files["log/events.ndjson"].split(b"\n")[:-1], files["log/events.idx"].decode().split()


def with_events(files, entries, indices):
    joined = b"".join(entry + b"\n" for entry in entries)
    return files | {"log/events.ndjson": joined, "log/events.idx": ("\n".join(indices) + "\n").encode()}


def dropped(first, last):
    def attack(files):
        entries, indices = events(files)
        del entries[first:last], indices[first:last]
        return with_events(files, entries, indices)

    return attack


def swapped(files):
    entries, indices = events(files)
    entries[50], entries[51] = entries[51], entries[50]
    return with_events(files, entries, indices)


def swapped_with_places(files):
    entries, indices = events(files)
    entries[50], entries[51] = entries[51], entries[50]
    indices[50], indices[51] = indices[51], indices[50]
    return with_events(files, entries, indices)


def doubled(files):
    entries, indices = events(files)
    return with_events(files, [*entries, entries[-1]], [*indices, str(int(indices[-1]) + 1)])


def hushed_up(files):
    entries, indices = events(files)
    at = next(number for number, entry in enumerate(entries) if b'"status":"failed"' in entry)
    entries[at] = entries[at].replace(b'"status":"failed"', b'"status":"passed"')
    return with_events(files, entries, indices)


def hushed_up_with_tiles(files):
    files = hushed_up(files)
    entries, indices = events(files)
    for path in [path for path in files if path.startswith("log/tile/0/")]:
        tile = bytearray(files[path])
        for entry, index in zip(entries, map(int, indices), strict=True):
            tile[32 * index : 32 * index + 32] = merkle.leaf_hash(entry)
        files[path] = bytes(tile)
    return files


def without(part):
    return lambda files: {path: content for path, content in files.items() if not path.startswith(part)}


def envelope_lost(files):
    path = next(
        path for path, content in files.items() if path.startswith("artifacts/") and b'"payloadType"' in content
    )
    return without(path)(files)


def doctored(path, old, new):
    def attack(files):
        assert old in files[path]
        return files | {path: files[path].replace(old, new)}

    return attack


def other_runbook(files):
    path = next(path for path, content in files.items() if path.startswith("artifacts/") and content == b"# drain\n")
    return files | {path: b"# drain, quicker\n"}


def false_disclosure(files):
    lie = base64.urlsafe_b64encode(json.dumps(["AAAA", "citizens", ["XX0"]]).encode()).rstrip(b"=").decode()
    return files | {"disclosures.json": json.dumps([lie]).encode()}


ATTACKS = {
    "the last five events dropped": dropped(-5, None),
    "the review dropped": dropped(-1, None),
    "an event in the middle dropped": dropped(40, 41),
    "two events swapped": swapped,
    "two events swapped with their places": swapped_with_places,
    "an event told twice": doubled,
    "a failure hushed up": hushed_up,
    "a failure hushed up, hashes fixed": hushed_up_with_tiles,
    "an approval's envelope lost": envelope_lost,
    "all artifacts lost": without("artifacts/"),
    "a tile lost": without("log/tile/0/"),
    "the head lost": without("log/checkpoint"),
    "a playbook swapped": other_runbook,
    "a false disclosure": false_disclosure,
    "a doctored report": doctored("report.html", b"5.0 s", b"0.5 s"),
    "a doctored table": doctored("csv/steps.csv", b"failed", b"passed"),
    "a doctored assessment": doctored("oscal/assessment-results.json", b"not-satisfied", b"satisfied"),
    "a doctored README": doctored("README.txt", b"sha256sum -c", b"true"),
    "a doctored proof": lambda files: files | {path: b"x" for path in files if path.startswith("proofs/")},
    "a stray file": lambda files: files | {"statements/approval.pdf": b"%PDF"},
    "a stray file beside the events": lambda files: files | {"log/events.txt": b"all went well\n"},
    "a stray tile": lambda files: files | {"log/tile/0/x001/000": bytes(8192)},
    "a tile of another width": lambda files: files | {"log/tile/0/000.p/1": bytes(32)},
    "a stray anchor": lambda files: files | {"anchors/notes.json": b"{}"},
    "a stray artifact": lambda files: files | {f"artifacts/sha256/aa/{'0' * 62}": b"?"},
    "other allowed signers": doctored("policy/allowed_signers", b"ana@", b"eve@"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_the_bundle_is_caught(files, honest, name):
    found = failed(ATTACKS[name](files), honest[1])
    assert found
    assert not any(group == "FILES" for group, _ in found), "the manifest was recomputed: something better caught it"


def test_another_policy_inside_is_harmless_and_said(files, honest):
    report = BundleReport("attacked")
    mine = json.loads(honest[1].content)
    mine["people"] = [person for person in mine["people"] if person["id"] != "eve"]
    judge_bundle(files, parse_trust_policy(json.dumps(mine).encode(), "mine"), report)
    assert report.verified, report.findings.failed
    assert any("yours was used" in finding.text for finding in report.findings.found)


def of_another_rendering(files: dict[str, bytes]) -> dict[str, bytes]:
    """A doctored report, and a summary that claims a rendering with which this verifier cannot compare it."""
    told = json.loads(files["summary.json"]) | {"rendering": 99}
    attacked = files | {"summary.json": json.dumps(told).encode(), "report.html": b"all is well"}
    attacked.pop(MANIFEST)
    return attacked | {MANIFEST: manifest_of(attacked)}


def test_copies_said_to_be_of_another_rendering_do_not_pass(files, honest):
    report = BundleReport("attacked")
    judge_bundle(of_another_rendering(files), honest[1], report)
    assert not report.verified
    (said,) = report.findings.failed
    assert said.group == "READING COPIES"
    assert "--without-reading-copies" in said.text


def test_evidence_is_judged_without_reading_copies_only_where_the_auditor_asks(files, honest, tmp_path):
    bundle, policy, told = tmp_path / "bundle", tmp_path / "policy.json", []
    policy.write_bytes(honest[1].content)
    for path, content in of_another_rendering(files).items():
        (bundle / path).parent.mkdir(parents=True, exist_ok=True)
        (bundle / path).write_bytes(content)
    verify = partial(verify_and_show, bundle, policy, bundle=True, began=0.0, say=told.append)
    with pytest.raises(EvidenceRejected, match="does not verify"):
        verify(as_json=False)
    verify(as_json=False, judge_copies=False)
    assert "VERIFIED, BUT NOT ITS READING COPIES: " in told[-1]
    verify(as_json=True, judge_copies=False)
    assert json.loads(told[-1])["reading_copies_judged"] is False


def test_without_reading_copies_the_evidence_itself_is_judged_as_strictly(files, honest):
    name = next(path for path in files if path.startswith("log/events"))
    report = BundleReport("attacked", judge_copies=False)
    judge_bundle(files | {name: files[name][:-1]}, honest[1], report)
    assert not report.verified


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda raw: raw["people"][0].update(roles=["auditor"]), "does not hold the role"),
        (lambda raw: raw["people"][0]["keys"][0].update(notAfter="2021-01-01T00:00:00Z"), "no valid key"),
        (lambda raw: raw["rules"]["approval"].update(threshold=2), "1 valid approvals, where 2"),
        (lambda raw: raw["rules"].update(order={"threshold": 1}), "0 signed a start order"),
        (lambda raw: raw.update(requireTsa=True), "asks for timestamps"),
    ],
)
def test_the_auditors_own_policy_decides(files, honest, change, problem):
    raw = json.loads(honest[1].content)
    change(raw)
    found = failed(files, parse_trust_policy(json.dumps(raw).encode(), "mine"))
    assert any(problem in text for _, text in found), found


def test_malformed_folders_are_refused_quickly_and_nothing_is_written(honest_run, honest, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    began = time.monotonic()
    for number, (name, make) in enumerate(
        {
            "a link out": lambda folder: (folder / "artifacts" / "x").symlink_to(outside),
            "a linked folder": lambda folder: (folder / "more").symlink_to("/etc"),
            "a pipe": lambda folder: os.mkfifo(folder / "pipe"),
            "a name with a line break": lambda folder: (folder / "a\nb").write_text(""),
            "a name with a backslash": lambda folder: (folder / "..\\b").write_text(""),
            "a huge hole": lambda folder: os.truncate(folder / "report.html", 1 << 40),
        }.items()
    ):
        folder = tmp_path / str(number)
        shutil.copytree(honest_run[3], folder)
        make(folder)
        report = verify_bundle(folder, honest[1])
        assert not report.verified, name
    assert time.monotonic() - began < 20
    assert outside.read_text() == "mine"


DEEP = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
MALFORMED = {
    "a manifest that is no text": {MANIFEST: b"\xff\xfe"},
    "a manifest that climbs": {MANIFEST: b"0" * 64 + b"  ../../etc/passwd\n"},
    "a huge index": {"log/events.idx": b"9" * 5_000 + b"\n"},
    "a negative index": {"log/events.idx": b"-1\n"},
    "deep JSON in events": {"log/events.ndjson": DEEP + b"\n", "log/events.idx": b"1\n"},
    "deep JSON in disclosures": {"disclosures.json": DEEP},
    "a number beyond all bounds": {
        "log/events.ndjson": b'{"seq":' + b"9" * 100_000 + b"}\n",
        "log/events.idx": b"1\n",
    },
    "an empty log": {"log/events.ndjson": b"", "log/events.idx": b""},
    "a head of absurd size": {"log/checkpoint": b"evidence.example/prod\n9999999999999999999\nAAAA\n\n"},
    "an anchor that is noise": {"anchors/000000000001.note": bytes(range(256))},
    "a policy that is noise": {"policy/trust-policy.json": b"[]"},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_content_ends_in_a_failed_check_and_not_in_a_traceback(files, honest, name):
    began = time.monotonic()
    assert failed(files | MALFORMED[name], honest[1], fix=MANIFEST not in MALFORMED[name])
    assert time.monotonic() - began < 10


def test_reading_stops_at_a_link_that_appears_between_listing_and_reading(tmp_path):
    (tmp_path / "file").symlink_to("/etc/passwd")
    with pytest.raises(BrokenLog, match="no links"):
        read_bundle(tmp_path)


def test_an_artifact_is_known_by_its_content(files):
    for path, content in files.items():
        if path.startswith("artifacts/"):
            assert hashlib.sha256(content).hexdigest() == path.removeprefix("artifacts/sha256/").replace("/", "")
