"""The Merkle tree of RFC 6962 over C2SP tlog-tiles (tiles of 256 hashes): roots, tiles, proofs. Standard library only.

Rules: a leaf is SHA-256 of 0x00 and the entry, a node SHA-256 of 0x01 and both children. Nothing here reads or writes
files.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()
HASH_BYTES = 32
TILE_WIDTH = 256
TILES_CACHED_MAX = 4096


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: bytes) -> bytes:
    """Root over 2**k hashes, given as one string of bytes."""
    while len(hashes) > HASH_BYTES:
        hashes = b"".join([sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, len(hashes), 64)])
    return hashes


def _largest_power_below(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


class Frontier:
    """The right edge of a growing tree: roots of its largest complete subtrees, from left to right."""

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        if size.bit_count() != len(nodes):
            raise ValueError("frontier does not match its size")
        self.size = size
        self.nodes = list(nodes)

    def append(self, leaf: bytes) -> None:
        self.append_perfect(leaf, 1)

    def append_perfect(self, root: bytes, width: int) -> None:
        """Append the root over `width` leaves, a power of two that the size must be a multiple of."""
        if self.size % width:
            raise ValueError("a subtree must start at a multiple of its width")
        number = self.size // width
        self.nodes.append(root)
        while number & 1:
            right = self.nodes.pop()
            self.nodes[-1] = node_hash(self.nodes[-1], right)
            number >>= 1
        self.size += width

    def root(self) -> bytes:
        if not self.nodes:
            return EMPTY_ROOT
        root = self.nodes[-1]
        for left in reversed(self.nodes[:-1]):
            root = node_hash(left, root)
        return root

    def copy(self) -> "Frontier":
        return Frontier(self.size, self.nodes)


# Tiles


def _number_path(number: int) -> str:
    text = f"{number % 1000:03d}"
    while number >= 1000:
        number //= 1000
        text = f"x{number % 1000:03d}/{text}"
    return text


def tile_path(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """Where a tile lies below the log's folder; `level` is a number, or `entries` for the bundles."""
    return f"tile/{level}/{_number_path(number)}" + ("" if width == TILE_WIDTH else f".p/{width}")


def tiles_for(size: int, old_size: int = 0) -> Iterator[tuple[int, int, int]]:
    """(level, number, width) of every hash tile that `size` needs and `old_size` did not have, lowest level first."""
    level = 0
    while size >> 8 * level:
        for number, width in tiles_of_level(level, size, old_size):
            yield level, number, width
        level += 1


def tiles_of_level(level: int, size: int, old_size: int = 0) -> Iterator[tuple[int, int]]:
    """(number, width) of the hash tiles of one level that `size` needs and `old_size` did not have."""
    have, had = size >> 8 * level, old_size >> 8 * level
    for number in range(had // TILE_WIDTH, -(-have // TILE_WIDTH)):
        width = min(TILE_WIDTH, have - number * TILE_WIDTH)
        if number * TILE_WIDTH + width > had:
            yield number, width


class TileReader:
    """Hashes and proofs of a tree of `size` leaves, out of tiles.

    `read` gives the bytes at a tile path and raises FileNotFoundError where there is none. A tile shorter than
    the tree needs raises ValueError.
    """

    def __init__(self, size: int, read: Callable[[str], bytes]) -> None:
        self.size = size
        self._read = read
        self._cached: dict[tuple[int, int, int], bytes] = {}

    def tile(self, level: int, number: int) -> bytes:
        width = min(TILE_WIDTH, (self.size >> 8 * level) - number * TILE_WIDTH)
        if width <= 0:
            raise IndexError(f"tile {level}/{number} lies outside a tree of {self.size} entries")
        key = (level, number, width)
        tile = self._cached.get(key)
        if tile is None:
            try:
                tile = self._read(tile_path(level, number, width))
            except FileNotFoundError:
                if width == TILE_WIDTH:
                    raise
                tile = self._read(tile_path(level, number))  # a partial tile gives way to the full one
            if len(tile) < HASH_BYTES * width:
                raise ValueError(f"{tile_path(level, number, width)} is too short")
            tile = tile[: HASH_BYTES * width]
            if len(self._cached) >= TILES_CACHED_MAX:
                self._cached.clear()
            self._cached[key] = tile
        return tile

    def leaf(self, index: int) -> bytes:
        at = HASH_BYTES * (index % TILE_WIDTH)
        return self.tile(0, index // TILE_WIDTH)[at : at + HASH_BYTES]

    def subtree(self, level: int, index: int) -> bytes:
        """Root of the complete subtree over leaves [index << level, (index + 1) << level)."""
        tile_level, bits = divmod(level, 8)
        first = index << bits
        at = (first % TILE_WIDTH) * HASH_BYTES
        return perfect_root(self.tile(tile_level, first // TILE_WIDTH)[at : at + (HASH_BYTES << bits)])

    def range_root(self, low: int, high: int) -> bytes:
        """Root over leaves [low, high)."""
        count = high - low
        if count == 0:
            return EMPTY_ROOT
        if count & (count - 1) == 0 and low % count == 0:
            level = count.bit_length() - 1
            return self.subtree(level, low >> level)
        middle = low + _largest_power_below(count)
        return node_hash(self.range_root(low, middle), self.range_root(middle, high))

    def root(self, size: int | None = None) -> bytes:
        return self.range_root(0, self.size if size is None else size)

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Proof that the entry at `index` is in the tree of `size`."""
        size = self.size if size is None else size
        if not 0 <= index < size <= self.size:
            raise IndexError(f"no entry {index} in a tree of {size} entries")
        low, high = 0, size
        path: list[tuple[int, int]] = []
        while high - low > 1:
            middle = low + _largest_power_below(high - low)
            if index < middle:
                path.append((middle, high))
                high = middle
            else:
                path.append((low, middle))
                low = middle
        return [self.range_root(one, other) for one, other in reversed(path)]

    def consistency(self, old_size: int, size: int | None = None) -> list[bytes]:
        """Proof that the tree of `old_size` is the beginning of the tree of `size`."""
        size = self.size if size is None else size
        if not 0 <= old_size <= size <= self.size:
            raise IndexError(f"no tree of {old_size} entries in one of {size}")
        if old_size in (0, size):
            return []
        low, high, whole = 0, size, True
        path: list[tuple[int, int]] = []
        while old_size != high:
            middle = low + _largest_power_below(high - low)
            if old_size <= middle:
                path.append((middle, high))
                high = middle
            else:
                path.append((low, middle))
                low = middle
                whole = False
        if not whole:
            path.append((low, high))
        return [self.range_root(one, other) for one, other in reversed(path)]


# Proofs, judged (RFC 9162, 2.1.3.2 and 2.1.4.2)


def proves_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows `leaf` at `index` of the tree with `size` and `root`."""
    if not 0 <= index < size or len(leaf) != HASH_BYTES or any(len(step) != HASH_BYTES for step in proof):
        return False
    node, last, reached = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            reached = node_hash(step, reached)
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            reached = node_hash(reached, step)
        node >>= 1
        last >>= 1
    return last == 0 and reached == root


def proves_consistency(old_size: int, size: int, proof: Sequence[bytes], old_root: bytes, root: bytes) -> bool:
    """Whether `proof` shows the old tree as the beginning of the new one. An empty old tree proves nothing: False."""
    if not 0 < old_size <= size or any(len(step) != HASH_BYTES for step in proof):
        return False
    if old_size == size:
        return not proof and old_root == root
    if not proof:
        return False
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    node, last = old_size - 1, size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old_reached = reached = path[0]
    for step in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_reached, reached = node_hash(step, old_reached), node_hash(step, reached)
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            reached = node_hash(reached, step)
        node >>= 1
        last >>= 1
    return old_reached == old_root and reached == root and last == 0


# Entry bundles


def pack_bundle(entries: Sequence[bytes]) -> bytes:
    return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])


def unpack_bundle(bundle: bytes) -> list[bytes]:
    """The entries of a bundle; ValueError when it is cut off."""
    entries: list[bytes] = []
    at, last = 0, len(bundle) - 2
    while at <= last:
        begin = at + 2
        at = begin + (bundle[at] << 8 | bundle[at + 1])
        entries.append(bundle[begin:at])
    if at != len(bundle):
        raise ValueError("entry bundle is cut off")
    return entries
