"""Archive: a file share over HTTP, numbered documents in a folder tree.

PUT /documents/<id>            200 after the document is synced and named; idempotent by id
GET /documents/<id>            the bytes
GET /documents?after=N         up to 5 000 of [id, sha256, bytes], ascending; &verify=1 reads every one and digests it
GET /healthz                   last id, count, and whether the index is ready
"""

import hashlib
import os
import re
import threading
from bisect import bisect_right, insort
from pathlib import Path
from typing import Any

from .durable_file import file_digest, keep_file
from .http_service import Refused, Service, serve

ROWS_MAX = 5000
DOCUMENT_NAME = re.compile(r"^(\d{1,18})-([0-9a-f]{64})\.doc$")


class Archive(Service):
    """The share over its folder. What is there is read once, at the start; nobody else writes while it runs."""

    def __init__(self, site: str, documents: Path, *, index: str) -> None:
        super().__init__(site)
        self._documents = documents
        self._index_state = index
        self._lock = threading.Lock()
        self._writing = [threading.Lock() for _ in range(64)]  # two writes of one id come one after the other
        self._names: dict[int, tuple[str, int]] = {}
        self._order: list[int] = []
        for folder in documents.iterdir():
            if folder.is_dir():
                self._read_folder(folder)
        self._order.sort()

    def _read_folder(self, folder: Path) -> None:
        for entry in os.scandir(folder):
            match = DOCUMENT_NAME.match(entry.name)
            if match:
                self._names[int(match[1])] = (match[2], entry.stat().st_size)
                self._order.append(int(match[1]))

    def document_path(self, number: int, sha256: str) -> Path:
        return self._documents / f"{number % 100:02d}" / f"{number}-{sha256}.doc"

    def health(self) -> tuple[int, dict[str, Any]]:
        with self._lock:
            last, count = (self._order[-1] if self._order else 0), len(self._order)
        writable = os.access(self._documents, os.W_OK)
        return 200, {
            "site": self.site,
            "read_only": not writable,
            "last_id": last,
            "count": count,
            "index": self._index_state,
        }

    def get(self, path: str, query: dict[str, str]) -> Any:
        if path == "/documents":
            return self._listing(int(query.get("after", "0")), verify=query.get("verify") == "1")
        number = _document_number(path)
        with self._lock:
            known = self._names.get(number)
        if known is None:
            raise Refused(404, f"no document {number}")
        return self.document_path(number, known[0]).read_bytes()

    def _listing(self, after: int, *, verify: bool) -> list[list[Any]]:
        with self._lock:
            start = bisect_right(self._order, after)
            rows = [(number, *self._names[number]) for number in self._order[start : start + ROWS_MAX]]
        if not verify:
            return [list(row) for row in rows]
        return [[number, file_digest(self.document_path(number, sha256)), size] for number, sha256, size in rows]

    def write(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        if method != "PUT":
            raise Refused(404, f"no {method} at {path}")
        number = _document_number(path)
        sha256 = hashlib.sha256(body).hexdigest()
        with self._writing[number % len(self._writing)]:
            with self._lock:
                known = self._names.get(number)
            if known is not None and known[0] != sha256:
                raise Refused(409, f"document {number} exists with other content")
            if known is None:
                keep_file(self.document_path(number, sha256), body)
                with self._lock:
                    insort(self._order, number)
                    self._names[number] = (sha256, len(body))
        return {"id": number, "site": self.site, "sha256": sha256}


def _document_number(path: str) -> int:
    match = re.match(r"^/documents/(\d{1,18})$", path)
    if not match:
        raise Refused(404, f"nothing at {path}")
    return int(match[1])


def main() -> None:
    documents = Path(os.environ["ARCHIVE_DOCUMENTS"])
    documents.mkdir(parents=True, exist_ok=True)
    serve(
        os.environ["SKERRY_ADDRESS"],
        int(os.environ["SKERRY_PORT"]),
        Archive(os.environ["SKERRY_SITE"], documents, index=os.environ.get("ARCHIVE_INDEX", "ready")),
    )
