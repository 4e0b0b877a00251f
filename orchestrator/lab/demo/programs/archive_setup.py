"""Fills the archive with what was always there: `seed COUNT BYTES DIRECTORY`; goes on where it stopped."""

import hashlib
import os
from pathlib import Path

from .records import content


def seed(count: int, size_bytes: int, documents: Path) -> None:
    """Documents 1..count of `size_bytes` each, durable when it returns."""
    for number in range(1, count + 1):
        folder = documents / f"{number % 100:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        document = content("archive", number, size_bytes)
        path = folder / f"{number}-{hashlib.sha256(document).hexdigest()}.doc"
        if not path.exists():
            aside = folder / f".{number}.part"
            aside.write_bytes(document)
            aside.replace(path)
    os.sync()


def main(words: list[str]) -> None:
    if words[0] != "seed":
        raise SystemExit(f"unknown deed {words[0]}")
    seed(int(words[1]), int(words[2]), Path(words[3]))
