"""What a dishonest operator can publish who holds the log's own keys: any entries at all, hashed and signed anew."""

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from orchestrator.evidence import merkle
from orchestrator.evidence.note import Checkpoint, NoteSigner, sign_checkpoint
from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey
from orchestrator.evidence.verify_log import own_keys


def rows_of(ledger: Path) -> list[bytes]:
    """All entries of the ledger, in order."""
    connection = sqlite3.connect(ledger / "ledger.db")
    rows = [data for (data,) in connection.execute("SELECT data FROM entries ORDER BY idx")]
    connection.close()
    return rows


def resign(ledger: Path, rows: Sequence[bytes]) -> None:
    """Put a log over `rows` in place of the ledger's own, under the same keys; no earlier head is left beside it."""
    log, origin = ledger / "log", own_keys(ledger)[0].name
    shutil.rmtree(log)
    keys = [
        NoteSigner(origin, SigningKey.load_or_make(ledger / "private" / name, algorithm))
        for name, algorithm in (
            ("log.ed25519", Algorithm.ED25519),
            ("log.ml-dsa-44", Algorithm.COSIGNATURE_ML_DSA_44),
        )
    ]
    frontier = merkle.Frontier()
    tiles: dict[str, bytes] = {}
    for row in rows:
        frontier.append(merkle.leaf_hash(row))
    for level, number, width in merkle.tiles_for(len(rows)):
        first = number * 256
        if level == 0:
            tiles[merkle.tile_path("entries", number, width)] = merkle.pack_bundle(rows[first : first + width])
            tiles[merkle.tile_path(0, number, width)] = b"".join(map(merkle.leaf_hash, rows[first : first + width]))
        else:
            roots = [merkle.perfect_root(tiles[merkle.tile_path(level - 1, at)]) for at in range(first, first + width)]
            tiles[merkle.tile_path(level, number, width)] = b"".join(roots)
    head = Checkpoint(origin, len(rows), frontier.root())
    tiles["checkpoint"] = sign_checkpoint(head, keys, at_seconds=1_700_000_000).encode()
    for path, content in tiles.items():
        (log / path).parent.mkdir(parents=True, exist_ok=True)
        (log / path).write_bytes(content)
