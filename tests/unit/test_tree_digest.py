"""The digest of a tree as this machine makes it: what is the same has one, though it lies differently on the disk."""

import os
from pathlib import Path

import pytest

from orchestrator.hosts.local import LocalTransport
from orchestrator.model.host import Host
from orchestrator.movers.tree_digests import tree_differences, tree_digest

HERE = LocalTransport(Host(name="here", site="dr", address="127.0.0.1", become=False))
SIZE = 8 << 20
ISLAND = SIZE // 2


def a_tree(folder: Path, *, sparse: bool, island: bytes = b"island") -> str:
    folder.mkdir()
    with (folder / "image").open("wb") as stream:
        stream.write(b"" if sparse else bytes(SIZE))
        stream.truncate(SIZE)
        stream.seek(ISLAND)
        stream.write(island)
    for path in (folder / "image", folder):
        os.utime(path, ns=(1, 1_700_000_000_000_000_000))
    return str(folder)


def test_zeros_where_there_was_a_hole_are_no_difference(tmp_path):
    one, other = a_tree(tmp_path / "one", sparse=True), a_tree(tmp_path / "other", sparse=False)
    # Asked of the sparse file alone: how many blocks the other has is known only once they are on the disk.
    with open(f"{one}/image", "rb") as stream:
        if os.lseek(stream.fileno(), 0, os.SEEK_HOLE) == SIZE:
            pytest.skip("this file system keeps no holes")
    assert tree_digest(HERE, one, "scans").digest == tree_digest(HERE, other, "scans").digest
    assert tree_differences(HERE, one, HERE, other, limit=5) == []


def test_one_bit_within_a_sparse_file_is(tmp_path):
    one = a_tree(tmp_path / "one", sparse=True)
    other = a_tree(tmp_path / "other", sparse=True, island=b"islanD")
    assert tree_digest(HERE, one, "scans").digest != tree_digest(HERE, other, "scans").digest
    assert tree_differences(HERE, one, HERE, other, limit=5) == ["image: content"]
