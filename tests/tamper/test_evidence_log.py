"""Attacks on a log by somebody who may write its files, some also with the log's own signing key.

Each is caught by exactly what docs/evidence_format.md says: the log alone, or only copies held by others.
"""

import json
import random
import secrets
import shutil

import pytest

from orchestrator.evidence import merkle
from orchestrator.evidence.note import Checkpoint, VerifierKey, split_note
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.signing.log_keys import Algorithm
from orchestrator.evidence.verify_log import own_keys, read_held, verify_log
from orchestrator.foundation.clock import SystemClock
from orchestrator.model.event import RunEvent
from tests.fakes.dishonest_log import resign, rows_of

ORIGIN = "evidence.example/prod"
CUTS = [100, 300, 520, 700]


def build(folder, *, change=None, upto=CUTS[-1]):
    """A log with a checkpoint at each cut. `change` gives another data for one event number."""
    recorder = open_recorder(folder, origin=ORIGIN, source="urn:test", clock=SystemClock(), ballast_bytes=4096)
    for number in range(upto):
        kind = "step.finished" if number % 2 else "step.started"
        data = (change or {}).get(number, {"n": number, "rc": 0})
        event = RunEvent(
            type=kind, run=f"run-{number // 200}", system="s", step="a", attempt=number // 2, at="t", data=data
        )
        recorder.record(event)
        if number + 1 in CUTS:
            recorder.publish()
    recorder.close()
    return folder


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    return build(tmp_path_factory.mktemp("honest") / "ledger")


@pytest.fixture
def copy(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "ledger")
    return tmp_path / "ledger"


def failures(folder, keys=None):
    report = verify_log(folder, vkeys=keys or own_keys(folder))
    assert report.verified == (not report.findings.failed)
    return [finding.text for finding in report.findings.failed]


def test_an_honest_log_verifies(honest):
    report = verify_log(honest, vkeys=own_keys(honest))
    assert report.verified
    assert report.size == CUTS[-1] + 1
    assert [run.events for run in report.runs] == [200, 200, 200, 100]


def test_any_flipped_bit_is_caught(copy):
    log = copy / "log"
    keys = own_keys(copy)
    chance = random.Random(9)
    files = sorted(path for path in log.rglob("*") if path.is_file())
    for path in files:
        content = path.read_bytes()
        for _ in range(4):
            changed = bytearray(content)
            at = chance.randrange(len(changed))
            changed[at] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            assert failures(copy, keys), f"{path.relative_to(log)} byte {at}"
        path.write_bytes(content)
    assert not failures(copy, keys)


def bundle(log, number):
    return log / merkle.tile_path("entries", number)


def test_a_deleted_entry_bundle_is_caught(copy):
    bundle(copy / "log", 1).unlink()
    assert any("not whole" in failure for failure in failures(copy))


@pytest.mark.parametrize("path", ["tile/0/001", "tile/1/000.p/2", "checkpoint"])
def test_a_deleted_tile_or_checkpoint_is_caught(copy, path):
    (copy / "log" / path).unlink()
    assert failures(copy)


def swap(log):
    entries = merkle.unpack_bundle(bundle(log, 1).read_bytes())
    entries[3], entries[5] = entries[5], entries[3]
    bundle(log, 1).write_bytes(merkle.pack_bundle(entries))
    return entries


def test_swapped_entries_are_caught(copy):
    swap(copy / "log")
    assert any("does not hash to its place" in failure for failure in failures(copy))


def test_swapped_entries_with_fixed_hashes_are_caught(copy):
    entries = swap(copy / "log")
    tile = b"".join(merkle.leaf_hash(entry) for entry in entries)
    (copy / "log" / merkle.tile_path(0, 1)).write_bytes(tile)
    assert any("does not follow from the tiles below" in failure for failure in failures(copy))


def test_a_stray_file_is_caught(copy):
    (copy / "log" / "tile" / "note.txt").write_text("nothing to see")
    assert any("not a part of this log" in failure for failure in failures(copy))


def test_a_log_signed_by_another_key_is_caught(copy, tmp_path):
    other = build(tmp_path / "other")
    assert failures(other, own_keys(copy)) == ["checkpoint: no signature by a known key"]


def test_a_checkpoint_stripped_of_one_signature_is_caught(copy):
    path = copy / "log" / "checkpoint"
    note = path.read_text()
    path.write_text("".join(note.splitlines(keepends=True)[:-1]))
    assert any("signature is missing" in failure for failure in failures(copy))


def test_an_older_checkpoint_put_in_place_of_the_newest_is_caught(copy):
    shutil.copy(copy / "log" / "checkpoints" / f"{CUTS[1] + 1:012d}", copy / "log" / "checkpoint")
    assert any("tail was dropped" in failure for failure in failures(copy))


def test_a_rewritten_history_with_the_log_key_contradicts_earlier_heads(copy, tmp_path):
    """The key's holder rewrites an entry and signs anew; heads that were signed before, wherever kept, tell."""
    rewritten = tmp_path / "rewritten"
    rewritten.mkdir()
    shutil.copytree(copy / "private", rewritten / "private")
    for name in ("vkey", "vkey.ml-dsa-44"):
        shutil.copy(copy / name, rewritten / name)
    build(rewritten, change={170: {"n": 170, "rc": 1}})
    assert not failures(rewritten), "a log alone can not show that its key's holder rewrote it"
    held_elsewhere = copy / "log" / "checkpoints" / f"{CUTS[1] + 1:012d}"
    shutil.copy(held_elsewhere, rewritten / "log" / "checkpoints" / held_elsewhere.name)
    assert any("do not produce the root" in failure for failure in failures(rewritten))


def test_anchors_kept_beside_the_log_are_judged_with_it(copy):
    anchors = copy / "anchors"
    anchors.mkdir()
    held = anchors / f"{CUTS[1] + 1:012d}.note"
    shutil.copy(copy / "log" / "checkpoints" / held.stem, held)
    assert not failures(copy)
    rows = rows_of(copy)
    rows[170] = rows[170].replace(b'"rc":0', b'"rc":1')
    resign(copy, rows)
    assert any("do not produce the root" in failure for failure in failures(copy))


def locked_listing(folder):
    """What an auditor lists of the bucket in the other account."""
    keys = []
    for path in sorted((folder / "log" / "checkpoints").iterdir()):
        head = Checkpoint.parse(split_note(path.read_text())[0])
        keys.append(f'"Key": "{ORIGIN}/{head.size:012d}-{head.root.hex()}", "VersionId": "{secrets.token_hex(16)}"')
    return "\n".join(keys)


def compared(folder, listing):
    held = read_held(listing)
    assert len(held) >= len(CUTS)
    report = verify_log(folder, vkeys=own_keys(folder), held=held)
    return [finding.text for finding in report.findings.failed]


def test_locked_copies_agree_with_an_honest_log(copy):
    assert not compared(copy, locked_listing(copy))


def test_locked_copies_catch_a_rewritten_history(copy):
    listing = locked_listing(copy)
    rows = rows_of(copy)
    rows[170] = rows[170].replace(b'"rc":0', b'"rc":1')
    resign(copy, rows)
    assert not failures(copy), "the log alone can not"
    assert any("do not produce the root" in failure for failure in compared(copy, listing))


def test_locked_copies_catch_a_dropped_tail(copy):
    listing = locked_listing(copy)
    resign(copy, rows_of(copy)[:350])
    assert not failures(copy), "the log alone can not"
    assert any("tail was dropped" in failure for failure in compared(copy, listing))


def test_locked_copies_show_a_split_view(copy):
    other = f"{ORIGIN}/{CUTS[1] + 1:012d}-{'ab' * 32}"
    assert any("do not produce the root" in failure for failure in compared(copy, f"{locked_listing(copy)}\n{other}"))


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda rows: rows.pop(50), "goes on with number"),
        (lambda rows: rows.insert(50, rows[49]), "goes on with number"),
        (lambda rows: rows.__setitem__(50, b'{"hello":"world"}'), "not an event"),
        (lambda rows: rows.__setitem__(50, rows[50].replace(b'"seq":49', b'"seq":48')), "not an event"),
        (lambda rows: rows.__setitem__(1, rows[1].replace(b"step.started", b"step.finished")), "without its start"),
    ],
    ids=["left out", "twice", "foreign", "wrong number", "end without start"],
)
def test_a_run_told_with_gaps_is_caught_though_the_tree_is_signed(copy, edit, problem):
    rows = rows_of(copy)
    edit(rows)
    resign(copy, rows)
    assert any(problem in failure for failure in failures(copy))


def test_a_signed_log_of_the_same_rows_verifies_so_the_attacks_above_were_caught_for_their_own_sake(copy):
    resign(copy, rows_of(copy))
    assert not failures(copy)


def test_the_verifier_in_several_processes_says_the_same(copy):
    one = verify_log(copy, vkeys=own_keys(copy), processes=1)
    two = verify_log(copy, vkeys=own_keys(copy), processes=2)
    assert one.findings == two.findings
    assert one.runs == two.runs


def test_keys_of_another_log_do_not_open_this_one(copy):
    key = VerifierKey("evidence.example/prod", Algorithm.ED25519, bytes(32))
    assert failures(copy, [key])


def test_json_of_entries_is_strict(copy):
    rows = rows_of(copy)
    entry = json.loads(rows[20])
    assert entry["id"] == f"{entry['run']}/{entry['seq']}"
    rows[1] = rows[1].replace(b'{"data":{', b'{"data":{"n":1,', 1)
    resign(copy, rows)
    assert any("a key stands twice" in failure for failure in failures(copy))
