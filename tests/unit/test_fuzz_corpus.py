"""Every kept input of the fuzz targets, once more: it parses, or is refused by the error that is documented."""

import json
import subprocess
import sys

import pytest

from tests.fuzz.entry import Findings, guarded, kind_of
from tests.fuzz.keep import chosen
from tests.fuzz.replay import CORPUS, kept_inputs
from tests.fuzz.target import Broken, must
from tests.fuzz.targets import TARGETS

FILES_MAX = 300
BYTES_MAX = 1024 * 1024
REPLAY_SECONDS_MAX = 120


@pytest.fixture(scope="module")
def replayed():
    """In a process of its own, which is ended when an input hangs, and has no more memory than any should need."""
    words = [sys.executable, "-m", "tests.fuzz.replay"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=REPLAY_SECONDS_MAX)
    assert done.stdout, f"ended with {done.returncode} at:\n{done.stderr[-3000:]}"
    return {result["target"]: result for result in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", [target.name for target in TARGETS])
def test_kept_inputs_parse_or_are_refused(replayed, name):
    assert replayed[name]["inputs"] > 0
    assert replayed[name]["findings"] == []


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_the_search_starts_from_is_no_finding(target):
    for seed in target.seeds()[:5]:
        target.check(seed)


def test_the_corpus_stays_small():
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert len(files) <= FILES_MAX
    assert sum(path.stat().st_size for path in files) < BYTES_MAX
    assert {path.parent.name for path in files} == {target.name for target in TARGETS}
    assert sum(len(kept_inputs(target.name)) for target in TARGETS) == len(files)


def test_inputs_are_kept_for_what_no_other_reaches():
    a, b, c = ("file", 1, ""), ("file", 2, ""), ("file", 2, "KeyError")
    reached = {b"all of it": frozenset({a, b, c}), b"all": frozenset({a, b, c}), b"some": frozenset({b, c})}
    assert chosen(set(), dict(reached)) == [b"all"]
    assert chosen({a, b, c}, dict(reached)) == []
    assert chosen(set(), {b"one": frozenset({a, b}), b"other": frozenset({c})}) == [b"one", b"other"]


def test_a_finding_is_written_down_once_with_the_input_that_showed_it(tmp_path, capsys):
    def check(content):
        must(content != b"bad", "a law of the parser")
        if content == b"worse":
            raise KeyError(content)

    one_input = guarded(check, Findings(tmp_path, "sample"), slow_seconds=60)
    for content in (b"good", b"bad", b"bad", b"worse"):
        one_input(content)
    assert sorted(path.read_bytes() for path in tmp_path.glob("*.input")) == [b"bad", b"worse"]
    assert capsys.readouterr().out.count("FINDING") == 2


def test_findings_are_told_apart_by_their_kind_and_place():
    def kind(claim):
        try:
            must(False, claim)
        except Broken as error:
            return kind_of(error)

    assert kind("one law") != kind("another law")
    assert kind("one law") == kind("one law")
