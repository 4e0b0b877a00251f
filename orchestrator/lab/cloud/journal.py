"""What keeps the cloud's state over a restart: every call that changed something, replayed in order.

Why a journal of calls and not a dump of moto's objects: its objects hold locks and back references that do not pickle,
and a replay goes through the same strict layer, so state that the layer keeps comes back the same way. Identifiers come
back equal because each call is run with moto's generator seeded by the call's own number. Times do not: what was made
then is as old as the last start. Key material of KMS is drawn from the system's generator, so it is kept beside
the call.
"""

import base64
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.lab.cloud.call import AwsCall

BODY_BYTES_INLINE_MAX = 16 * 1024


@dataclass(frozen=True)
class Entry:
    """One call that succeeded. `kept` is what a service wants back that a replay would draw anew."""

    number: int
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    kept: dict[str, Any]


class Journal:
    """What was appended is durable once `sync` returns; a torn last line is not a call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "bodies").mkdir(parents=True, exist_ok=True)
        self._path = folder / "calls.jsonl"
        self._lock = threading.Lock()
        self._cut_torn_line()
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def close(self) -> None:
        os.close(self._descriptor)

    def append(self, entry: Entry, body_file: str) -> None:
        """`body_file` is what `keep_body` gave for the entry's body."""
        line = {
            "number": entry.number,
            "method": entry.method,
            "path": entry.path,
            "query": entry.query,
            "headers": entry.headers,
            "kept": entry.kept,
        }
        if body_file:
            line["body_file"] = body_file
        else:
            line["body"] = base64.b64encode(entry.body).decode()
        with self._lock:
            os.write(self._descriptor, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def keep_body(self, call: AwsCall) -> str:
        """The name of a file that holds a large body from now on; "" for one that fits into its line."""
        if len(call.body) <= BODY_BYTES_INLINE_MAX:
            return ""
        digest, body = call.body_sha256, call.body
        place = self._folder / "bodies" / digest
        if not place.exists():
            replace_file(place, body, mode=0o600)
        return digest

    def entries(self) -> Iterator[Entry]:
        with self._path.open("rb") as stream:
            for raw in stream:
                line = json.loads(raw)
                if "body_file" in line:
                    body = (self._folder / "bodies" / line["body_file"]).read_bytes()
                else:
                    body = base64.b64decode(line["body"])
                yield Entry(
                    line["number"], line["method"], line["path"], line["query"], line["headers"], body, line["kept"]
                )

    def _cut_torn_line(self) -> None:
        if self._path.exists() and (text := self._path.read_bytes()) and not text.endswith(b"\n"):
            with self._path.open("r+b") as stream:
                stream.truncate(text.rfind(b"\n") + 1)
