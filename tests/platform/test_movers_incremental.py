"""Digests that do not read again what cannot have changed, and the scrub that believes nothing."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.contracts.programs import program_text
from orchestrator.movers.tree_digests import PROGRAM


def digest(tree: Path, **request):
    words = [sys.executable, "-I", "-S", "-", json.dumps({"path": str(tree), **request})]
    done = subprocess.run(words, input=program_text(PROGRAM), capture_output=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1].removeprefix(b"result "))
    assert result["moved"] == []
    assert result["errors"] == []
    return result


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "tree"
    (top / "below").mkdir(parents=True)
    for name in ("a", "below/b", "below/c"):
        (top / name).write_bytes(os.urandom(200_000))
    (top / "small").write_bytes(b"small")
    with (top / "big").open("wb") as stream:
        stream.write(os.urandom(1 << 20) * 70)
    time.sleep(2.1)  # entries younger than that are never kept
    return top


def known(tree):
    return str(tree.parent / "known")


def test_what_did_not_change_is_not_read_again(tree):
    whole = digest(tree)
    first = digest(tree, known=known(tree))
    second = digest(tree, known=known(tree))
    assert first["digest"] == second["digest"] == whole["digest"]
    assert first["bytes"] == whole["bytes"]
    assert second["bytes"] == len(b"small")


@pytest.mark.parametrize("name", ["a", "big"])
def test_a_change_is_seen_though_size_and_mtime_are_as_they_were(tree, name):
    digest(tree, known=known(tree))
    before = (tree / name).stat()
    with (tree / name).open("r+b") as stream:
        stream.seek(100_000)
        stream.write(b"!")
    os.utime(tree / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = digest(tree, known=known(tree))
    assert again["digest"] == digest(tree)["digest"]
    assert again["bytes"] == before.st_size + len(b"small")


def test_a_file_put_in_the_place_of_another_is_read(tree):
    digest(tree, known=known(tree))
    before = (tree / "a").stat()
    (tree / "other").write_bytes(os.urandom(200_000))
    os.utime(tree / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tree / "other").replace(tree / "a")
    assert digest(tree, known=known(tree))["digest"] == digest(tree)["digest"]


def test_what_is_young_is_not_kept(tree):
    (tree / "a").write_bytes(os.urandom(200_000))
    digest(tree, known=known(tree))
    assert digest(tree, known=known(tree))["bytes"] == 200_000 + len(b"small")


def test_a_damaged_memory_is_forgotten(tree):
    first = digest(tree, known=known(tree))
    path = Path(known(tree))
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    assert digest(tree, known=known(tree))["bytes"] == first["bytes"]


def test_a_scrub_names_what_changed_below_the_file_system(tree):
    digest(tree, known=known(tree))
    # A digest that was kept wrong is what a disk that lost a bit looks like: same inode, size, times, other content.
    path = Path(known(tree))
    body = bytearray(path.read_bytes()[:-32])
    inode = (tree / "below/b").stat().st_ino.to_bytes(8, "little")
    entry = body.index(inode)
    body[entry + 8 + 24 + 5] ^= 1
    path.write_bytes(bytes(body) + hashlib.sha256(body).digest())
    assert digest(tree, known=known(tree))["digest"] != digest(tree)["digest"]
    scrubbed = digest(tree, known=known(tree), scrub=True)
    assert [name for name, _ in scrubbed["decayed"]] == ["below/b"]
    assert scrubbed["digest"] == digest(tree)["digest"]
    assert digest(tree, known=known(tree))["digest"] == digest(tree)["digest"]


@pytest.mark.platform("root")
def test_what_cannot_be_read_is_an_error_and_not_left_out(tree):
    (tree / "below").chmod(0o755)
    (tree / "below/b").chmod(0)
    for folder in (tree, *tree.parents):
        if folder != Path("/") and folder.stat().st_uid == 0 and str(folder) != "/tmp":
            folder.chmod(folder.stat().st_mode | 0o055)
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-I", "-S", "-"]
    done = subprocess.run(
        [*words, json.dumps({"path": str(tree)})], input=program_text(PROGRAM), capture_output=True, check=True
    )
    result = json.loads(done.stdout.splitlines()[-1].removeprefix(b"result "))
    assert result["errors"] == [["below/b", "Permission denied"]]
