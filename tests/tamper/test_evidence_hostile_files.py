"""A folder that is no log, but pretends: files without end, heads without tiles, numbers beyond any memory."""

import os
import time

import pytest

from orchestrator.evidence import merkle
from orchestrator.evidence.log_judgement import Stretch, look_at_bundle
from orchestrator.evidence.note import Checkpoint, LogPolicy, NoteSigner, SignedCheckpoint, sign_checkpoint
from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.foundation.canonical_json import canonical_json, read_json
from orchestrator.foundation.errors import BrokenLog

SIGNER = NoteSigner("evidence.example/prod", SigningKey.generate(Algorithm.ED25519))
GIBIBYTE = 1024**3


@pytest.fixture
def pretended(tmp_path):
    """Writes files of a log, the head over `size` entries signed with the key beside it, and verifies it."""

    def verify(size, root=bytes(32)):
        head = Checkpoint("evidence.example/prod", size, root)
        (tmp_path / "log").mkdir(exist_ok=True)
        if not os.path.lexists(tmp_path / "log" / "checkpoint"):
            (tmp_path / "log" / "checkpoint").write_text(sign_checkpoint(head, [SIGNER], at_seconds=0))
        (tmp_path / "vkey").write_text(f"{SIGNER.verifier_key}\n")
        began = time.monotonic()
        report = verify_log(tmp_path, vkeys=own_keys(tmp_path), processes=1)
        assert time.monotonic() - began < 30
        return [finding.text for finding in report.findings.failed]

    return verify


@pytest.mark.parametrize("size", [10**6, 10**12, 10**18, 10**19 - 1])
def test_a_head_over_more_entries_than_there_are_files_ends_at_the_first_missing_one(pretended, size):
    assert any("the log is not whole: tile/" in problem for problem in pretended(size))


def test_a_pipe_for_a_head_is_not_waited_for(pretended, tmp_path):
    (tmp_path / "log").mkdir()
    os.mkfifo(tmp_path / "log" / "checkpoint")
    assert any("is no plain file" in problem for problem in pretended(1))


def test_a_device_for_a_head_is_not_read(pretended, tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "checkpoint").symlink_to("/dev/zero")
    assert any("is no plain file" in problem for problem in pretended(1))


def test_a_tile_larger_than_any_tile_is_not_read(pretended, tmp_path):
    entry = b"x"
    for level, content in ((0, merkle.leaf_hash(entry)), ("entries", merkle.pack_bundle([entry]))):
        path = tmp_path / "log" / merkle.tile_path(level, 0, 1)
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        os.truncate(path, GIBIBYTE)  # a hole: it takes no room here, and would in memory
    assert any("at most" in problem for problem in pretended(1, merkle.leaf_hash(entry)))


def test_an_event_of_a_number_that_is_no_number_is_a_problem_of_the_log():
    digits = b"9" * 5000
    entry = (
        b',"id":"r/%b","run":"r","seq":%b,"source":"s","specversion":"1.0","time":"t","type":"skerry.run.created.v1"}'
    )
    bundle = merkle.pack_bundle([entry % (digits, digits)])
    stretch = Stretch()
    look_at_bundle(stretch, 0, bundle, 1, merkle.leaf_hash(entry), keep_tile=False)
    assert any("is not an event of the form" in problem for problem in stretch.problems)


def policy_text(*lines):
    return "\n".join([f"log {SIGNER.verifier_key}", *lines]) + "\n"


def witness(name):
    key = SigningKey.from_seed(Algorithm.COSIGNATURE_ED25519, name.encode().ljust(32))
    return NoteSigner(name, key).verifier_key


def test_groups_within_groups_are_weighed_once_each():
    lines = [f"witness w {witness('w')}", "group a0 any w", "group b0 any w"]
    for number in range(1, 3000):
        before = f"a{number - 1} b{number - 1}"
        lines += [f"group a{number} all {before}", f"group b{number} any {before}"]
    policy = LogPolicy.parse(policy_text(*lines, "quorum a2999"))
    head = Checkpoint("evidence.example/prod", 0, merkle.EMPTY_ROOT)
    log_alone = SignedCheckpoint(head, "", ((SIGNER.verifier_key, None),))
    both = SignedCheckpoint(head, "", (*log_alone.signatures, (witness("w"), 0)))
    assert not policy.is_satisfied_by(log_alone)
    assert policy.is_satisfied_by(both)


@pytest.mark.parametrize(
    "lines",
    [
        [f"witness w {witness('w')}", "group g 2 w w", "quorum g"],
        [f"witness w {witness('w')}", f"witness v {witness('w')}", "group g all w v", "quorum g"],
    ],
    ids=["a member twice", "a key under two names"],
)
def test_one_witness_does_not_count_twice(lines):
    with pytest.raises(BrokenLog, match="count twice"):
        LogPolicy.parse(policy_text(*lines))


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '{"\\uDC00": 1}',
        '{"a": "\ud800"}',
        '{"a": ' + "9" * 5000 + "}",
        "[" * 100_000,
        b"\xff",
        b'"\xed\xa0\x80"',
        "",
    ],
    ids=repr,
)
def test_json_that_could_not_be_written_again_is_refused(text):
    with pytest.raises(ValueError):
        read_json(text)


def test_json_is_read_as_it_was_written():
    value = {"text": "é \u2028 \U0001f600", "list": [1, -2.5, True, None, 10**30], "": {}}
    assert read_json(canonical_json(value)) == value
    assert read_json('"\\ud83d\\ude00"') == "\U0001f600"
    assert canonical_json(read_json(canonical_json(value))) == canonical_json(value)
