"""Files that clients were told are safe: written aside, synced, renamed, and the folder synced."""

import hashlib
import os
import secrets
from pathlib import Path

MISSING = "missing"  # in place of a digest: the record is known, its file is not there


def keep_file(path: Path, content: bytes) -> None:
    """Make `content` durable at `path`. Whoever lists the folder sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def file_digest(path: Path) -> str:
    """SHA-256 of what is there now, or MISSING."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return MISSING
