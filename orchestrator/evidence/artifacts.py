"""Things too large for an event, stored under the SHA-256 of their bytes: written once, never changed."""

import errno
import hashlib
from pathlib import Path
from typing import Any

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import BrokenLog, EvidenceError, LedgerFull

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last one: more than a file of this process may hold


def artifact_path(digest: str) -> str:
    """Where `sha256:<hex>` lies below the ledger's folder (and below a bundle's)."""
    name = digest.removeprefix("sha256:")
    if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
        raise BrokenLog(f"{digest[:80]!r} is not a digest of the form sha256:<64 hex digits>")
    return f"artifacts/sha256/{name[:2]}/{name[2:]}"


class Artifacts:
    """The store below a ledger's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Store durably and return the reference for an event; the same content twice is stored once."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        path = self._folder / artifact_path(digest)
        # A file cut short by a torn disk is mended; a whole one is left alone.
        if not path.exists() or path.stat().st_size != len(content):
            try:
                replace_file(path, content, mode=0o444)
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise LedgerFull(f"no room to keep {len(content)} bytes of evidence: {error}") from error
                raise EvidenceError(f"{path}: {error}") from error
        return {"digest": digest, "size": len(content), "mediaType": media_type}

    def read(self, digest: str) -> bytes:
        """The bytes of `digest`; BrokenLog when they are missing or altered."""
        path = self._folder / artifact_path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise BrokenLog(f"the artifact {digest} is missing") from None
        if "sha256:" + hashlib.sha256(content).hexdigest() != digest:
            raise BrokenLog(f"the artifact {digest} was altered")
        return content
