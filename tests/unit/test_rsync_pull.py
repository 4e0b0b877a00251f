"""The program that pulls a tree, on the replica's host: what it makes of a target that is not what it seems."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.contracts.programs import program_text
from orchestrator.movers.file_tree import PROGRAM
from orchestrator.movers.host_programs.rsync_pull import choose_words, distrusted_mark


def program(**request):
    line = [sys.executable, "-I", "-S", "-", json.dumps(request)]
    said = subprocess.run(line, input=program_text(PROGRAM), capture_output=True, timeout=60, check=True).stdout
    return json.loads(said.splitlines()[-1].removeprefix(b"result "))


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ({"resume": False, "distrusted": False}, ["rsync", "--whole-file", "-a"]),
        ({"resume": True, "distrusted": False}, ["rsync", "--no-whole-file", "-a"]),
        ({"resume": False, "distrusted": True}, ["rsync", "--checksum", "--whole-file", "-a"]),
    ],
)
def test_words_follow_what_is_there(way, words):
    assert choose_words(["rsync", "--whole-file", "-a"], **way) == words


@pytest.mark.platform("rsync")
def test_a_target_that_lies_is_read_whole_once_it_is_distrusted_and_trusted_again_when_it_is_healed(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    for folder, content in ((source, b"honest"), (target, b"forged")):
        folder.mkdir()
        (folder / "a").write_bytes(content)
        os.utime(folder / "a", ns=(10**18, 10**18))
    words = ["rsync", "-a", "--stats", f"{source}/", f"{target}/"]
    request = {"words": words, "target": str(target), "partial": str(tmp_path / "partial")}
    believed = program(**request, resume=False, distrusted=False)
    assert (believed["code"], (target / "a").read_bytes()) == (0, b"forged")
    program(**request, distrust=True)
    mark = Path(distrusted_mark(str(target)))
    assert mark.exists()
    failed = program(
        **{**request, "words": [*words[:2], "--no-such-option", *words[2:]]}, resume=False, distrusted=True
    )
    looked = program(**{**request, "words": [*words, "--dry-run"]}, resume=False, distrusted=True)
    assert failed["code"] != 0
    assert looked["statistics"]["files_moved"] == 1  # it is told that there is something to bring
    assert mark.exists()
    healed = program(**request, resume=False, distrusted=True)
    assert (healed["code"], (target / "a").read_bytes()) == (0, b"honest")
    assert not mark.exists()
