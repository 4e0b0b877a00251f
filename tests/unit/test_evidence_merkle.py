"""The tree of RFC 6962, against its published vectors and against a brute-force reading of the definition."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.evidence import merkle

VECTORS = json.loads((Path(__file__).parents[1] / "golden" / "merkle" / "vectors.json").read_text())

# The test tree of RFC 6962 implementations: leaves and the root after each.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def decoded(text):
    return base64.b64decode(text or "")


def test_the_roots_of_the_rfc_6962_test_tree():
    frontier = merkle.Frontier()
    assert frontier.root() == merkle.EMPTY_ROOT
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        frontier.append(merkle.leaf_hash(bytes.fromhex(leaf)))
        assert frontier.root().hex() == root


@pytest.mark.parametrize("vector", VECTORS["inclusion"])
def test_inclusion_vectors(vector):
    index, size, root, leaf, proof, good = vector
    proof = [decoded(step) for step in proof]
    assert merkle.proves_inclusion(decoded(leaf), index, size, proof, decoded(root)) is good


@pytest.mark.parametrize("vector", VECTORS["consistency"])
def test_consistency_vectors(vector):
    old_size, size, old_root, root, proof, good = vector
    proof = [decoded(step) for step in proof]
    assert merkle.proves_consistency(old_size, size, proof, decoded(old_root), decoded(root)) is good


def root_by_definition(leaves):
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return merkle.node_hash(root_by_definition(leaves[:half]), root_by_definition(leaves[half:]))


HASHES = [merkle.leaf_hash(str(number).encode()) for number in range(700)]


def reader_over(size):
    tiles = {}
    for level, number, width in merkle.tiles_for(size):
        span = 256**level
        first = number * 256
        hashes = [root_by_definition(HASHES[at * span : (at + 1) * span]) for at in range(first, first + width)]
        tiles[merkle.tile_path(level, number, width)] = b"".join(hashes)

    def read(path):
        if path not in tiles:
            raise FileNotFoundError(path)
        return tiles[path]

    return merkle.TileReader(size, read)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_proofs_out_of_tiles_prove_and_others_do_not(data):
    size = data.draw(st.integers(1, 700))
    reader = reader_over(size)
    root = root_by_definition(HASHES[:size])
    assert reader.root() == root
    index = data.draw(st.integers(0, size - 1))
    proof = reader.inclusion(index)
    assert merkle.proves_inclusion(HASHES[index], index, size, proof, root)
    assert not merkle.proves_inclusion(merkle.leaf_hash(b"another"), index, size, proof, root)
    old = data.draw(st.integers(1, size))
    old_root = root_by_definition(HASHES[:old])
    proof = reader.consistency(old)
    assert merkle.proves_consistency(old, size, proof, old_root, root)
    assert not merkle.proves_consistency(old, size, proof, merkle.leaf_hash(b"rewritten"), root)


def test_the_layout_of_the_tlog_tiles_specification():
    assert merkle.tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert merkle.tile_path("entries", 0, 5) == "tile/entries/000.p/5"
    tiles = list(merkle.tiles_for(70_000))
    assert sum(level == 0 and width == 256 for level, _, width in tiles) == 273
    assert {(0, 273, 112), (1, 1, 17), (2, 0, 1)} <= set(tiles)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_entry_bundles_come_back_as_they_were(entries):
    bundle = merkle.pack_bundle(entries)
    assert merkle.unpack_bundle(bundle) == entries
    if bundle:
        with pytest.raises(ValueError, match="cut off"):
            merkle.unpack_bundle(bundle + b"\x00")
